"""How long the paper trained, by the steps that it prints.

Param 1 of arXiv 2404.05405 (version 1) prints steps, for 1000 exposures of bioS. Divided by people
and exposures they are 172 tokens for each exposure up to 200,000 people and 79 to 87 above, where a
biography has about 74: the paper does not say why.
"""

import math
from typing import NamedTuple

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.recipes.tables import PUBLISHED

PRINTED_EXPOSURES = 1000
"""Exposures that the printed steps are for."""
_KINDS = ("bioS", "bioS_simple", "bioR")
"""Kinds whose biographies are those of Param 1, in other words (Param 4 repeats its settings)."""


class PrintedLength(NamedTuple):
    """Tokens of the table's people alone, and how well that is founded."""

    tokens: float
    is_printed: bool
    """Whether steps are printed for this cell, rather than inferred from those that are."""


def printed_length(cell: Cell) -> PrintedLength:
    """Tokens that the printed steps of Param 1 make.

    They are printed for its numbers of people, at 1000 exposures. For others they are inferred by
    tokens for each exposure: those of the number of people nearest in log, of two equally near the
    smaller. `UserError` for data whose biographies are not those of the paper.
    """
    data, exposures = cell.data, cell.train.exposures
    if data.kind not in _KINDS:
        raise UserError(
            f"train.length: printed: the paper prints no steps for data.kind: {data.kind}; "
            "write train.length: exposures, train.tokens_per_exposure or train.steps"
        )
    tokens_of = {
        row.n_people: row.tokens
        for row in PUBLISHED["bioS", PRINTED_EXPOSURES]["gpt2"]
        if row.n_people is not None and row.tokens is not None
    }
    nearest = min(tokens_of, key=lambda n: abs(math.log(n / data.n_people)))
    tokens_per_exposure = tokens_of[nearest] / (nearest * PRINTED_EXPOSURES)
    return PrintedLength(
        tokens=data.n_people * exposures * tokens_per_exposure,
        is_printed=(data.n_people, exposures) == (nearest, PRINTED_EXPOSURES),
    )
