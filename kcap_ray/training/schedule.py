"""The learning-rate schedule of arXiv 2404.05405, section 2.3: linear warm-up, then cosine."""

import math

from kcap_ray.config.cell import TrainConfig


def lr_ratio(step: int, n_steps: int, train: TrainConfig) -> float:
    """Learning rate of a step (from 0), as a share of the reference rate.

    Rises linearly over the warm-up to 1, then falls as half a cosine to `final_lr_ratio` at the
    last step. The paper's 1,000 warm-up steps are cut to `warmup_frac` of a run that is too short
    for them.
    """
    warmup = min(train.warmup_steps, int(train.warmup_frac * n_steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - 1 - warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    return train.final_lr_ratio + (1 - train.final_lr_ratio) * cosine


def lr_ratios(n_steps: int, train: TrainConfig) -> list[float]:
    """`lr_ratio` of every step of a run, from the first one on."""
    return [lr_ratio(step, n_steps, train) for step in range(n_steps)]
