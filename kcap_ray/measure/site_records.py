"""What results say of where knowledge is: one record for each attribute of a table, names first."""

from collections.abc import Sequence
from math import log2

from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import attribute_bits
from kcap_ray.runs.columns_json import SiteRecord

N_PLACES = 8
"""Tokens of a value that are told apart; the last stands for all further ones."""

SiteNats = tuple[tuple[float, ...], ...]
"""Nats by attribute, names first, and token of the value: mean over people."""


def site_records(
    table: str,
    entropy: Entropy,
    attributes: Sequence[str],
    nats_AS: Sequence[Sequence[float]],
    *,
    name_nats: float,
) -> list[SiteRecord]:
    """One record per attribute of a table, in the order of the attributes; `nats_AS` and
    `name_nats`, with what is ruled out by the biography in front, are means over its people.

    Bits add up to `name_bits` and `value_bits` of the table. They are null where nothing is counted
    of names, or people differ in what they have.
    """
    n_people = entropy.n_people
    bits_A = [entropy.log2_name_space, *(entropy.attribute_bits or [None] * len(attributes))]
    records = []
    for a, (attribute, bits) in enumerate(zip(("name", *attributes), bits_A, strict=True)):
        places = list(nats_AS[a])
        loss = name_nats if a == 0 else sum(places)
        while len(places) > 1 and places[-1] == 0:
            places.pop()
        known_bits = log2(n_people) if a == 0 else 0.0  # which names there are, and not whose
        records.append(
            SiteRecord(
                table=table,
                attribute=attribute,
                demand_bits=None if bits is None else n_people * (bits - known_bits),
                stored_bits=None if bits is None else attribute_bits(bits, n_people, loss),
                loss_nats=loss,
                token_nats=tuple(places),
            )
        )
    return records
