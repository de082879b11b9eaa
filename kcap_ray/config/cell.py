"""One cell of a sweep: everything that a run depends on, as one frozen value.

A run is a pure function of its `Cell`. The cell says what there is to know (`data`), what learns it
(`model`), how it is trained (`train`) and how learning rate and weight decay are chosen (`tune`).
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from kcap_ray.config import identity
from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.config.errors import check, check_choice
from kcap_ray.config.model import ModelConfig

Precision = Literal["fp32", "bf16", "fp16"]
Compile = Literal["auto", "on", "off"]
Optimizer = Literal["adamw", "muon"]
Length = Literal["exposures", "printed"]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How a model is trained (arXiv 2404.05405, section 2.3 and appendix A)."""

    exposures: int
    """Times that each person's facts are seen in training."""
    length: Length = "exposures"
    """`exposures` trains until everybody was seen that often; `printed` for the steps that arXiv
    2404.05405 prints for 1000 exposures of bioS, and for other numbers of exposures and people for
    as many tokens for each exposure as these come to (172 up to 200,000 people, 79 to 87 above).
    """
    tokens_per_exposure: float | None = None
    """Tokens that are trained on for each person and exposure; None: those of a biography."""
    steps: int | None = None
    """Optimizer steps; None: as many as the exposures need."""
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
    optimizer: Optimizer = "adamw"
    """`muon` steps the weight matrices of the blocks by Muon, all else by AdamW."""
    load_balance: float = 0.01
    """Mixture of experts: weight of the loss that keeps the experts evenly loaded."""
    workers: int = 1
    """Data-parallel workers at most; more than one trains by DDP on Ray Train, which goes on with
    fewer where a machine is lost.
    """
    micro_windows: int | None = None
    """Windows that pass through the model at a time on one device, where gradients of the batch
    must be added up for want of memory; None for all. It changes results by rounding alone,
    or with experts, whose places are counted per pass.
    """
    compile: Compile = "auto"
    """Whether torch.compile makes the step; `auto` does so on a GPU only."""
    probe_exposures: int | None = None
    """Exposures between two measurements of a sample of people while training, for curves of names
    and values; None measures at the end alone.
    """
    probe_people: int = 1_000
    """People in that sample, the first of every table."""

    def __post_init__(self) -> None:
        check_choice("train.precision", self.precision, Precision)
        check_choice("train.compile", self.compile, Compile)
        check_choice("train.optimizer", self.optimizer, Optimizer)
        check_choice("train.length", self.length, Length)
        self._check_length()
        for name in ("exposures", "batch_windows", "window_tokens", "workers", "probe_people"):
            value = getattr(self, name)
            check(value >= 1, f"train.{name}: got {value}; at least 1 is needed")
        check(
            self.micro_windows is None or self.micro_windows >= 1,
            f"train.micro_windows: got {self.micro_windows}; at least 1, or null for all at once",
        )
        check(
            self.probe_exposures is None or self.probe_exposures >= 1,
            f"train.probe_exposures: got {self.probe_exposures}; at least 1, or null for none",
        )
        check(self.lr > 0, f"train.lr: got {self.lr}; it must be positive")
        check(
            self.grad_clip is None or self.grad_clip > 0,
            f"train.grad_clip: got {self.grad_clip}; a positive number, or null for no clipping",
        )
        check(self.load_balance >= 0, f"train.load_balance: got {self.load_balance}; at least 0")
        check(self.weight_decay >= 0, f"train.weight_decay: got {self.weight_decay}; at least 0")
        check(
            self.workers <= self.batch_windows,
            f"train.workers: {self.workers} workers cannot share a batch of {self.batch_windows} "
            f"windows; write at most {self.batch_windows}, or a larger train.batch_windows",
        )

    def _check_length(self) -> None:
        """UserError where a length is none, or where two are given."""
        own, steps = self.tokens_per_exposure, self.steps
        check(own is None or own > 0, f"train.tokens_per_exposure: got {own}; it must be positive")
        check(steps is None or steps >= 1, f"train.steps: got {steps}; at least 1 is needed")
        given = ["train.length: printed"] * (self.length == "printed")
        given += ["train.tokens_per_exposure"] * (own is not None)
        given += ["train.steps"] * (steps is not None)
        check(len(given) < 2, f"{' and '.join(given)} each say how long to train; keep one of them")


@dataclass(frozen=True, kw_only=True)
class Range:
    """A range that tuning searches; logarithmic unless said otherwise."""

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        ok = self.low <= self.high and (self.low > 0 or not self.log)
        check(ok, f"range: low {self.low}, high {self.high}: needs 0 < low <= high when log")

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
    """Points tried; the first is the cell's own `train.lr` and `train.weight_decay`. They are a
    sequence: with a larger number the search goes on.
    """
    lr: Range | None = None
    """Learning rates searched; None keeps `train.lr`."""
    weight_decay: Range | None = None
    """Weight decays searched; None keeps `train.weight_decay`."""
    fused: int | None = None
    """Most trials in one program, where the device has memory for all and is not
    faster with fewer at a time; None lets the size of the cell decide. Changes no point.
    """
    warm_start: bool = True
    """Try the best point of the neighbouring cell (one step back on the first axis) as the second.
    """

    @property
    def follows_neighbour(self) -> bool:
        """Whether a neighbouring cell's result changes what is tried: a single trial is the own
        point.
        """
        return self.warm_start and self.trials > 1

    def __post_init__(self) -> None:
        check(self.trials >= 1, f"tune.trials: got {self.trials}; at least 1 is needed")
        check(self.fused is None or self.fused >= 1, f"tune.fused: got {self.fused}; at least 1")
        searched = self.lr is not None or self.weight_decay is not None
        check(
            self.trials == 1 or searched,
            f"tune.trials is {self.trials}, but neither tune.lr nor tune.weight_decay has a range",
        )


_GONE = ("test_capacity_factor",)
"""Settings of models that cells of earlier versions had."""


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

    @cached_property
    def cell_id(self) -> str:
        """Readable name and hash of the cell's science, as `config/identity.py` has it; unique, and
        safe as a file name.
        """
        return identity.cell_id(self.to_dict())

    @property
    def search_seed(self) -> int:
        """Seed of the points that the cell tries."""
        return identity.search_seed(self.to_dict())

    def with_absolute_paths(self) -> "Cell":
        """The same cell for a process that works in another directory."""
        data = self.data.with_paths(lambda _, path: str(Path(path).absolute()))
        model = self.model.with_path(lambda path: str(Path(path).absolute()))
        return replace(self, data=data, model=model)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain values, as JSON can hold them."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Cell":
        """Inverse of `to_dict`; what an older version did not write has its default."""
        tune = dict(values["tune"])
        for name in ("lr", "weight_decay"):
            tune[name] = None if tune[name] is None else Range(**tune[name])
        data = dict(values["data"])
        for name, kind in (("frequency", FrequencyConfig), ("junk", JunkConfig)):
            if data.get(name) is not None:
                data[name] = kind(**data[name])
        data["parts"] = tuple(_part(part) for part in data.get("parts", ()))
        return cls(
            data=DataConfig(**data),
            model=ModelConfig(**_without(values["model"], _GONE)),
            train=TrainConfig(**values["train"]),
            tune=TuneConfig(**tune),
            seed=values["seed"],
            keep_checkpoint=values["keep_checkpoint"],
        )


def _without(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _part(values: dict[str, Any]) -> MixturePart:
    frequency = values["frequency"]
    if frequency is not None:
        frequency = FrequencyConfig(**frequency)
    return MixturePart(**{**values, "frequency": frequency})
