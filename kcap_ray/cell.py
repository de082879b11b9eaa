"""One cell of a sweep: everything that a run depends on, as one frozen value.

A run is a pure function of its `Cell`. The cell says what there is to know (`data`), what learns it
(`model`), how it is trained (`train`) and how learning rate and weight decay are chosen (`tune`).
"""

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

DataKind = Literal["bioS", "bioS_simple", "bioD"]
Style = Literal["sentence", "compact"]
Vocab = Literal["compact", "full"]
Precision = Literal["fp32", "bf16", "fp16"]
Compile = Literal["auto", "on", "off"]


class UserError(ValueError):
    """A mistake in what the user gave: one or two lines that say what to write instead."""


def _check(ok: bool, message: str) -> None:
    if not ok:
        raise UserError(message)


def _check_choice(name: str, value: object, choices: object) -> None:
    allowed = get_args(choices)
    _check(value in allowed, f"{name}: got {value!r}; allowed are {', '.join(map(str, allowed))}")


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """What there is to know, and in which words it is said (arXiv 2404.05405, section 2)."""

    kind: DataKind = "bioS"
    """Kind of knowledge."""
    n_people: int
    """People in the table of facts (N in bioS(N))."""
    pools: str = "full"
    """Pools that names and values are drawn from: `full`, `mini` or a directory of text files."""
    vocab: Vocab = "compact"
    """`compact`: only the GPT-2 tokens that the data can produce, renumbered; `full`: all 50,257.
    """
    seed: int = 0
    """Seed of the table of people (and of the diversity sets of bioD)."""
    K: int | None = None
    """bioD: attributes per person."""
    C: int | None = None
    """bioD: chunks per value."""
    D: int | None = None
    """bioD: distinct chunks in the diversity set of an attribute."""
    L: int | None = None
    """bioD: symbols per chunk."""
    T: int | None = None
    """bioD: symbols in the alphabet; each is one GPT-2 token."""
    style: Style = "sentence"
    """bioD: `sentence` writes the paper's sentences, `compact` the bare names, keys and values."""

    def __post_init__(self) -> None:
        _check_choice("data.kind", self.kind, DataKind)
        _check_choice("data.vocab", self.vocab, Vocab)
        _check_choice("data.style", self.style, Style)
        _check(self.n_people >= 1, f"data.n_people: got {self.n_people}; at least 1 is needed")
        given = {key: getattr(self, key) for key in "KCDLT" if getattr(self, key) is not None}
        if self.kind == "bioD":
            missing = [key for key in "KCDLT" if key not in given]
            _check(not missing, f"bioD needs data.{', data.'.join(missing)}; for instance K: 6")
            for key, value in given.items():
                _check(value >= 1, f"data.{key}: got {value}; at least 1 is needed")
        else:
            named = ", ".join(f"data.{key}" for key in given)
            _check(not given, f"{named}: only for data.kind: bioD, not {self.kind}")
            _check(
                self.style == "sentence", f"data.style: only for data.kind: bioD, not {self.kind}"
            )

    @property
    def label(self) -> str:
        """Short readable name of the data set without the number of people, for instance
        `bioS-mini`.
        """
        pools = "" if self.pools == "full" else "-" + self.pools.strip("/").split("/")[-1]
        if self.kind != "bioD":
            return self.kind + pools
        return f"bioD-K{self.K}-C{self.C}-D{self.D}-L{self.L}-T{self.T}{pools}"


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The model, by name; `models/spec.py` says what a name means."""

    name: str
    """`<arch>-<layers>-<heads>`, for instance gpt2-2-2."""
    head_dim: int = 64
    """Width of one attention head; the model's width is heads * head_dim."""

    def __post_init__(self) -> None:
        even = self.head_dim >= 2 and self.head_dim % 2 == 0
        _check(even, f"model.head_dim: got {self.head_dim}; rotary embedding needs an even number")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained (arXiv 2404.05405, section 2.3 and appendix A)."""

    exposures: int
    """Times that each person's facts are seen in training."""
    lr: float
    """Reference learning rate: reached after warm-up, then decayed."""
    weight_decay: float
    """Decoupled weight decay, of weight matrices and embeddings."""
    batch_windows: int
    """Global batch, in windows."""
    precision: Precision
    """Arithmetic of the forward and backward pass; weights and optimizer stay in float32."""
    window_tokens: int = 512
    """Context length, in tokens."""
    warmup_steps: int = 1_000
    """Linear warm-up, in steps; never more than `warmup_frac` of the run."""
    warmup_frac: float = 0.1
    """Largest share of a run that is warm-up, so that short runs train at full rate too."""
    final_lr_ratio: float = 0.1
    """Learning rate at the end of the cosine, as a share of `lr`."""
    beta1: float = 0.9
    """AdamW: decay of the first moment."""
    beta2: float = 0.98
    """AdamW: decay of the second moment."""
    eps: float = 1e-6
    """AdamW: added to the root of the second moment."""
    grad_clip: float | None = None
    """Largest norm of a trial's gradient, which is scaled down to it; None leaves gradients alone.
    """
    init_std: float = 0.02
    """Standard deviation of the initial weights."""
    workers: int = 1
    """Data-parallel workers; more than one trains by DDP on Ray Train."""
    compile: Compile = "auto"
    """Whether torch.compile makes the step; `auto` does so on a GPU only."""

    def __post_init__(self) -> None:
        _check_choice("train.precision", self.precision, Precision)
        _check_choice("train.compile", self.compile, Compile)
        for name in ("exposures", "batch_windows", "window_tokens", "workers"):
            value = getattr(self, name)
            _check(value >= 1, f"train.{name}: got {value}; at least 1 is needed")
        _check(self.lr > 0, f"train.lr: got {self.lr}; it must be positive")
        _check(
            self.grad_clip is None or self.grad_clip > 0,
            f"train.grad_clip: got {self.grad_clip}; a positive number, or null for no clipping",
        )
        _check(self.weight_decay >= 0, f"train.weight_decay: got {self.weight_decay}; at least 0")
        _check(
            self.batch_windows % self.workers == 0,
            f"train.batch_windows: {self.batch_windows} windows cannot be shared evenly by "
            f"{self.workers} workers; write a multiple of {self.workers}",
        )


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range that tuning searches; logarithmic unless said otherwise."""

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        ok = self.low <= self.high and (self.low > 0 or not self.log)
        _check(ok, f"range: low {self.low}, high {self.high}: needs 0 < low <= high when log")

    def at(self, share: float) -> float:
        """The value at a share of the way from low to high, which is 0 to 1."""
        if self.log:
            return self.low * (self.high / self.low) ** share
        return self.low + (self.high - self.low) * share

    def clip(self, value: float) -> float:
        """The nearest value inside the range."""
        return min(max(value, self.low), self.high)


@dataclass(frozen=True, kw_only=True)
class TuneConfig:
    """How learning rate and weight decay are chosen for a cell."""

    trials: int = 1
    """Points tried; the first is the cell's own `train.lr` and `train.weight_decay`."""
    lr: Range | None = None
    """Learning rates searched; None keeps `train.lr`."""
    weight_decay: Range | None = None
    """Weight decays searched; None keeps `train.weight_decay`."""
    fused: int | None = None
    """Trials trained together as one program; None lets the size of the cell decide."""
    warm_start: bool = True
    """Try the best point of the neighbouring cell (one step back on the first axis) as the second.
    """

    def __post_init__(self) -> None:
        _check(self.trials >= 1, f"tune.trials: got {self.trials}; at least 1 is needed")
        _check(self.fused is None or self.fused >= 1, f"tune.fused: got {self.fused}; at least 1")
        searched = self.lr is not None or self.weight_decay is not None
        _check(
            self.trials == 1 or searched,
            f"tune.trials is {self.trials}, but neither tune.lr nor tune.weight_decay has a range",
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One point of a sweep's grid; equal cells give equal results."""

    data: DataConfig
    model: ModelConfig
    train: TrainConfig
    tune: TuneConfig = field(default_factory=TuneConfig)
    seed: int = 0
    """Seed of the initial weights and of the order and wording of the data."""
    keep_checkpoint: bool = True
    """Whether the weights of the best trial stay on disk."""

    @property
    def cell_id(self) -> str:
        """Readable name and hash of the whole configuration; unique, and safe as a file name."""
        canonical = json.dumps(dataclasses.asdict(self), sort_keys=True)
        digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
        name = (
            f"{self.data.kind}-n{self.data.n_people}-e{self.train.exposures}-{self.model.name}"
            f"-s{self.seed}-{digest}"
        )
        return name.replace("/", "_")

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as JSON can hold them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Cell":
        """Inverse of `to_dict`."""
        tune = dict(values["tune"])
        for name in ("lr", "weight_decay"):
            tune[name] = None if tune[name] is None else Range(**tune[name])
        return cls(
            data=DataConfig(**values["data"]),
            model=ModelConfig(**values["model"]),
            train=TrainConfig(**values["train"]),
            tune=TuneConfig(**tune),
            seed=values["seed"],
            keep_checkpoint=values["keep_checkpoint"],
        )
