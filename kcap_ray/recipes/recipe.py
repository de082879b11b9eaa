"""One published setting, and how a table of them is written.

"Param k" is the own name of a list in the appendices A to E of arXiv 2404.05405 (version 1).
Batches are in windows of 512 tokens, all devices together (the paper gives no unit; its remark A.3
on numbers of devices leaves no other reading).
"""

from dataclasses import dataclass

from kcap_ray.config.cell import Precision


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One published setting."""

    n_people: int | None
    """People that the setting was published for; None where it holds for any number."""
    lr_options: tuple[float, ...]
    """Learning rates that the paper tried, ascending; with several it reports the best."""
    weight_decay: float
    """Decoupled weight decay."""
    batch_windows: int
    """Global batch, in windows of `window_tokens`."""
    precision: Precision
    """Arithmetic of forward and backward."""
    source: str
    """Where the paper prints it."""
    window_tokens: int = 512
    """Context length that the batch is counted in."""
    steps: int | None = None
    """Optimizer steps of a run, as printed ("roughly"); None where the paper prints none."""

    @property
    def tokens(self) -> int | None:
        """Tokens of a run of the printed steps."""
        if self.steps is None:
            return None
        return self.steps * self.batch_windows * self.window_tokens

    @property
    def lr(self) -> float:
        """The rate to try first: the middle option, of two the lower (larger models want smaller
        rates, remark A.2).
        """
        return self.lr_options[(len(self.lr_options) - 1) // 2]


Rows = tuple[Recipe, ...]
Row = tuple[int, float, tuple[float, ...], int]
RowWithSteps = tuple[int, float, tuple[float, ...], int, int]
Numbers = tuple[Row | RowWithSteps, ...]
"""People, weight decay, learning rates, batch in windows, and steps where they are printed."""


def table(
    source: str, precision: Precision, numbers: Numbers, *, paper: str = "arXiv 2404.05405v1"
) -> Rows:
    """Settings that the list `source` of a paper prints, all in one arithmetic."""
    return tuple(
        Recipe(
            n_people=n_people,
            weight_decay=weight_decay,
            lr_options=lr_options,
            batch_windows=batch_windows,
            precision=precision,
            source=f"{paper}, {source}",
            steps=steps[0] if steps else None,
        )
        for n_people, weight_decay, lr_options, batch_windows, *steps in numbers
    )
