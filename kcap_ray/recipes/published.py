"""Which published setting a cell gets."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from typing import NamedTuple

from kcap_ray.config.data import JunkConfig
from kcap_ray.recipes.junk import JUNK, N_REPETITIVE, RATIO, JunkCase
from kcap_ray.recipes.recipe import Recipe, Rows
from kcap_ray.recipes.tables import BEYOND_100, EXCEPTIONS, LADDER_100, PUBLISHED

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
    arch, *sized = model.split("-")
    variants = sized[2:]
    return "-".join([arch, *sorted(set(variants) - set(_OWN_CHOICES.get(arch, ())))])


class Nearest(NamedTuple):
    """The published setting nearest to what was asked for."""

    recipe: Recipe
    difference: str | None
    """What it was published for, where that differs: for instance `bioS in place of bioR`; None
    where it was published for what was asked.
    """


class _Wanted(NamedTuple):
    """What a setting is sought for."""

    arch: str
    kind: str
    exposures: int
    junk: JunkConfig | None

    @property
    def rows(self) -> Rows:
        """Settings by people."""
        if self.junk is None:
            return _rows(self.arch, self.kind, self.exposures)
        case = _case_of(self.junk) if (self.arch, self.kind) == ("gpt2", "bioS") else None
        return () if case is None else JUNK.get((case, self.exposures), ())


@cache
def published_recipe(
    arch: str,
    kind: str,
    n_people: int,
    exposures: int,
    junk: JunkConfig | None = None,
    model: str = "",
) -> Recipe | None:
    """The published setting for `arch` (see `arch_of`) on data of `kind`; None where it has none.

    Between two published numbers of people, the one nearest in log(n_people) is taken, of two
    equally near the smaller. There is none outside of the published numbers, nor for exposures
    other than those printed. `model`, the name with its sizes, finds the two models for which the
    paper prints something of their own.
    """
    recipe = _of_people(_Wanted(arch, kind, exposures, junk).rows, n_people)
    if recipe is None or recipe.n_people is None or junk is not None or kind != "bioS":
        return recipe
    sized = "-".join([arch, *model.split("-")[1:3]])
    return replace(recipe, **EXCEPTIONS.get((sized, exposures, recipe.n_people), {}))


def nearest_recipe(
    model: str, kind: str, n_people: int, exposures: int, junk: JunkConfig | None = None
) -> Nearest:
    """`published_recipe`, or else the one with which a search may well begin.

    Given up are, one after another and as little as may be: the variants and then the family of the
    model, the kind of data, the kind of junk, the number of people (the nearest in log), and last
    the exposures (the nearest in log, of two equally near the fewer).
    """
    arch = arch_of(model)
    own = published_recipe(arch, kind, n_people, exposures, junk, model)
    if own is not None:
        return Nearest(own, None)
    asked = _Wanted(arch, kind, exposures, junk)
    for outside, found in _by_nearness(asked):
        recipe = _of_people(found.rows, n_people, outside=outside)
        if recipe is not None:
            return Nearest(recipe, _difference(asked, found, n_people if outside else None, recipe))
    raise AssertionError("there are settings of gpt2 on bioS at 100 and 1000 exposures")


def _of_people(rows: Rows, n_people: int, *, outside: bool = False) -> Recipe | None:
    """The row nearest in log(n_people); None beyond both ends, unless also `outside`."""
    by_people = {row.n_people: row for row in rows if row.n_people is not None}
    if not by_people:
        return rows[0] if rows else None
    if not outside and not min(by_people) <= n_people <= max(by_people):
        return None
    return by_people[min(by_people, key=lambda n: abs(math.log(n / n_people)))]


def _by_nearness(asked: _Wanted) -> Iterator[tuple[bool, _Wanted]]:
    """What to look for in turn, and whether also outside of the published numbers of people."""
    printed = {exposures for _, exposures in (*PUBLISHED, *JUNK)}
    junk = asked.junk
    like_it = [junk]
    if junk is not None:
        like_it += [replace(junk, ratio=RATIO), replace(junk, ratio=RATIO, token=not junk.token)]
    archs = dict.fromkeys((asked.arch, asked.arch.split("-")[0], "gpt2"))
    kinds = dict.fromkeys((asked.kind, "bioS"))
    for exposures in sorted(printed, key=lambda n: (abs(math.log(n / asked.exposures)), n)):
        for outside, other, kind, arch in product((False, True), like_it, kinds, archs):
            yield outside, _Wanted(arch, kind, exposures, other)


def _difference(asked: _Wanted, found: _Wanted, n_people: int | None, recipe: Recipe) -> str:
    """In words, for instance `gpt2 in place of gpt2-silu, 1,000,000 people in place of 2,000,000`.

    `n_people`: those asked for, where they are outside of the published ones.
    """
    words = [f"{found.arch} in place of {asked.arch}"] * (found.arch != asked.arch)
    words += [f"{found.kind} in place of {asked.kind}"] * (found.kind != asked.kind)
    if found.junk is not None and asked.junk is not None and found.junk != asked.junk:
        words.append(f"{found.junk.label} in place of {asked.junk.label}")
    if n_people is not None and recipe.n_people is not None:
        words.append(f"{recipe.n_people:,} people in place of {n_people:,}")
    if found.exposures != asked.exposures:
        words.append(f"{found.exposures} exposures in place of {asked.exposures}")
    return ", ".join(words)


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
