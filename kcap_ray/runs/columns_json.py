"""The objects that the columns `groups` and `sites` hold as JSON lists."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from kcap_ray.runs.schema import Column, Record, RecordError

Kind = TypeVar("Kind", bound=Record)

_TABLE = Column("Table", "Label of the table.")


@dataclass(frozen=True, kw_only=True)
class GroupRecord(Record):
    """`groups`: an object per table and frequency band."""

    table: Annotated[str, _TABLE]
    band: Annotated[int, Column("Band", "Number of the band in its table, 0 for the rarest.")]
    n_people: Annotated[int, Column("People", "People of the band.")]
    exposures: Annotated[
        float, Column("Exposures", "Times that each is seen, mean over these people.")
    ]
    demand_bits: Annotated[
        float,
        Column(
            "Demand", "n_people / N of the table's, with the value bits of these people.", "bits"
        ),
    ]
    stored_bits: Annotated[
        float, Column("Stored", "name_bits + value_bits + diversity_bits.", "bits")
    ]
    name_bits: Annotated[
        float | None,
        Column("Name bits", "n_people (log2(N0) - loss_name_nats / ln 2).", "bits"),
    ] = None
    value_bits: Annotated[
        float | None,
        Column(
            "Value bits",
            "n_people (log2(S0) - loss_value_nats / ln 2); bioD has K C log2(D) for log2(S0).",
            "bits",
        ),
    ] = None
    diversity_bits: Annotated[
        float | None, Column("Diversity bits", "n_people / N of a table with this loss.", "bits")
    ] = None
    loss_name_nats: Annotated[
        float | None, Column("Name loss", "As of a cell, mean over these people.", "nats/person")
    ] = None
    loss_value_nats: Annotated[
        float | None, Column("Value loss", "As of a cell, mean over these people.", "nats/person")
    ] = None


@dataclass(frozen=True, kw_only=True)
class SiteRecord(Record):
    """`sites`: an object per table and attribute, names first."""

    table: Annotated[str, _TABLE]
    attribute: Annotated[str, Column("Attribute", "Name of the attribute; `name` for names.")]
    demand_bits: Annotated[
        float | None,
        Column(
            "Demand",
            "N log2(possible values), of names N log2(N0 / N); none where nothing is counted of "
            "names, or people differ in what they have.",
            "bits",
        ),
    ]
    stored_bits: Annotated[
        float | None,
        Column("Stored", "Part of name_bits or value_bits; none where demand_bits is.", "bits"),
    ]
    loss_nats: Annotated[
        float, Column("Loss", "Summed over the tokens, mean over people.", "nats/person")
    ]
    token_nats: Annotated[
        tuple[float, ...],
        Column(
            "Loss by token",
            "That of the first token, the second, ...; the eighth has that of all further ones, "
            "and zeros at the end are left out.",
            "nats/person",
        ),
    ]


def list_text(records: Iterable[Record]) -> str:
    """The records as a JSON list."""
    return json.dumps([record.to_dict() for record in records])


def read_list(kind: type[Kind], text: str) -> list[Kind]:
    """The inverse of `list_text`. Raises ValueError for what is no such list."""
    values = json.loads(text)
    if not isinstance(values, list):
        raise RecordError(f"got {type(values).__name__}, and no list")
    return [kind.from_dict(value) for value in values]
