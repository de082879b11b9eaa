"""The hyper-parameters that arXiv 2404.05405 (version 1) prints.

"Param k" is the paper's own name of a list in its appendices A and B. Batches are in windows of 512
tokens, all devices together (the paper gives no unit; its remark A.3 on numbers of devices leaves
no other reading).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from kcap_ray.cell import Precision


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

    @property
    def lr(self) -> float:
        """The rate to try first: the middle option, of two the lower (larger models want smaller
        rates, remark A.2).
        """
        return self.lr_options[(len(self.lr_options) - 1) // 2]


_Rows = tuple[tuple[int, float, tuple[float, ...], int, Precision], ...]


def _table(source: str, rows: _Rows) -> tuple[Recipe, ...]:
    return tuple(
        Recipe(
            n_people=n_people,
            weight_decay=weight_decay,
            lr_options=lr_options,
            batch_windows=batch_windows,
            precision=precision,
            source=source,
        )
        for n_people, weight_decay, lr_options, batch_windows, precision in rows
    )


# Columns: people, weight decay, learning rates, batch in windows, precision.
_ROWS_GPT2_1000: _Rows = (
    (10_000, 0.02, (1e-3,), 24, "fp16"),
    (20_000, 0.02, (1e-3,), 48, "fp16"),
    (50_000, 0.02, (1e-3,), 96, "fp16"),
    (100_000, 0.02, (1e-3,), 192, "fp16"),
    (200_000, 0.02, (1e-3,), 192, "fp16"),
    (500_000, 0.01, (5e-4,), 192, "fp16"),
    (1_000_000, 0.01, (5e-4,), 192, "fp16"),
    (2_000_000, 0.005, (3e-4,), 1536, "fp16"),
    (5_000_000, 0.002, (3e-4,), 1536, "fp16"),
    (10_000_000, 0.001, (3e-4,), 1536, "fp16"),
)
_GPT2_1000 = _table("arXiv 2404.05405v1, Param 1", _ROWS_GPT2_1000)
_SIMPLE_1000 = _table("arXiv 2404.05405v1, Param 4", _ROWS_GPT2_1000)

# Two exceptions of single models are left out: GPT2-2-20 at 200K people used lr 5e-4, GPT2-28-20 at
# 20M a batch of 1280.
_GPT2_100 = _table(
    "arXiv 2404.05405v1, Param 2",
    (
        (50_000, 0.01, (1e-3,), 12, "fp16"),
        (100_000, 0.01, (1e-3,), 24, "fp16"),
        (200_000, 0.01, (1e-3,), 48, "fp16"),
        (500_000, 0.01, (5e-4,), 96, "fp16"),
        (1_000_000, 0.01, (5e-4,), 192, "fp16"),
        (2_000_000, 0.01, (3e-4, 5e-4, 1e-3), 384, "fp16"),
        (5_000_000, 0.01, (3e-4, 5e-4), 768, "fp16"),
        (10_000_000, 0.01, (2e-4, 3e-4, 5e-4), 1024, "fp16"),
        (20_000_000, 0.002, (2e-4, 3e-4, 5e-4), 1536, "fp16"),
    ),
)

_LLAMA_1000 = _table(
    "arXiv 2404.05405v1, Param 6",
    (
        (10_000, 0.02, (5e-4, 1e-3, 2e-3), 24, "fp16"),
        (20_000, 0.02, (5e-4, 1e-3, 2e-3), 48, "fp16"),
        (50_000, 0.02, (5e-4, 1e-3, 2e-3), 96, "fp16"),
        (100_000, 0.02, (5e-4, 1e-3, 2e-3), 192, "fp16"),
        (200_000, 0.02, (5e-4, 1e-3, 2e-3), 192, "fp16"),
        (500_000, 0.01, (2e-4, 3e-4, 5e-4), 192, "fp16"),
        (1_000_000, 0.01, (2e-4, 3e-4, 5e-4), 192, "fp16"),
        (2_000_000, 0.005, (3e-4, 5e-4, 1e-3), 1536, "bf16"),
        (5_000_000, 0.002, (3e-4, 5e-4, 1e-3), 1536, "bf16"),
        (10_000_000, 0.001, (3e-4, 5e-4, 1e-3), 1536, "bf16"),
    ),
)

_ROWS_THREE_RATES_100: _Rows = (
    (50_000, 0.01, (3e-4, 5e-4, 1e-3), 12, "bf16"),
    (100_000, 0.01, (3e-4, 5e-4, 1e-3), 24, "bf16"),
    (200_000, 0.01, (3e-4, 5e-4, 1e-3), 48, "bf16"),
    (500_000, 0.01, (2e-4, 3e-4, 5e-4), 96, "bf16"),
    (1_000_000, 0.01, (2e-4, 3e-4, 5e-4), 192, "bf16"),
)
_LLAMA_100 = _table(
    "arXiv 2404.05405v1, Param 7(a)",
    (
        *_ROWS_THREE_RATES_100,
        (2_000_000, 0.01, (3e-4, 5e-4, 1e-3), 384, "bf16"),
        (5_000_000, 0.01, (3e-4, 5e-4, 1e-3), 768, "bf16"),
        (10_000_000, 0.01, (3e-4, 5e-4, 1e-3), 1536, "bf16"),
        (20_000_000, 0.002, (3e-4, 5e-4, 1e-3), 1536, "bf16"),
    ),
)
_QUARTER_MLP_100 = _table(
    "arXiv 2404.05405v1, Param 7(b)",
    (
        (50_000, 0.01, (5e-4, 1e-3), 12, "fp16"),
        (100_000, 0.01, (5e-4, 1e-3), 24, "fp16"),
        (200_000, 0.01, (5e-4, 1e-3), 48, "fp16"),
        (500_000, 0.01, (3e-4, 5e-4), 96, "fp16"),
        (1_000_000, 0.01, (3e-4, 5e-4), 192, "fp16"),
    ),
)
_NO_MLP_100 = _table("arXiv 2404.05405v1, Param 7(c)", _ROWS_THREE_RATES_100)

# Between LLaMA and GPT2, step by step (figure 5): gated MLPs got three rates, standard MLPs the one
# of Param 2.
_STEPS_GATED_100 = _table("arXiv 2404.05405v1, Param 8 (gated)", _ROWS_THREE_RATES_100)
_STEPS_STANDARD_100 = _table(
    "arXiv 2404.05405v1, Param 8 (standard)",
    (
        (50_000, 0.01, (1e-3,), 12, "bf16"),
        (100_000, 0.01, (1e-3,), 24, "bf16"),
        (200_000, 0.01, (1e-3,), 48, "bf16"),
        (500_000, 0.01, (5e-4,), 96, "bf16"),
        (1_000_000, 0.01, (5e-4,), 192, "bf16"),
    ),
)

# The paper prints one setting for every bioD; fp16 is its choice for GPT2 throughout (section 2.3).
_BIOD_1000 = Recipe(
    n_people=None,
    lr_options=(5e-4,),
    weight_decay=0.01,
    batch_windows=192,
    precision="fp16",
    source="arXiv 2404.05405v1, Param 5",
)

# (kind, exposures) -> architecture (name of a model without its sizes, variants sorted) -> settings
# by people.
_PUBLISHED: Mapping[tuple[str, int], Mapping[str, tuple[Recipe, ...]]] = {
    ("bioS", 1000): {
        "gpt2": _GPT2_1000,
        "gpt2-mlp0": _GPT2_1000,
        "gpt2-mlp1/4": _GPT2_1000,
        "llama": _LLAMA_1000,
        "llama-tied": _LLAMA_1000,
        "mistral": _LLAMA_1000,
    },
    ("bioS", 100): {
        "gpt2": _GPT2_100,
        "gpt2-mlp0": _NO_MLP_100,
        "gpt2-mlp1/4": _QUARTER_MLP_100,
        "llama": _LLAMA_100,
        "mistral": _LLAMA_100,
        "llama-tied": _STEPS_GATED_100,
        "gpt2-gated": _STEPS_GATED_100,
        "llama-standard": _STEPS_STANDARD_100,
        "llama-standard-tied": _STEPS_STANDARD_100,
    },
    ("bioS_simple", 1000): {"gpt2": _SIMPLE_1000},
    ("bioD", 1000): {"gpt2": (_BIOD_1000,)},
}


def arch_of(model: str) -> str:
    """Name of a model without its sizes, variants sorted: `llama-2-4-tied-standard` ->
    `llama-standard-tied`.
    """
    arch, _, _, *variants = model.split("-")
    return "-".join([arch, *sorted(variants)])


@cache
def published_recipe(arch: str, kind: str, n_people: int, exposures: int) -> Recipe | None:
    """The paper's setting for `arch` (see `arch_of`) on data of `kind`; None where it has none.

    Between two published numbers of people, the one nearest in log(n_people) is taken, of two
    equally near the smaller. There is none outside of the published numbers, nor for exposures
    other than those printed.
    """
    rows = _PUBLISHED.get((kind, exposures), {}).get(arch, ())
    by_people = {row.n_people: row for row in rows if row.n_people is not None}
    if not by_people:
        return rows[0] if rows else None
    if not min(by_people) <= n_people <= max(by_people):
        return None
    return by_people[min(by_people, key=lambda n: abs(math.log(n / n_people)))]
