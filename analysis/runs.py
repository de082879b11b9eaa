"""Result rows as plain values, for comparisons that sort and pair a few of them at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pandas as pd

from analysis.groups import family_of, size_of

Key = TypeVar("Key")


@dataclass(frozen=True, kw_only=True)
class Run:
    """One usable row: one trained model and what it stores."""

    cell: tuple[str, str]
    """Run directory and cell."""
    quantization: str
    dataset: str
    n_people: int
    exposures: float
    demand_bits: float
    family: str
    """Architecture, variant and optimizer."""
    size: str
    """Layers, heads and, where known, width."""
    n_params: int
    replicate: tuple[int, int]
    """Seed and data seed."""
    ratio: float
    """R, in bits per parameter."""
    max_ratio: float
    """R_max, in bits per parameter."""


def runs_of(rows: pd.DataFrame) -> list[Run]:
    """The rows in their order."""
    return [_run(row) for row in rows.to_dict("records")]


def unquantized(rows: pd.DataFrame) -> list[Run]:
    """The rows of weights as they were trained."""
    return runs_of(rows[rows["quantization"] == "none"])


def group_by(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """The runs of each key, in the order in which the keys come first."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def setting_of(run: Run) -> tuple[str, float, int]:
    """What models are compared at: data set, exposures, people."""
    return run.dataset, run.exposures, run.n_people


def sizes_of(runs: Sequence[Run]) -> set[str]:
    """The sizes among them."""
    return {run.size for run in runs}


def _run(row: dict[Any, Any]) -> Run:
    width = row["d_model"]
    return Run(
        cell=(str(row["run_dir"]), str(row.get("cell_id", ""))),
        quantization=str(row["quantization"]),
        dataset=str(row["dataset"]),
        n_people=int(row["n_people"]),
        exposures=float(row["exposures"]),
        demand_bits=float(row["demand_bits"]),
        family=family_of(str(row["arch"]), str(row["model"]), str(row["optimizer"])),
        size=size_of(str(row["model"])) + ("" if width != width else f" d{width:g}"),
        n_params=int(row["n_params"]),
        replicate=(int(row["seed"]), int(row["data_seed"])),
        ratio=float(row["capacity_ratio"]),
        max_ratio=float(row["max_capacity_ratio"]),
    )
