"""A `kcap sweep` as a user starts it, and when its parts happened, from the files it writes."""

import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from kcap_ray.config.cell import Cell
from kcap_ray.measure.nats import measure
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import spec_of
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.text.stream.corpus import build_corpus

LOOK_EVERY_S = 0.02
"""Seconds between two looks at the files of a sweep that runs."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """When things happened, in seconds after the command was started."""

    training: float
    """The first note of progress: a program has made a first two-hundredth of its steps."""
    first_trial: float
    """The first cell to have a trial in its ledger."""
    last_cell: float
    """The last cell's row."""
    table: float
    """results.parquet, which is written after Ray has ended."""
    end: float
    """The command has ended."""


def run_sweep(sweep_file: Path, out: Path, settings: Mapping[str, str] | None = None) -> Marks:
    """Run the sweep in the fresh directory `out`. Raises RuntimeError, with what it wrote, if it
    fails.
    """
    command = [sys.executable, "-m", "kcap_ray.cli", "sweep", str(sweep_file), "--out", str(out)]
    for name, value in (settings or {}).items():
        command += ["--set", f"{name}={value}"]
    # Files have the time of day.
    began = time.time()
    with (out.with_suffix(".log")).open("w+") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        training = _time_of_first(out, "progress.json", process)
        first_trial = _time_of_first(out, "trials.jsonl", process)
        if process.wait() != 0:
            log.seek(0)
            raise RuntimeError(f"{' '.join(command)} failed:\n{log.read()}")
    end = time.time()
    rows = [path.stat().st_mtime for path in out.glob("cells/*/result.json")]
    return Marks(
        training=training - began,
        first_trial=first_trial - began,
        last_cell=max(rows) - began,
        table=RunDirectory(out).results_file.stat().st_mtime - began,
        end=end - began,
    )


def _time_of_first(out: Path, name: str, process: subprocess.Popen[bytes]) -> float:
    """When a file of that name was written in any cell's directory; it may be written again or go
    away soon. Now, if the process has ended without.
    """
    while process.poll() is None:
        for path in out.glob(f"cells/*/{name}"):
            try:
                return path.stat().st_mtime
            except FileNotFoundError:
                continue
        time.sleep(LOOK_EVERY_S)
    return time.time()


def cell_directories(out: Path) -> list[CellDirectory]:
    """The cells of a run."""
    return [CellDirectory(path.parent) for path in sorted(out.glob("cells/*/result.json"))]


def program_seconds(directory: CellDirectory) -> list[float]:
    """Training time of each program of a cell, from its ledger; fused trials are one program."""
    seconds, trials = [], directory.trials()
    while trials:
        seconds.append(trials[0].train_time_s or 0.0)
        trials = trials[trials[0].n_trials_fused or 1 :]
    return seconds


def seconds_in_steps(history_file: Path) -> float:
    """Training time of a cell's best trial without the wait before its first step."""
    history = pd.read_parquet(history_file)
    return steady_seconds(history["step"].tolist(), history["seconds"].tolist())


def steady_seconds(steps: list[int], seconds: list[float]) -> float:
    """Time that all steps take at the pace between the first and the last point of a loss curve.

    Before the first point lies the wait for the first batch, which is no training.
    """
    pace = (seconds[-1] - seconds[0]) / (steps[-1] - steps[0])
    return pace * steps[-1]


def measuring_seconds(cell: Cell, n_trials: int) -> float:
    """Time that measuring a program of so many trials takes, here and alone; the weights do not
    matter.
    """
    torch.set_num_threads(1)
    corpus = build_corpus(cell.data)
    model = Decoder(
        spec_of(cell).alike,
        n_tokens=cell.train.window_tokens,
        n_trials=None if n_trials == 1 else n_trials,
    )
    model.init_weights(seed=cell.seed, std=cell.train.init_std)
    measure(model, corpus, seed=cell.seed)
    start = time.perf_counter()
    measure(model, corpus, seed=cell.seed)
    return time.perf_counter() - start
