"""The records of a run: of a trial, of a cell, of a point of a loss curve; each is written and read
as a typed value. What their columns are is said in `kcap_ray.runs.columns`.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Self

from kcap_ray.runs.columns import (
    LOSS_NAME,
    LOSS_VALUE,
    LR,
    RATIO,
    STEPS,
    STORED,
    STORED_SE,
    TOKENS,
    VALUE_BITS,
    VALUE_SE,
    WEIGHT_DECAY,
    Asked,
    Measured,
    Outcome,
    Provenance,
    Stored,
    Trained,
)
from kcap_ray.runs.columns_quantized import Quantized
from kcap_ray.runs.columns_search import Confirmed
from kcap_ray.runs.schema import SCHEMA_VERSION, Column, Record, RecordError
from kcap_ray.runs.versions import upgraded


@dataclass(frozen=True, kw_only=True)
class TrialRecord(Provenance, Measured, Trained, Outcome):
    """One line of trials.jsonl."""

    trial: Annotated[int, Column("Trial", "Number of the trial, from 0.")]
    lr: Annotated[float, LR]
    weight_decay: Annotated[float, WEIGHT_DECAY]
    bits: Annotated[float | None, Column("Stored", "As stored_bits of a cell.", "bits")] = None
    capacity_ratio: Annotated[float | None, RATIO] = None
    steps: Annotated[int | None, STEPS] = None
    tokens: Annotated[int | None, TOKENS] = None
    n_threads: Annotated[int | None, Column("Threads", "Threads on a CPU; none on a GPU.")] = None

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A line of an older version stays of that version; see `of_table`."""
        return super().from_dict({"schema_version": 1, **_columns(values)})

    def of_table(self, label: str) -> "TrialRecord":
        """The record with today's meaning of every column; `label`: of the cell's data."""
        return super().from_dict(upgraded(self.to_dict(), label))


@dataclass(frozen=True, kw_only=True)
class _OfCell(Record):
    """Whose it is; a base of its own, so that it is the first column."""

    cell_id: Annotated[str, Column("Cell", "Id of the cell that the trial is of.")]


@dataclass(frozen=True, kw_only=True)
class TrialRow(TrialRecord, _OfCell):
    """One row of trials.parquet, the trials of all cells of a compact run."""

    part: Annotated[
        str | None,
        Column(
            "Part",
            "Folder under `parts/` of a trial after the search: with a fresh seed, or beyond an "
            "edge; none for those of the search.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class ResultRow(Provenance, Quantized, Confirmed, Stored, Measured, Trained, Asked, Outcome):
    """One row of results.parquet: a cell, or its model quantized in one way. A cell that failed has
    its status and reason, and nothing where it has no number.
    """

    lr: Annotated[float | None, LR] = None
    weight_decay: Annotated[float | None, WEIGHT_DECAY] = None
    n_trials: Annotated[
        int, Column("Trials", "Tuning trials run, whatever became of them.", "", "", "trials")
    ]
    n_trials_ok: Annotated[int, Column("Trials ok", "Tuning trials with a number.")]
    config: Annotated[str, Column("Settings", "The whole cell as JSON: every setting.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        is_measured = self.stored_bits is not None and self.capacity_ratio is not None
        if self.status == "ok" and not is_measured:
            raise RecordError("column stored_bits: holds nothing, but the status is ok")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """A row of this or an older version, with today's meaning of every column."""
        values = _columns(values)
        return super().from_dict(upgraded(values, str(values.get("dataset"))))


@dataclass(frozen=True, kw_only=True)
class CurvePoint(Record):
    """One row of history.parquet."""

    schema_version: Annotated[int, Column("Schema", "As in the results.", since=2)] = SCHEMA_VERSION
    step: Annotated[int, Column("Step", "Steps done.")]
    tokens: Annotated[int, Column("Tokens", "Tokens seen.")]
    exposures: Annotated[float, Column("Exposures", "Exposures seen.")]
    loss: Annotated[float, Column("Loss", "Training loss, mean over tokens.", "nats/token")]
    lr: Annotated[float, Column("Learning rate", "Learning rate of the step.")]
    seconds: Annotated[float, Column("Time", "Since the training began.", "s")]
    expert_load_max: Annotated[
        float | None, Column("Busiest expert", "Share of the tokens that it gets.")
    ] = None
    expert_load_min: Annotated[
        float | None, Column("Idlest expert", "Share of the tokens that it gets.")
    ] = None
    loss_name_nats: Annotated[float | None, LOSS_NAME] = None
    loss_value_nats: Annotated[float | None, LOSS_VALUE] = None
    capacity_ratio: Annotated[float | None, RATIO] = None
    stored_bits: Annotated[float | None, STORED] = None
    value_bits: Annotated[float | None, VALUE_BITS] = None
    stored_bits_se: Annotated[float | None, STORED_SE] = None
    value_bits_se: Annotated[float | None, VALUE_SE] = None


@dataclass(frozen=True, kw_only=True)
class MeasuredModel(Measured):
    """What `kcap measure` finds: bits that the model of a directory stores about a cell's data."""

    model: Annotated[str, Column("Model", "Directory of the model.")]
    model_class: Annotated[str, Column("Class", "Class of transformers; in JSON `class`.")]
    tokens: Annotated[str, Column("Tokens", "Whose tokens the model reads.")]
    begins_with_bos: Annotated[
        bool, Column("BOS", "Whether documents began with the tokenizer's beginning of text.")
    ]
    n_tokens_used: Annotated[int, Column("Tokens used", "Tokens of the model that the data use.")]
    context_tokens: Annotated[int | None, Column("Context", "Tokens it reads; none: any number.")]
    cell_id: Annotated[str, Column("Cell", "Id of the cell whose data were asked for.")]
    dataset: Annotated[str, Column("Data", "Kind of data and its pools, without the people.")]
    n_people: Annotated[int, Column("People", "People of the first table (N).")]
    n_params: Annotated[int, Column("Parameters", "All weights; those used twice count once.")]
    n_params_used: Annotated[
        int,
        Column(
            "Parameters used",
            "Without the rows, of embedding and output head, of tokens that the data never use.",
        ),
    ]
    stored_bits: Annotated[float, Column("Stored", "As of a cell.", "bits")]
    demand_bits: Annotated[float, Column("Demand", "Entropy of the data.", "bits")]
    capacity_ratio: Annotated[float, RATIO]
    capacity_ratio_used: Annotated[
        float, Column("R used", "stored_bits / n_params_used.", "bits/param")
    ]
    max_capacity_ratio: Annotated[float, Column("R_max", "demand_bits / n_params.", "bits/param")]

    def to_dict(self) -> dict[str, Any]:
        """The columns as JSON has them: groups as a list, and the class as `class`."""
        values = super().to_dict()
        values["class"] = values.pop("model_class")
        values["groups"] = None if self.groups is None else json.loads(self.groups)
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        values = _columns(values)
        groups = values.get("groups")
        values["model_class"] = values.pop("class", None)
        values["groups"] = None if groups is None else json.dumps(groups)
        return super().from_dict(values)


@dataclass(frozen=True, kw_only=True)
class TrainingProgress:
    """progress.json: how far the program has come that trains now."""

    step: int
    n_steps: int
    losses: tuple[float, ...]
    """Training loss of each of its trials, nats per token."""
    seconds: float = 0.0
    """Since the training began, without the time between two commands; 0 where it is not known."""
    device: str = ""
    """What it trains on; empty where it is not known."""
    n_devices: int = 1
    """Data-parallel workers."""
    ratios: tuple[float, ...] = ()
    """R of each trial by the sample of people that was last measured; empty before the first."""

    def __post_init__(self) -> None:
        counts = (self.step, self.n_steps, self.n_devices)
        is_right = all(type(count) is int for count in counts) and 0 <= self.step <= self.n_steps
        is_right &= isinstance(self.device, str) and isinstance(self.seconds, int | float)
        numbers = (*self.losses, *self.ratios)
        if not is_right or not all(isinstance(number, int | float) for number in numbers):
            raise RecordError(f"got {self.to_dict()}, which is no progress of a training")

    @property
    def done_frac(self) -> float:
        """Share of the steps that are done."""
        return self.step / max(self.n_steps, 1)

    def to_dict(self) -> dict[str, Any]:
        """As the file has it."""
        return {**vars(self), "losses": list(self.losses), "ratios": list(self.ratios)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`. Raises `RecordError` for what is none."""
        values = _columns(values)
        try:
            known = {field.name for field in fields(cls)} & set(values)
            given = {name: values[name] for name in known}
            given |= {"losses": tuple(values["losses"]), "ratios": tuple(values.get("ratios", ()))}
            return cls(**given)
        except (LookupError, TypeError) as error:
            raise RecordError(f"got {values}, which is no progress of a training") from error

    def __str__(self) -> str:
        losses = ", ".join(f"{loss:.3f}" for loss in self.losses)
        ratios = ", ".join(f"{ratio:.3f}" for ratio in self.ratios)
        return (
            f"{100 * self.done_frac:3.0f}%  step {self.step} of {self.n_steps}  loss {losses} nats"
            + (f"  R {ratios}" if ratios else "")
        )


def best_trial(records: Iterable[TrialRecord]) -> TrialRecord | None:
    """The finished trial that stores most; the earlier one of equals; None if none is ok."""
    best, most = None, float("-inf")
    for record in records:
        if record.status != "ok" or record.capacity_ratio is None:
            continue
        if best is None or record.capacity_ratio > most:
            best, most = record, record.capacity_ratio
    return best


def _columns(values: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise RecordError(f"got {type(values).__name__}, and no columns")
    return dict(values)
