"""The words behind a model's sizes, as in `gpt2-2-2-gated-untied`: what each of them changes.

Words come in any order and mean the same in all. Two words about the same thing contradict each
other and are refused, and so is a word about something that the model does not have.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcap_ray.config.errors import UserError, did_you_mean
from kcap_ray.models import counts

if TYPE_CHECKING:
    from kcap_ray.models.spec import ModelSpec


@dataclass(frozen=True)
class Variant:
    """One word."""

    about: str
    """What it decides; a name has at most one word about each thing."""
    change: Callable[[ModelSpec, str], ModelSpec]
    """From a spec, and what stands behind the word without a dash, to the changed spec."""


def _fields(about: str, **values: Any) -> Variant:
    return Variant(about, lambda spec, _: replace(spec, **values))


def _mlp_kind(name: str) -> Variant:
    def change(spec: ModelSpec, _: str) -> ModelSpec:
        return replace(spec, mlp=name, d_ff=round(counts.MLPS[name].d_ff_per_d * spec.d_model))

    return Variant("the kind of MLP", change)


def _experts(spec: ModelSpec, n_expert: str) -> ModelSpec:
    if int(n_expert) == 0:
        raise UserError("variant 'moe0': needs at least one expert, for instance moe32")
    # Each expert is an MLP d -> d -> d (arXiv 2404.05405, section 9).
    return replace(spec, n_expert=int(n_expert), d_ff=spec.d_model)


def _canon(spec: ModelSpec, sites: str) -> ModelSpec:
    # Rows of an expert are not neighbours in the text, so there is no layer inside of experts.
    possible = "AB" if spec.mlp == "none" else "ABC" if spec.n_expert else "ABCD"
    wanted = "".join(sorted(set(sites or possible)))
    if not set(wanted) <= set(possible):
        why = "there is no MLP" if spec.mlp == "none" else "D would stand inside of an expert"
        raise UserError(
            f"variant 'canon{sites}': {why}; write canon{possible}, or fewer of its letters"
        )
    return replace(spec, canon=wanted)


def _variants() -> dict[str, Variant]:
    """Every word, in the order in which they are applied: a width goes by the kind of MLP, and
    Canon layers by what there is.
    """
    return {
        **{name: _mlp_kind(name) for name in counts.MLPS},
        "mlp1/4": Variant("the width of the MLP", lambda s, _: replace(s, d_ff=s.d_model)),
        "mlp0": _fields("the width of the MLP", mlp="none", d_ff=0),
        "moe": Variant("the width of the MLP", _experts),
        "gelu": _fields("the activation", activation="gelu"),
        "silu": _fields("the activation", activation="silu"),
        "relu2": _fields("the activation", activation="relu2"),
        "layernorm": _fields("the norm", norm="layernorm"),
        "rmsnorm": _fields("the norm", norm="rmsnorm"),
        "bias": _fields("the biases", bias=True),
        "nobias": _fields("the biases", bias=False),
        "tied": _fields("the output head", tied=True),
        "untied": _fields("the output head", tied=False),
        **{name: _fields("the mixer", mixer=name) for name in counts.MIXERS},
        "canon": Variant("the Canon layers", _canon),
    }


def _read(word: str, variants: dict[str, Variant]) -> tuple[str, str]:
    """The word and what stands behind it: `moe32` is ("moe", "32"), `tied` is ("tied", "")."""
    match = re.fullmatch(r"(moe)(\d+)|(canon)([A-D]*)", word)
    if match:
        return match[1] or match[3], match[2] or match[4] or ""
    if word in variants and word != "moe":
        return word, ""
    shown = [{"moe": "moe32", "canon": "canonABCD"}.get(name, name) for name in variants]
    hint = did_you_mean(word, shown)
    raise UserError(f"unknown variant {word!r}{hint}; one of {', '.join(shown)}")


def apply_variants(spec: ModelSpec, words: Sequence[str]) -> ModelSpec:
    """The spec with all changes.

    Raises `UserError` for a word that there is not, and for words that contradict each other.
    """
    variants = _variants()
    chosen: dict[str, str] = {}
    by_subject: dict[str, str] = {}
    for word in words:
        name, argument = _read(word, variants)
        about = variants[name].about
        if about in by_subject:
            raise UserError(
                f"variants {by_subject[about]!r} and {word!r} both say {about}; keep one of them"
            )
        by_subject[about] = word
        chosen[name] = argument
    for about in ("the kind of MLP", "the activation"):
        if "mlp0" in chosen and about in by_subject:
            raise UserError(
                f"variant {by_subject[about]!r} says {about}, but 'mlp0' takes the MLP away; "
                "keep one of them"
            )
    for name, variant in variants.items():
        if name in chosen:
            spec = variant.change(spec, chosen[name])
    return spec
