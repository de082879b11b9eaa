"""A table whose truth is known, and how much its models scatter."""

from dataclasses import dataclass
from typing import Literal

from analysis.study.worlds import Noise, World

AMPLE_SEEDS = 6
FEW_SEEDS = 3
ORDINARY = Noise()
QUIET = Noise(log_sd=0.003, common_log_sd=0.002)
"""Of models that hold all there is: they scatter far less than others."""
ERRATIC = Noise(log_sd=0.14, common_log_sd=0.0)
"""As the committed runs scatter at 100 exposures (`python -m analysis power`)."""

Truth = Literal["true", "false", "undecidable"]


@dataclass(frozen=True, kw_only=True)
class Case:
    """One table, of which 200 noisy ones are drawn."""

    claim: str
    """Name of the claim in `analysis.claims.paper`."""
    name: str
    """What is the case, for the table."""
    truth: Truth
    worlds: tuple[World, ...]
    n_seeds: int = AMPLE_SEEDS
    noise: Noise = ORDINARY

    @property
    def is_ample(self) -> bool:
        """Whether the data are enough to decide, so that `undecided` should be rare."""
        return self.truth != "undecidable" and self.n_seeds >= AMPLE_SEEDS and self.noise != ERRATIC


def case_of(claim: str, name: str, truth: Truth, *worlds: World) -> Case:
    """A table from ample seeds with ordinary noise."""
    return Case(claim=claim, name=name, truth=truth, worlds=worlds)
