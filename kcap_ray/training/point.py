"""What tuning chooses for a trial; apart from the loop, so that choosing needs no torch."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Point:
    """Learning rate and weight decay of one trial."""

    lr: float
    weight_decay: float
