"""How much R is lost where costly cells have fewer trials than a full study of six.

    kcap sweep sweeps/tuning_miniature.yaml --out runs/tuning_miniature
    python benchmarks/tuning.py start runs/tuning_miniature runs/tuning_rule
    kcap sweep sweeps/tuning_miniature.yaml --out runs/tuning_rule --set tune.costly_flops=2e10
    python -m analysis compact runs/tuning_miniature docs/results/tuning     (likewise tuning_rule)
    python benchmarks/tuning.py probes runs/tuning_miniature docs/results/tuning
    python benchmarks/tuning.py compare docs/results/tuning docs/results/tuning_rule

`start` copies what the second sweep would train again: cells that are not costly. With two trials
in costly cells the second is at the own point, as the first of the full study is: the same run.
`compare` writes `docs/results/tuning/comparison.json`.

Decided before more than two of the miniature's 28 cells were seen, both of which had learnt all
there is to know: its cells and ranges; the form of the rule and what it expects beforehand
(`kcap_ray/execution/transfer_rule.py`); that a cell is costly above 2e10 operations a trial, which
makes 14 cells costly; that the loss is 1 - R / R of the full study, in percent, and that it is
judged over the costly cells, since the others have the full study and lose nothing.

Other ways of spending less are judged by the same trials. Cost is in operations, and a share of the
full study's. Successive halving stands for ASHA: six points are trained in part, of which the best
by R so far go on. Its points are those of the full study, which TPE has chosen with results that
halving would not have had.
"""

import argparse
import json
import shutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from kcap_ray.config.cell import Cell
from kcap_ray.planning.costly import trial_flops
from kcap_ray.planning.run_length import spec_of
from kcap_ray.runs.environment import describe
from kcap_ray.runs.files import write_atomically

N_TRIALS = 6
COSTLY_FLOPS = 2e10
N_PROBES = 5


@dataclass(frozen=True, kw_only=True)
class Studied:
    """A cell of the full study."""

    cell: Cell
    flops: float
    """Of one trial."""
    max_ratio: float
    ratios: Sequence[float]
    """R of the trials, in their order."""
    probes: Sequence[Sequence[float]]
    """Of each trial, R after each fifth of its training."""
    by_rule: float | None
    """R at the rule's point, of the second sweep; None in a cell that is not costly."""

    @property
    def is_costly(self) -> bool:
        return self.flops > COSTLY_FLOPS

    @property
    def full(self) -> float:
        return max(self.ratios)


Way = Callable[[Studied], tuple[float, float]]
"""Of a cell: the R that is reported, and the trials that it costs."""


def first(*numbers: int) -> Way:
    """The best of these trials of the full study, in every cell."""
    return lambda one: (max(one.ratios[n] for n in numbers), len(numbers))


def second_best(one: Studied) -> tuple[float, float]:
    """What the full study would have found without its best trial: how much of that is luck."""
    return sorted(one.ratios)[-2], N_TRIALS


def in_costly(way: Way) -> Way:
    """A full study in the cells that are not costly."""
    return lambda one: way(one) if one.is_costly else (one.full, N_TRIALS)


def by_rule(*others: int) -> Way:
    """The trial at the rule's point, and these of the full study."""

    def way(one: Studied) -> tuple[float, float]:
        assert one.by_rule is not None, f"{one.cell.cell_id} has no trial at the rule's point"
        return max(one.by_rule, *(one.ratios[n] for n in others), -1.0), 1 + len(others)

    return way


def halving(*rungs: tuple[int, int]) -> Way:
    """Successive halving: (fifths of the training, how many go on), ..."""

    def way(one: Studied) -> tuple[float, float]:
        going, before, cost = list(range(N_TRIALS)), 0, 0.0
        for fifths, n_next in rungs:
            cost += len(going) * (fifths - before) / N_PROBES
            by_probe = sorted(going, key=lambda n: -one.probes[n][fifths - 1])
            going, before = by_probe[:n_next], fifths
        cost += len(going) * (N_PROBES - before) / N_PROBES
        return max(one.ratios[n] for n in going), cost

    return way


# Trial 0 is at the cell's own point, 1 at the neighbour's best, 2 and 3 are spread over the ranges
# (a scrambled Halton sequence), 4 and 5 are proposed by TPE.
WAYS: dict[str, Way] = {
    "rule, 1 trial in costly cells": in_costly(by_rule()),
    "rule and own point, 2 trials in costly cells": in_costly(by_rule(0)),
    "own point alone in costly cells": in_costly(first(0)),
    "own point and neighbour's best in costly cells": in_costly(first(0, 1)),
    "own point alone in every cell": first(0),
    "two spread points in every cell (random search)": first(2, 3),
    "own and one spread point in every cell (TPE alone)": first(0, 2),
    "own and two spread points in every cell (TPE alone)": first(0, 2, 3),
    "the full study without its best trial": second_best,
    "successive halving 6 > 1 at a fifth": halving((1, 1)),
    "successive halving 6 > 3 > 1 at one and two fifths": halving((1, 3), (2, 1)),
}


def judge(cells: Sequence[Studied], way: Way) -> dict[str, Any]:
    """Cost and losses of one way."""
    found = {one.cell.cell_id: way(one) for one in cells}
    whole = N_TRIALS * sum(one.flops for one in cells)
    cost = sum(found[one.cell.cell_id][1] * one.flops for one in cells) / whole
    lost = {one.cell.cell_id: 100 * (1 - found[one.cell.cell_id][0] / one.full) for one in cells}
    costly = [lost[one.cell.cell_id] for one in cells if one.is_costly]
    return {
        "cost": round(cost, 4),
        "costly_cells": _summary(costly),
        "all_cells": _summary(list(lost.values())),
        "lost_percent": {name: round(value, 3) for name, value in lost.items()},
    }


def _summary(lost: Sequence[float]) -> dict[str, float]:
    return {
        "cells": len(lost),
        "median_percent": round(statistics.median(map(abs, lost)), 3),
        "worst_percent": round(max(map(abs, lost)), 3),
        "mean_percent": round(statistics.fmean(lost), 3),
        "within_3_percent": sum(abs(value) <= 3 for value in lost),
    }


def read(full: Path, rule: Path | None) -> list[Studied]:
    """The cells that are done in both sweeps, from their compact form."""
    probes = json.loads((full / "probes.json").read_text(encoding="utf-8"))
    others = {} if rule is None else _ratios(rule)
    own = _ratios(full)
    rows = pq.read_table(full / "results.parquet").to_pylist()
    found = []
    for row in rows:
        cell, name = Cell.from_dict(json.loads(row["config"])), row["cell_id"]
        flops = trial_flops(cell)
        is_missing = rule is not None and flops > COSTLY_FLOPS and not others.get(name)
        if len(own[name]) < N_TRIALS or is_missing:
            continue
        found.append(
            Studied(
                cell=cell,
                flops=flops,
                max_ratio=row["max_capacity_ratio"],
                ratios=own[name][:N_TRIALS],
                probes=probes[name],
                by_rule=others[name][0] if flops > COSTLY_FLOPS and others else None,
            )
        )
    return found


def _ratios(directory: Path) -> dict[str, list[float]]:
    found: dict[str, dict[int, float]] = {}
    for row in pq.read_table(directory / "trials.parquet").to_pylist():
        ratio = row["capacity_ratio"]
        found.setdefault(row["cell_id"], {})[row["trial"]] = 0.0 if ratio is None else ratio
    return {name: [trials[n] for n in sorted(trials)] for name, trials in found.items()}


def compare(full: Path, rule: Path | None) -> dict[str, Any]:
    """All ways, and what the full study found."""
    cells = read(full, rule)
    ways = {
        name: judge(cells, way)
        for name, way in WAYS.items()
        if rule is not None or not name.startswith("rule")
    }
    return {
        **describe(),
        "command": f"python benchmarks/tuning.py compare {full} {rule or ''}".strip(),
        "costly_flops": COSTLY_FLOPS,
        "n_cells": len(cells),
        "params": _least_and_most(spec_of(one.cell).n_params for one in cells),
        "people": _least_and_most(one.cell.data.n_people for one in cells),
        "n_costly": sum(one.is_costly for one in cells),
        "n_saturated_costly": sum(
            one.full > 0.98 * one.max_ratio for one in cells if one.is_costly
        ),
        "ways": ways,
        "cells": [
            {
                "cell_id": one.cell.cell_id,
                "flops": one.flops,
                "R_max": round(one.max_ratio, 4),
                "R": [round(value, 4) for value in one.ratios],
                "R_by_rule": None if one.by_rule is None else round(one.by_rule, 4),
            }
            for one in cells
        ],
    }


def _least_and_most(values: Iterable[int]) -> list[int]:
    found = list(values)
    return [min(found), max(found)]


def write_probes(run: Path, out: Path) -> None:
    """R of every trial after each fifth of its training, from the run's curves."""
    found = {}
    for cell in sorted((run / "cells").glob("*/")):
        curves = [cell / "curves" / f"trial{number}.parquet" for number in range(N_TRIALS)]
        if (cell / "result.json").is_file():
            found[cell.name] = [_probes(path) for path in curves]
    write_atomically(out / "probes.json", json.dumps(found, indent=1) + "\n")


def _probes(path: Path) -> list[float]:
    if not path.is_file():  # a diverged trial has none
        return [0.0] * N_PROBES
    rows = pq.read_table(path).to_pylist()
    ratios = [row["capacity_ratio"] for row in rows if row["capacity_ratio"] is not None]
    # Where the fifths are no whole steps there is one more, at the end.
    assert N_PROBES <= len(ratios) <= N_PROBES + 1, f"{path}: {len(ratios)} probes"
    return [round(ratio, 5) for ratio in [*ratios[: N_PROBES - 1], ratios[-1]]]


def start(full: Path, out: Path) -> None:
    """Copy the cells that are not costly, which the other sweep would train again."""
    for path in sorted((full / "cells").glob("*/result.json")):
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
        if trial_flops(Cell.from_dict(json.loads(config))) <= COSTLY_FLOPS:
            shutil.copytree(path.parent, out / "cells" / path.parent.name)


def _show(found: Mapping[str, Any]) -> None:
    for name, way in found["ways"].items():
        one = way["costly_cells"]
        print(
            f"{name}: cost {way['cost']:.1%}; costly cells: median {one['median_percent']:.1f}%, "
            f"worst {one['worst_percent']:.1f}%, {one['within_3_percent']} of {one['cells']} "
            f"within 3%; all cells: median {way['all_cells']['median_percent']:.1f}%, "
            f"worst {way['all_cells']['worst_percent']:.1f}%"
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("start", "probes", "compare"))
    parser.add_argument("full", type=Path, help="the full study: a run, or its compact form")
    parser.add_argument("other", type=Path, nargs="?", help="the second run, or where to write")
    args = parser.parse_args()
    if args.verb == "start":
        start(args.full, args.other)
    elif args.verb == "probes":
        write_probes(args.full, args.other)
    else:
        found = compare(args.full, args.other)
        _show(found)
        write_atomically(args.full / "comparison.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
