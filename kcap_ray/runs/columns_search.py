"""The columns that say how the hyperparameters were selected, and by which runs the result was then
estimated.
"""

from dataclasses import dataclass
from typing import Annotated

from kcap_ray.runs.schema import Column, Record


@dataclass(frozen=True, kw_only=True)
class Confirmed(Record):
    """Selection and estimate."""

    selected_capacity_ratio: Annotated[
        float | None,
        Column(
            "R as selected",
            "R of the best trial, which being chosen flatters; of the weights that are kept.",
            "bits/param",
            ".3f",
            "R selected",
            since=2,
        ),
    ] = None
    edge: Annotated[
        str | None,
        Column(
            "At the edge",
            "Ends of the searched ranges in whose outer tenth the best trial lies: `lr high`, "
            "`wd low`; empty if inside; none where it is not known.",
            "",
            "",
            "at edge",
            since=2,
        ),
    ] = None
    n_widened: Annotated[
        int,
        Column("Trials beyond", "Trials beyond an edge of the ranges (tune.widen).", since=2),
    ] = 0
    n_confirm_seeds: Annotated[
        int,
        Column(
            "Confirm seeds",
            "Fresh seeds that the best trial's hyperparameters were trained with again; all that "
            "is measured is the mean over those that finished. 0: it is of the best trial itself.",
            "",
            "",
            "seeds",
            since=2,
        ),
    ] = 0
    n_confirm_seeds_ok: Annotated[
        int, Column("Confirm seeds ok", "Those with a number.", since=2)
    ] = 0
    capacity_ratio_sd: Annotated[
        float | None,
        Column(
            "Spread of R",
            "Standard deviation of R over the confirm seeds; none for fewer than two.",
            "bits/param",
            ".3f",
            "sd",
            since=2,
        ),
    ] = None
    confirmed: Annotated[
        str | None,
        Column(
            "By seed",
            "JSON object: R of each confirm seed that finished, by seed; none without any.",
            since=2,
        ),
    ] = None
