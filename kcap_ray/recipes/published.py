"""Which published setting a cell gets."""

import math
from functools import cache

from kcap_ray.config.data import JunkConfig
from kcap_ray.recipes.junk import JUNK, N_REPETITIVE, RATIO, JunkCase
from kcap_ray.recipes.recipe import Recipe, Rows
from kcap_ray.recipes.tables import BEYOND_100, LADDER_100, PUBLISHED

# What the two ends of the ladder of figure 5 are made of, as variants; both list the same choices.
_LADDER = {
    "llama": ("gated", "silu", "rmsnorm", "nobias", "untied"),
    "gpt2": ("standard", "gelu", "layernorm", "bias", "tied"),
}
_STEPS = frozenset().union(*_LADDER.values())
_OWN_CHOICES = {**_LADDER, "mistral": _LADDER["llama"]}

_BEYOND = ("canon", "ssd")
"""Beginnings of the variants that arXiv 2512.17351 has a setting for."""


def arch_of(model: str) -> str:
    """Name of a model without its sizes; variants sorted, without those that say what the
    architecture is anyway: `llama-2-4-tied-silu-standard` -> `llama-standard-tied`.
    """
    arch, _, _, *variants = model.split("-")
    return "-".join([arch, *sorted(set(variants) - set(_OWN_CHOICES.get(arch, ())))])


@cache
def published_recipe(
    arch: str, kind: str, n_people: int, exposures: int, junk: JunkConfig | None = None
) -> Recipe | None:
    """The published setting for `arch` (see `arch_of`) on data of `kind`; None where it has none.

    Between two published numbers of people, the one nearest in log(n_people) is taken, of two
    equally near the smaller. There is none outside of the published numbers, nor for exposures
    other than those printed.
    """
    if junk is not None:
        case = _case_of(junk) if (arch, kind) == ("gpt2", "bioS") else None
        rows = JUNK.get((case, exposures), ()) if case is not None else ()
    else:
        rows = _rows(arch, kind, exposures)
    by_people = {row.n_people: row for row in rows if row.n_people is not None}
    if not by_people:
        return rows[0] if rows else None
    if not min(by_people) <= n_people <= max(by_people):
        return None
    return by_people[min(by_people, key=lambda n: abs(math.log(n / n_people)))]


def _rows(arch: str, kind: str, exposures: int) -> Rows:
    rows = PUBLISHED.get((kind, exposures), {}).get(arch, ())
    if rows or (kind, exposures) != ("bioS", 100):
        return rows
    family, *variants = arch.split("-")
    if family not in _LADDER:
        return ()
    others = set(variants) - _STEPS
    if others:
        return BEYOND_100 if all(v.startswith(_BEYOND) for v in others) else ()
    mlp = next((v for v in variants if v in ("gated", "standard")), _LADDER[family][0])
    return LADDER_100["gated" if mlp == "gated" else "standard"]


def _case_of(junk: JunkConfig) -> JunkCase | None:
    """Case of the paper's appendix E; None for what it did not try."""
    if junk.ratio != RATIO:
        return None
    if junk.n_people <= N_REPETITIVE:
        return None if junk.token else "repetitive"
    return "token" if junk.token else "random"
