"""The model part of a `Cell`: one of kcap's own by name, or one that somebody brings along."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from kcap_ray.config import identity
from kcap_ray.config.errors import UserError, check

_LABEL = re.compile(r"[A-Za-z0-9_.-]+")


class Settings(dict[str, Any]):
    """Free settings, nested plain values by name; not to be changed, so that they can be a key."""

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return hash(json.dumps(self, sort_keys=True))


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model: by name (`models/spec.py` says what one means), or brought along as a file of
    Python, or as the configuration of a causal language model of transformers.
    """

    # Without a type, so that they are no fields.
    ONE_OF = ("name", "file", "hf")  # exactly one says which model it is
    NAMING = (*ONE_OF, "build", "kwargs", "label")  # the others are settings of kcap's own models

    name: str = ""
    """`<arch>-<layers>-<heads>`, for instance gpt2-2-2; empty for a model that is brought along."""
    file: str | None = None
    """Python file with a model; all of it that is not installed is in this one file."""
    build: str | None = None
    """Function or class in the file, called as build(vocab_size, ctx_len, **kwargs); it gives a
    module from token ids [B, T] to logits [B, T, V], a tensor or an output with `.logits`.
    """
    kwargs: Settings | None = None
    """Further arguments of `build`."""
    hf: Settings | None = None
    """Settings of a causal language model of transformers: `model_type` and those of its class."""
    label: str | None = None
    """What a model that is brought along is called in tables; None: a digest of its settings."""
    contents: str | None = None
    """SHA-256 of `file`; None without one, or where it has not been read. No key of a sweep file.
    """
    head_dim: int = 64
    """Width of one attention head; the model's width is heads * head_dim."""
    experts_per_token: int = 1
    """Mixture of experts: experts that a token is sent to."""
    capacity_factor: float = 2.0
    """Mixture of experts: tokens that an expert takes in training, as a multiple of its even share;
    those beyond are dropped. In measurement nothing is.
    """
    rotary_frac: float = 1.0
    """Share of each head that the rotary embedding turns, from its first channel on (GPT-NeoX's
    `rotary_pct`); the rest does not feel the position.
    """
    rope_base: float = 10_000.0
    """Base of the rotary frequencies (RoFormer, arXiv 2104.09864, section 3.3)."""

    def __post_init__(self) -> None:
        for name in ("kwargs", "hf"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, Settings):
                object.__setattr__(self, name, Settings(value))
        self._check_which()
        even = self.head_dim >= 2 and self.head_dim % 2 == 0
        check(even, f"model.head_dim: got {self.head_dim}; rotary embedding needs an even number")
        for name in ("experts_per_token", "capacity_factor"):
            value = getattr(self, name)
            check(value > 0, f"model.{name}: got {value}; it must be positive")
        check(
            0 < self.rotary_frac <= 1 and self.rotary_frac * self.head_dim % 2 == 0,
            f"model.rotary_frac: got {self.rotary_frac}; a share above 0 and up to 1 that makes an "
            f"even number of the {self.head_dim} channels of a head",
        )
        check(self.rope_base > 1, f"model.rope_base: got {self.rope_base}; it must be above 1")

    def _check_which(self) -> None:
        """UserError unless it is clear which model it is."""
        given = [name for name in self.ONE_OF if getattr(self, name)]
        if not given:
            raise UserError(
                "model: write a name such as gpt2-2-2, or {file: my_model.py, build: MyLM}, or "
                "{hf: {model_type: qwen3, hidden_size: 64}}"
            )
        check(len(given) < 2, f"model: {' and '.join(given)} each say which one; keep one of them")
        check(
            (self.file is None) == (self.build is None),
            "model: file and build belong together: {file: my_model.py, build: MyLM}",
        )
        check(
            self.kwargs is None or self.file is not None,
            "model.kwargs: only for a model from a file; write model.hf for one of transformers",
        )
        check(
            self.label is None or self.is_own,
            "model.label: only for a model from a file or of transformers; others have a name",
        )
        for key, text in (("label", self.label), ("hf.model_type", self._model_type())):
            check(
                text is None or (isinstance(text, str) and _LABEL.fullmatch(text) is not None),
                f"model.{key}: got {text!r}; write letters, digits, `_`, `.` and `-`",
            )
        check(
            self.build is None or self.build.isidentifier(),
            f"model.build: got {self.build!r}; write the name of a function or class of the file",
        )

    def _model_type(self) -> Any:
        if self.hf is None:
            return None
        if "model_type" not in self.hf:
            raise UserError("model.hf: has no model_type; write one, for instance qwen3")
        return self.hf["model_type"]

    @property
    def is_own(self) -> bool:
        """Whether the model is brought along, and not one of kcap's."""
        return not self.name

    @property
    def title(self) -> str:
        """What the model is called in tables."""
        return identity.model_title(dataclasses.asdict(self))

    def with_path(self, change: Callable[[str], str]) -> "ModelConfig":
        """The same with `change(path)` for the path of its file."""
        return self if self.file is None else replace(self, file=change(self.file))


def is_plain(value: object) -> bool:
    """Whether JSON can hold the value: a text, number, flag, nothing, or lists and mappings of
    them.
    """
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value) and all(map(is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, str | int | float)
