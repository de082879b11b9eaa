"""Result rows as plain values, for comparisons that sort and pair a few of them at a time."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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
    """Layers, heads and, where known, width; where models differ by their batch alone, that too."""
    n_params: int
    replicate: tuple[int, int]
    """Seed and data seed."""
    ratio: float
    """R, in bits per parameter."""
    max_ratio: float
    """R_max, in bits per parameter."""
    fresh: tuple[tuple[int, float], ...] = ()
    """Fresh seeds that `ratio` is the mean over, and R of each; empty where it is one model's."""
    batch_windows: float | None = None
    """Windows of a step, where the table says it."""
    kept_ratio: float | None = None
    """R of the weights that were kept, where `ratio` is a mean over others; else None."""

    @property
    def as_kept(self) -> "Run":
        """The run with R of the weights that were kept, which others were made from."""
        return self if self.kept_ratio is None else replace(self, ratio=self.kept_ratio, fresh=())


def runs_of(rows: pd.DataFrame) -> list[Run]:
    """The rows in their order. Where models differ by their batch alone, it is part of their size:
    they are no seeds of one another.
    """
    runs = _each(rows)
    mixed = _of_several_batches(runs)
    return [_with_batch(run) if (run.cell[0], *_model(run)) in mixed else run for run in runs]


def runs_of_both(first: pd.DataFrame, second: pd.DataFrame) -> tuple[list[Run], list[Run]]:
    """The rows of two runs that are compared. Where one of them has several batches of a model, the
    batch is part of the model's size in the other one too.
    """
    runs, others = _each(first), _each(second)
    mixed = {key[1:] for key in _of_several_batches([*runs, *others])}
    first_side, second_side = (
        [_with_batch(run) if _model(run) in mixed else run for run in side]
        for side in (runs, others)
    )
    return first_side, second_side


def with_batches_alike(*sides: Sequence[Run]) -> tuple[list[Run], ...]:
    """The sides with the batch in the size of every model, where some have it and others do not."""
    marked = {_size_alone(run) for side in sides for run in side if _size_alone(run) != run.size}
    return tuple(
        [
            _with_batch(replace(run, size=_size_alone(run))) if _size_alone(run) in marked else run
            for run in side
        ]
        for side in sides
    )


def _size_alone(run: Run) -> str:
    return run.size if run.batch_windows is None else run.size.removesuffix(_batch(run))


def _each(rows: pd.DataFrame) -> list[Run]:
    return [_run(row) for row in rows.to_dict("records")]


def _of_several_batches(runs: Sequence[Run]) -> set[tuple[object, ...]]:
    """Runs and models in them that were trained with several batches."""
    models = group_by(runs, lambda run: (run.cell[0], *_model(run)))
    return {
        key for key, own in models.items() if len({run.batch_windows for run in own} - {None}) > 1
    }


def _model(run: Run) -> tuple[object, ...]:
    return (*setting_of(run), run.family, run.size)


def _batch(run: Run) -> str:
    return f" b{run.batch_windows:g}"


def _with_batch(run: Run) -> Run:
    return run if run.batch_windows is None else replace(run, size=run.size + _batch(run))


def unquantized(rows: pd.DataFrame) -> list[Run]:
    """The rows of weights as they were trained."""
    return runs_of(rows[rows["quantization"] == "none"])


def group_by(runs: Iterable[Run], key: Callable[[Run], Key]) -> dict[Key, list[Run]]:
    """The runs of each key, in the order in which the keys come first."""
    groups: dict[Key, list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return groups


def by_seed(*sides: Sequence[Run]) -> tuple[list[Run], ...]:
    """The runs of each side with one run for each fresh seed, where all of them have some.

    Where a model has rows of several seeds they stay as they are, one replicate each: its seeds
    were tuned apart, and what tuning scatters is in the differences of their means alone. Several
    rows of one seed, from runs that share cells, count as one of each fresh seed. Where only some
    have fresh seeds, all are what they were when the best trial was chosen: a mean over fresh seeds
    is no match for the best of several trials, which flatters.
    """
    runs = [run for side in sides for run in side]
    cells = group_by(runs, lambda run: (*setting_of(run), run.family, run.size, run.quantization))
    has_one_seed = all(len({run.replicate for run in own}) == 1 for own in cells.values())
    if is_partly_fresh(*sides):
        return tuple([run.as_kept for run in side] for side in sides)
    if not has_one_seed or not all(run.fresh for run in runs):
        return tuple(list(side) for side in sides)
    return tuple([one for run in side for one in _seeds_of(run)] for side in sides)


def is_partly_fresh(*sides: Sequence[Run]) -> bool:
    """Whether some runs are means over fresh seeds and others are not."""
    return len({bool(run.fresh) for side in sides for run in side}) > 1


def _seeds_of(run: Run) -> list[Run]:
    _, data_seed = run.replicate
    return [
        replace(run, replicate=(seed, data_seed), ratio=ratio, fresh=())
        for seed, ratio in run.fresh
    ]


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
        fresh=_fresh(row.get("confirmed")),
        batch_windows=_number(row.get("batch_windows")),
        kept_ratio=_number(row["selected_capacity_ratio"]) if row.get("n_confirm_seeds") else None,
    )


def _number(value: object) -> float | None:
    return None if value is None or pd.isna(value) else float(value)  # type: ignore


def _fresh(confirmed: object) -> tuple[tuple[int, float], ...]:
    """From the column `confirmed`: {"1000000": 1.2, "1000001": 1.3}."""
    if not isinstance(confirmed, str):
        return ()
    return tuple((int(seed), float(ratio)) for seed, ratio in json.loads(confirmed).items())
