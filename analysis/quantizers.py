"""The rows of quantized models, with how each was quantized."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.peaks import peak_runs
from analysis.runs import Run, group_by, runs_of, setting_of

FLOAT_BITS = {"none": 32, "fp16": 16}
"""Bits of a weight that is no whole number, by method."""

DEFAULTS: dict[str, Any] = {
    "backend": "native",
    "symmetric": True,
    "act_order": False,
    "damping": 0.01,
    "embedding": False,
    "calibration": "people",
    "calibration_people": 1000,
    "finetune_exposures": 0,
}
"""What `kcap quantize` does unless told otherwise; a label names only what differs."""

CALIBRATION = {"calibration", "calibration_people"}
"""Settings that say what a quantizer reads."""


@dataclass(frozen=True, kw_only=True)
class Quantizer:
    """One way to store weights."""

    label: str
    """The column `quantization`: `none`, `fp16`, `gptq-int8-g128`, `rtn-int4-g128-embedding`."""
    method: str
    """The first word of the label."""
    bits: int
    """Bits of a weight that is quantized, without scales; of every weight for floats."""
    settings: dict[str, Any]
    """The column `quantization_config`, completed by `DEFAULTS`."""

    @property
    def variant(self) -> str:
        """The label without the bits and without the calibration text: `rtn-g128-embedding`."""
        words = [
            f"-int{self.bits}",
            f"-people{self.settings['calibration_people']}",
            "-" + self.settings["calibration"].replace("_", "-"),
        ]
        variant = self.label
        for word in words:
            variant = re.sub(rf"{re.escape(word)}(?=-|$)", "", variant)
        return variant

    @property
    def is_float(self) -> bool:
        """Whether weights are floats: as trained, or rounded to 16 bits."""
        return self.method in FLOAT_BITS

    @property
    def changed(self) -> set[str]:
        """Settings that are not as if nothing had been said."""
        return {name for name, value in DEFAULTS.items() if self.settings[name] != value}


def quantizer_of(label: str, config: object) -> Quantizer:
    """From the columns `quantization` and `quantization_config`, which is JSON where it is known.
    Labels that name no bits have 0.
    """
    method = label.partition("-")[0]
    width = re.search(r"-int(\d+)(?=-|$)", label)
    return Quantizer(
        label=label,
        method=method,
        bits=int(width[1]) if width else FLOAT_BITS.get(method, 0),
        settings={**DEFAULTS, **(json.loads(config) if isinstance(config, str) else {})},
    )


@dataclass(frozen=True, kw_only=True)
class QuantizedRun:
    """One usable row, of quantized weights or of those as trained."""

    run: Run
    quantizer: Quantizer
    bits_per_weight: float
    """Bits of storage for each weight of the model, with scales; NaN where the row does not say."""
    is_peak: bool
    """Whether the trained model is the one of largest mean R over the seeds, of the models of its
    data set; only a full model shows what quantization costs.
    """

    @property
    def knowledge_per_stored_bit(self) -> float:
        """Bits of knowledge over bits of storage."""
        return self.run.ratio / self.bits_per_weight

    @property
    def panel(self) -> tuple[str, str, float]:
        """Data set, family and exposures: what figures keep apart."""
        return self.run.dataset, self.run.family, self.run.exposures


def find_quantized(rows: pd.DataFrame) -> list[QuantizedRun]:
    """Every row of a cell that has been quantized, and its row as trained; panel by panel. Rows
    whose label names no bits are left out.
    """
    runs = runs_of(rows)
    records = rows.to_dict("records")
    quantized = {run.cell for run in runs if run.quantization != "none"}
    peaks = _peaks([run for run in runs if run.quantization == "none"])
    found = [
        QuantizedRun(
            run=run.as_kept,
            quantizer=quantizer_of(run.quantization, record["quantization_config"]),
            bits_per_weight=float(record["bits_per_weight"]),
            is_peak=run.cell in peaks,
        )
        for run, record in zip(runs, records, strict=True)
        if run.cell in quantized
    ]
    known = [one for one in found if one.quantizer.bits]
    return sorted(known, key=lambda one: one.panel)


def _peaks(trained: Sequence[Run]) -> set[tuple[str, str]]:
    groups = group_by(trained, lambda run: (*setting_of(run), run.family))
    return {run.cell for runs in groups.values() for run in peak_runs(runs).values()}
