"""Fits the seconds per unit of work of a device to its step times, and writes them as the file that
`kcap plan --device` reads.
"""

import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kcap_ray.models.spec import parse_model
from kcap_ray.planning.cost import Device
from kcap_ray.planning.step_work import TERMS, Term, step_work

Record = Mapping[str, Any]


def work_of(record: Record) -> dict[Term, float]:
    """The work of a measured shape."""
    spec = parse_model(
        record["model"], head_dim=record["head_dim"], vocab_size=record["vocab_size"]
    )
    return step_work(
        spec,
        tokens=record["batch_windows"] * record["window_tokens"],
        window_tokens=record["window_tokens"],
        n_trials=record["n_trials"],
        optimizer=record["optimizer"],
    )


def fit(records: Sequence[Record]) -> dict[Term, float]:
    """Seconds per unit of each kind of work, none negative, with the least sum of squared relative
    errors.

    Shapes N, kinds of work K.
    """
    from scipy.optimize import nnls

    work_NK = np.array([[work_of(record)[term] for term in TERMS] for record in records])
    share_NK = work_NK / np.array([[record["step_s"]] for record in records])
    # Units differ by fifteen orders of magnitude.
    scale_K = np.maximum(share_NK.max(axis=0), 1e-30)
    solved_K, _ = nnls(share_NK / scale_K, np.ones(len(records)))
    return {term: float(s) for term, s in zip(TERMS, solved_K / scale_K, strict=True)}


def left_out_ratios(records: Sequence[Record]) -> list[float]:
    """Of each shape, predicted over measured time of a step, by a fit to all the other shapes."""
    ratios = []
    for index, record in enumerate(records):
        seconds, work = fit([*records[:index], *records[index + 1 :]]), work_of(record)
        ratios.append(sum(seconds[term] * work[term] for term in TERMS) / record["step_s"])
    return ratios


def root_mean_square(values: Iterable[float]) -> float:
    """Of the values."""
    return statistics.fmean(value**2 for value in values) ** 0.5


def device_from(
    records: Sequence[Record],
    *,
    name: str,
    is_gpu: bool,
    start_s: float,
    compiled_ratio: float | None,
    made_by: Mapping[str, Any],
) -> Device:
    """The device that these measurements describe; `made_by`: date, machine, versions."""
    error = root_mean_square(ratio - 1 for ratio in left_out_ratios(records))
    machine = made_by["machine"]
    what = machine["gpu"]["name"] if is_gpu else f"a core of {machine['processor']}"
    beside = "" if is_gpu else f", {machine['cpus']} of them busy"
    return Device(
        name=name,
        unit="device" if is_gpu else "core",
        precision=records[0]["precision"],
        source=f"{len(records)} shapes on {what}{beside}, torch {made_by['versions']['torch']}, "
        f"{made_by['date'][:10]}",
        error=_short(error),
        start_s=_short(start_s),
        compiled_ratio=None if compiled_ratio is None else _short(compiled_ratio),
        seconds={term: _short(value) for term, value in fit(records).items()},
        measured={
            "date": made_by["date"],
            "git_commit": made_by["git_commit"],
            "torch": made_by["versions"]["torch"],
            "python": platform.python_version(),
            "system": machine["system"],
        },
    )


def _short(value: float) -> float:
    return float(f"{value:.3g}")


def write_device(device: Device, path: Path) -> None:
    """Write the file that `kcap_ray.planning.cost.read_device` reads."""
    content = {
        "name": device.name,
        "unit": device.unit,
        "precision": device.precision,
        "source": device.source,
        "error": device.error,
        "start_s": device.start_s,
        "compiled_ratio": device.compiled_ratio,
        "seconds": dict(device.seconds),
        "measured": dict(device.measured),
    }
    text = yaml.safe_dump(content, sort_keys=False, width=120)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"# Made by `kcap bench throughput -- --device-file {path.name}`.\n{text}", encoding="utf-8"
    )
