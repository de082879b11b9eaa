"""One cell of a sweep: everything that a run depends on, as one frozen value.

A run is a pure function of its `Cell`. It holds the data set (`data`), the model that learns it
(`model`), how that is trained (`train`) and how learning rate and weight decay are chosen (`tune`).
"""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from kcap_ray.config import identity
from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.config.errors import check, check_choice
from kcap_ray.config.model import ModelConfig
from kcap_ray.config.tuning import Range, TuneConfig

Precision = Literal["fp32", "bf16", "fp16"]
PrecisionChoice = Literal["fp32", "bf16", "fp16", "auto"]
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
    precision: PrecisionChoice
    """Arithmetic of the forward and backward pass; weights and optimizer stay in float32. `auto`:
    on a GPU bf16, or fp16 where it has no bf16; on a CPU whichever of fp32 and bf16 a short
    measurement finds faster, compiled where that is faster still and the run is long. The first
    program of a cell decides for all of its trials.
    """
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
    workers: int | Literal["auto"] = "auto"
    """Data-parallel workers at most; more than one trains by DDP on Ray Train, which goes on with
    fewer where a machine is lost. `auto`: on a cluster as many as shorten the sweep, at most those
    of a node; elsewhere one.
    """
    micro_windows: int | None = None
    """Windows that pass through the model at a time on one device, where gradients of the batch
    must be added up for want of memory; None for all. It changes results by rounding alone,
    or with experts, whose places are counted per pass.
    """
    compile: Compile = "auto"
    """Whether torch.compile makes the step; `auto` does so on a GPU only."""
    probe_exposures: int | Literal["auto"] | None = "auto"
    """Exposures between two measurements of a sample of people while training, for curves of names,
    values and bits; None measures at the end alone. `auto`: a tenth of the run, with as many people
    as cost 2% of it, and none where these are too few to tell, or on a GPU.
    """
    probe_people: int = 1_000
    """People in that sample at most, the first of every table."""

    def __post_init__(self) -> None:
        check_choice("train.precision", self.precision, PrecisionChoice)
        check_choice("train.compile", self.compile, Compile)
        check_choice("train.optimizer", self.optimizer, Optimizer)
        check_choice("train.length", self.length, Length)
        self._check_length()
        for name in ("exposures", "batch_windows", "window_tokens", "min_workers", "probe_people"):
            value = getattr(self, name)
            key = name.removeprefix("min_")
            check(value >= 1, f"train.{key}: got {value}; at least 1 is needed")
        check(
            self.micro_windows is None or self.micro_windows >= 1,
            f"train.micro_windows: got {self.micro_windows}; at least 1, or null for all at once",
        )
        probed = self.probe_exposures
        check(
            probed in (None, "auto") or int(probed) >= 1,
            f"train.probe_exposures: got {probed}; auto, at least 1, or null for none",
        )
        check(self.lr > 0, f"train.lr: got {self.lr}; it must be positive")
        check(
            self.grad_clip is None or self.grad_clip > 0,
            f"train.grad_clip: got {self.grad_clip}; a positive number, or null for no clipping",
        )
        check(self.load_balance >= 0, f"train.load_balance: got {self.load_balance}; at least 0")
        check(self.weight_decay >= 0, f"train.weight_decay: got {self.weight_decay}; at least 0")
        check(
            self.min_workers <= self.batch_windows,
            f"train.workers: {self.workers} workers cannot share a batch of {self.batch_windows} "
            f"windows; write at most {self.batch_windows}, or a larger train.batch_windows",
        )

    @property
    def number_format(self) -> Precision:
        """The precision; fp32 where it is yet to be chosen."""
        return "fp32" if self.precision == "auto" else self.precision

    @property
    def min_workers(self) -> int:
        """Workers that are asked for; 1 where the schedule is to choose."""
        return 1 if self.workers == "auto" else self.workers

    def _check_length(self) -> None:
        """UserError where a length is none, or where two are given."""
        own, steps = self.tokens_per_exposure, self.steps
        check(own is None or own > 0, f"train.tokens_per_exposure: got {own}; it must be positive")
        check(steps is None or steps >= 1, f"train.steps: got {steps}; at least 1 is needed")
        given = ["train.length: printed"] * (self.length == "printed")
        given += ["train.tokens_per_exposure"] * (own is not None)
        given += ["train.steps"] * (steps is not None)
        check(len(given) < 2, f"{' and '.join(given)} each say how long to train; keep one of them")


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
    """Seed of the initial weights and of the order and templates of the data."""
    keep_checkpoint: bool = True
    """Whether the weights of the best trial stay on disk."""

    @cached_property
    def cell_id(self) -> str:
        """Readable name and hash of the cell's science, as `config/identity.py` has it; unique, and
        safe as a file name.
        """
        # Of a sweep's cells most have their data, their model and so on in common with others.
        rest = {"seed": self.seed, "keep_checkpoint": self.keep_checkpoint}
        counted = identity.science(rest)
        for name in ("data", "model", "train", "tune"):
            counted |= _science_of(name, getattr(self, name))
        settings = {
            "data": vars(self.data),
            "model": vars(self.model),
            "train": vars(self.train),
            "seed": self.seed,
        }
        return identity.id_of(identity.readable(settings), counted)

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
        return _plain(self)

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


def _plain(value: Any) -> Any:
    """As `dataclasses.asdict`, of values that nobody changes: no copy of each, which would take
    most of the time of a plan.
    """
    if isinstance(value, tuple | list):
        return type(value)(_plain(item) for item in value)
    if not dataclasses.is_dataclass(value):
        return value
    return {name: _plain(item) for name, item in vars(value).items() if name in _names(type(value))}


@cache
def _science_of(name: str, section: Any) -> dict[str, Any]:
    return identity.science({name: _plain(section)})


@cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(one.name for one in dataclasses.fields(kind))


def _without(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _part(values: dict[str, Any]) -> MixturePart:
    frequency = values["frequency"]
    if frequency is not None:
        frequency = FrequencyConfig(**frequency)
    return MixturePart(**{**values, "frequency": frequency})
