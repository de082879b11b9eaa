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

Decided before more than two of the miniature's 28 cells were seen, both of which had stored the
whole demand: its cells and ranges; the form of the rule and what it expects beforehand
(`kcap_ray/execution/transfer_rule.py`); that a cell is costly above 2e10 operations a trial, which
makes 14 cells costly; that the loss is 1 - R / R of the full study, in percent, and that it is
judged over the costly cells, since the others have the full study and lose nothing. A loss has its
sign: where R is higher than the full study's, it is a gain, and within the goal.

Other ways of spending less are judged by the same trials. Cost is in operations, and a share of the
full study's. Successive halving stands for ASHA: six points are trained in part, of which the best
by R so far go on. Its points are those of the full study, which TPE has chosen with results that
halving would not have had. It is left out where trials were not measured on the way.

Another pair of runs trains for longer, and the best point of each cell again on two fresh seeds, in
either run on the same ones. The loss on these is free of luck in choosing, and nothing where both
runs chose the same point:

    kcap sweep sweeps/tuning_longer.yaml --out runs/tuning_longer
    python benchmarks/tuning.py start runs/tuning_longer runs/tuning_longer_rule --costly-flops 6e10
    kcap sweep sweeps/tuning_longer.yaml --out runs/tuning_longer_rule \
        --set tune.costly_flops=6e10 --set tune.costly_trials=2
    python benchmarks/tuning.py compare docs/results/tuning_longer docs/results/tuning_longer_rule \
        --costly-flops 6e10

Decided before any of its cells at 450 exposures was seen: all of it, and 6e10, which makes 14 of
its 28 cells costly.
"""

import argparse
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from tuning_ways import N_PROBES, N_TRIALS, WAYS, Studied, judge, judge_fresh

from kcap_ray.config.cell import Cell
from kcap_ray.planning.costly import trial_flops
from kcap_ray.planning.run_length import spec_of
from kcap_ray.runs.environment import describe
from kcap_ray.runs.files import write_atomically

COSTLY_FLOPS = 2e10


def read(full: Path, rule: Path | None, costly_flops: float) -> list[Studied]:
    """The cells that are done in both sweeps, from their compact form."""
    file = full / "probes.json"
    probes = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    others = {} if rule is None else _ratios(rule)
    own, fresh = _ratios(full), _fresh(full, rule)
    rows = pq.read_table(full / "results.parquet").to_pylist()
    found = []
    for row in rows:
        cell, name = Cell.from_dict(json.loads(row["config"])), row["cell_id"]
        flops = trial_flops(cell)
        is_costly = flops > costly_flops
        is_missing = rule is not None and is_costly and not others.get(name)
        if len(own[name]) < N_TRIALS or is_missing:
            continue
        found.append(
            Studied(
                cell=cell,
                flops=flops,
                max_ratio=row["max_capacity_ratio"],
                ratios=own[name][:N_TRIALS],
                is_costly=is_costly,
                probes=probes.get(name, ()),
                by_rule=others[name][0] if is_costly and others else None,
                fresh=fresh.get(name),
            )
        )
    return found


def _ratios(directory: Path) -> dict[str, list[float]]:
    found: dict[str, dict[int, float]] = {}
    for row in pq.read_table(directory / "trials.parquet").to_pylist():
        if row.get("part"):  # on fresh seeds, after the search
            continue
        ratio = row["capacity_ratio"]
        found.setdefault(row["cell_id"], {})[row["trial"]] = 0.0 if ratio is None else ratio
    return {name: [trials[n] for n in sorted(trials)] for name, trials in found.items()}


def _fresh(full: Path, rule: Path | None) -> dict[str, tuple[float, float]]:
    """R on fresh seeds of the cells that have them in both runs."""
    ours, theirs = (
        {
            row["cell_id"]: row["capacity_ratio"]
            for row in pq.read_table(run / "results.parquet").to_pylist()
            if row.get("n_confirm_seeds_ok")
        }
        if run is not None
        else {}
        for run in (full, rule)
    )
    return {name: (ratio, theirs[name]) for name, ratio in ours.items() if name in theirs}


def compare(full: Path, rule: Path | None, costly_flops: float) -> dict[str, Any]:
    """All ways, and what the full study found."""
    cells = read(full, rule, costly_flops)
    ways = {
        name: judge(cells, way)
        for name, way in WAYS.items()
        if (rule is not None or not name.startswith("rule"))
        and (all(one.probes for one in cells) or not name.startswith("successive"))
    }
    option = "" if costly_flops == COSTLY_FLOPS else f" --costly-flops {costly_flops:g}"
    has_fresh = any(one.fresh for one in cells)
    return {
        **describe(),
        "command": f"python benchmarks/tuning.py compare {full} {rule or ''}".strip() + option,
        "costly_flops": costly_flops,
        "n_cells": len(cells),
        "params": _least_and_most(spec_of(one.cell).n_params for one in cells),
        "people": _least_and_most(one.cell.data.n_people for one in cells),
        "n_costly": sum(one.is_costly for one in cells),
        "n_saturated_costly": sum(
            one.full > 0.98 * one.max_ratio for one in cells if one.is_costly
        ),
        "ways": ways,
        **({"fresh_seeds": judge_fresh(cells)} if has_fresh else {}),
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


def start(full: Path, out: Path, costly_flops: float) -> None:
    """Copy the cells that are not costly, which the other sweep would train again."""
    for path in sorted((full / "cells").glob("*/result.json")):
        config = json.loads(path.read_text(encoding="utf-8"))["config"]
        if trial_flops(Cell.from_dict(json.loads(config))) <= costly_flops:
            shutil.copytree(path.parent, out / "cells" / path.parent.name)


def _show(found: Mapping[str, Any]) -> None:
    for name, way in found["ways"].items():
        one = way["costly_cells"]
        print(
            f"{name}: cost {way['cost']:.1%}; costly cells: median {one['median_percent']:.1f}%, "
            f"worst {one['worst_percent']:.1f}%, gain at most {one['largest_gain_percent']:.1f}%, "
            f"{one['within_3_percent']} of {one['cells']} within 3%; "
            f"all cells: median {way['all_cells']['median_percent']:.1f}%, "
            f"worst {way['all_cells']['worst_percent']:.1f}%"
        )
    if "fresh_seeds" in found:
        one = found["fresh_seeds"]["costly_cells"]
        print(
            f"on fresh seeds: costly cells: median {one['median_percent']:.1f}%, "
            f"worst {one['worst_percent']:.1f}%, {one['within_3_percent']} of {one['cells']} "
            f"within 3%; gain at most {one['largest_gain_percent']:.1f}%, "
            f"{one['differ_by_at_most_3_percent']} differ by at most 3%"
        )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("start", "probes", "compare"))
    parser.add_argument("full", type=Path, help="the full study: a run, or its compact form")
    parser.add_argument("other", type=Path, nargs="?", help="the second run, or where to write")
    parser.add_argument("--costly-flops", type=float, default=COSTLY_FLOPS)
    args = parser.parse_args()
    if args.verb == "start":
        start(args.full, args.other, args.costly_flops)
    elif args.verb == "probes":
        write_probes(args.full, args.other)
    else:
        found = compare(args.full, args.other, args.costly_flops)
        _show(found)
        write_atomically(args.full / "comparison.json", json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
