"""Losses and bits by table and frequency band.

Stored bits are linear in the losses, and losses are means over people: so those of the bands of a
table, each weighted by its people, add up to those of the table.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import KnowledgeLoss, StoredBits, stored_bits
from kcap_ray.measure.scatter import Spread, standard_error
from kcap_ray.measure.site_records import SiteNats, site_records
from kcap_ray.runs.columns import Measured
from kcap_ray.runs.columns_json import GroupRecord, SiteRecord, list_text


@dataclass(frozen=True, kw_only=True)
class Group:
    """People of one table and frequency band, and one model's loss on them."""

    table_index: int
    """Number of the table, 0 for the main one."""
    table: str
    """Label of the table."""
    band: int
    """Frequency band, 0 for the least frequent."""
    n_people: int
    frequency: float
    """Samples per exposure, mean over these people."""
    loss: KnowledgeLoss
    entropy: Entropy
    """Of the table; its value bits are the mean over the people of this group."""
    attributes: tuple[str, ...] = ()
    """Counted attributes of the table."""
    site_nats_AS: SiteNats = ()
    """Loss by attribute, names first, and token of the value; mean over these people."""
    memorized_bits: float = 0.0
    """Bits of the table as arXiv 2505.24832 counts them, all in the first group of the table."""
    n_measured: int = 0
    """People that the loss is a mean over."""
    spread_bits: Spread | None = None
    """Of the bits that are stored of one person; None for fewer than two people."""

    @property
    def share(self) -> float:
        """Of the table's people."""
        return self.n_people / self.entropy.n_people

    @property
    def demand_bits(self) -> float:
        """Demand of these people, in bits: their share of the table's."""
        return self.share * self.entropy.demand_bits

    @property
    def stored(self) -> StoredBits:
        """What the model stores of these people; the strings of bioD's diversity sets are known
        through everybody, and count by shares.
        """
        return stored_bits(self.entropy, self.loss).scaled(self.share)


def total_bits(groups: Sequence[Group]) -> float:
    """Bits that the model stores of all tables."""
    return sum(group.stored.total for group in groups)


def standard_errors(groups: Sequence[Group]) -> tuple[float | None, float | None]:
    """Standard error of the bits of all tables, and of those of values; None where a group is of a
    single person.
    """
    parts = [(group.n_people, group.n_measured, group.spread_bits) for group in groups]
    return standard_error(parts, 0), standard_error(parts, 1)


def measured_of(groups: Sequence[Group], exposures: Sequence[float]) -> Measured:
    """What the results say of a model: bits over all tables, the losses on the first table, and the
    groups where there are several.

    `exposures`: mean samples of the people of each table, in the order of the tables.
    """
    tables = [list(part) for _, part in groupby(groups, key=lambda group: group.table_index)]
    stored = [group.stored for group in groups]
    loss = _mean_loss(tables[0])
    stored_bits_se, value_bits_se = standard_errors(groups)
    n_attributes, value1_nats = tables[0][0].entropy.n_attributes, loss.value1_nats
    return Measured(
        loss_name_nats=loss.name_nats,
        loss_value_nats=loss.value_nats,
        loss_value_attribute_nats=loss.value_nats / max(n_attributes, 1),
        loss_value1_nats=value1_nats,
        loss_value1_attribute_nats=None if value1_nats is None else value1_nats / n_attributes,
        name_bits=sum(part.name_bits for part in stored),
        value_bits=sum(part.value_bits for part in stored),
        diversity_bits=sum(part.diversity_bits for part in stored),
        stored_bits_se=stored_bits_se,
        value_bits_se=value_bits_se,
        memorized_bits=sum(group.memorized_bits for group in groups),
        sites=list_text(record for table in tables for record in _sites(table)),
        groups=None if len(groups) == 1 else list_text(_records(groups, exposures)),
    )


def _sites(table: Sequence[Group]) -> list[SiteRecord]:
    """Where the loss on a table is, from that on its groups."""
    n_people = sum(group.n_people for group in table)
    shape_AS = table[0].site_nats_AS
    if not shape_AS:
        return []
    means_AS = [
        [
            sum(group.n_people * group.site_nats_AS[a][s] for group in table) / n_people
            for s in range(len(shape_AS[a]))
        ]
        for a in range(len(shape_AS))
    ]
    return site_records(
        table[0].table,
        table[0].entropy,
        table[0].attributes,
        means_AS,
        name_nats=_mean_loss(table).name_nats,
    )


def probed_columns(groups: Sequence[Group], n_params: int) -> dict[str, float]:
    """What a curve says of a model of `n_params` weights that was measured on a sample: the losses
    on the first table, in nats, and bits if everybody were known as well as the sample, with
    standard errors where they are known.
    """
    loss = _mean_loss([group for group in groups if group.table_index == 0])
    bits = total_bits(groups)
    found = {
        "loss_name_nats": loss.name_nats,
        "loss_value_nats": loss.value_nats,
        "stored_bits": bits,
        "value_bits": sum(group.stored.value_bits for group in groups),
        "capacity_ratio": bits / n_params,
    }
    errors = zip(("stored_bits_se", "value_bits_se"), standard_errors(groups), strict=True)
    return found | {name: error for name, error in errors if error is not None}


def _mean_loss(groups: Sequence[Group]) -> KnowledgeLoss:
    """Loss on a whole table, from those on its bands."""
    n_people = sum(group.n_people for group in groups)

    def mean(values: Iterable[float | None]) -> float:
        weighted = zip(values, groups, strict=True)
        return sum((value or 0.0) * group.n_people for value, group in weighted) / n_people

    has_chunks = groups[0].loss.value1_nats is not None
    return KnowledgeLoss(
        name_nats=mean(group.loss.name_nats for group in groups),
        value_nats=mean(group.loss.value_nats for group in groups),
        value1_nats=mean(group.loss.value1_nats for group in groups) if has_chunks else None,
    )


def _records(groups: Sequence[Group], exposures: Sequence[float]) -> list[GroupRecord]:
    return [
        GroupRecord(
            table=group.table,
            band=group.band,
            n_people=group.n_people,
            exposures=group.frequency * exposures[group.table_index],
            demand_bits=group.demand_bits,
            stored_bits=group.stored.total,
            name_bits=group.stored.name_bits,
            value_bits=group.stored.value_bits,
            diversity_bits=group.stored.diversity_bits,
            loss_name_nats=group.loss.name_nats,
            loss_value_nats=group.loss.value_nats,
        )
        for group in groups
    ]
