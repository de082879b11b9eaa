"""P9, step times: the time of a step on a device, and how well `kcap plan` predicts it.

Times training steps of a few dozen shapes, fits the seconds per unit of each kind of work, and
holds the prediction for each shape, by a fit to all the others, against what was measured. With
`--device-file` writes what `kcap plan --device` reads; `--from` fits again what was measured
before, where there was no scipy. On a CPU all cores work at the same time, as in a sweep, and a few
shapes are timed compiled too. Needs no Ray.

Peer: the measured time
Goal: within 20% (root mean square of relative errors)
Needs: 5 minutes; scipy for the fit

    python benchmarks/throughput.py --device-file mine.yaml
    kcap plan SWEEP --device ./mine.yaml
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_fit import device_from, fit, left_out_ratios, root_mean_square, write_device
from record import arguments, claim, write
from step_shapes import cpu_shapes, gpu_shapes
from step_times import Shape, run_waves

from kcap_ray.runs.environment import describe

Record = dict[str, Any]

GOAL = 0.2
GPU_PROCESSES = 8
"""Processes that compile concurrently for one GPU."""

CPU_START_S = 0.3
"""Median time that a program of a sweep on a 2-core machine takes until its first step: the first
windows come through Ray Data.
"""


COMPILED = (1, 3, 7, 12, 14)
"""Places among `cpu_shapes` of those that are timed compiled too; each takes 20 s."""


def measured_on_cpu(*, seconds: float, rounds: int, is_dry_run: bool) -> list[Record]:
    """All shapes, `rounds` times over, in the last of them some compiled too; each on all cores at
    once.
    """
    shapes = cpu_shapes()
    last: list[Shape] = []
    for index, shape in enumerate(shapes):
        # One right after the other: a machine's pace changes over minutes.
        last += [shape, dataclasses.replace(shape, compile="on")] if index in COMPILED else [shape]
    every = shapes[::3] if is_dry_run else [*shapes * (rounds - 1), *last]
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    waves = [[shape] * (n_cores or 1) for shape in every]
    return run_waves(waves, "cpu", seconds, takes_turns=False)


def measured_on_gpu(*, seconds: float) -> list[Record]:
    """All shapes, some at a time."""
    n = max(1, min(GPU_PROCESSES, (os.cpu_count() or 1) // 2))
    shapes = gpu_shapes()
    padded = [*shapes, *[None] * (-len(shapes) % n)]
    waves = [padded[first : first + n] for first in range(0, len(padded), n)]
    return run_waves(waves, "cuda", seconds, takes_turns=True)


def compiled_ratio(records: Sequence[Record]) -> float | None:
    """Median of compiled over uncompiled time, of the shapes that were timed in both ways; 1 where
    compiling loses, since a run then does without.
    """
    names = [field.name for field in dataclasses.fields(Shape) if field.name != "compile"]
    times: dict[tuple[Any, ...], dict[str, float]] = {}
    for record in records:
        key = tuple(record[name] for name in names)
        times.setdefault(key, {})[record["compile"]] = record["step_s"]
    ratios = [min(1.0, both["on"] / both["auto"]) for both in times.values() if len(both) == 2]
    return statistics.median(ratios) if ratios else None


def claim_of(records: Sequence[Record], *, is_gpu: bool) -> Record:
    """How far the prediction for a shape is off that was not in the fit."""
    ratios = left_out_ratios(records)
    errors = [abs(ratio - 1) for ratio in ratios]
    return claim(
        "P9-step-times",
        ours=root_mean_square(errors),
        peer=GOAL,
        unit="root mean square relative error of a predicted step time",
        goal=GOAL,
        goal_is="at most",
        what=f"{len(records)} shapes, each predicted from the others",
        peer_is="the error that a plan may have",
        device="one GPU" if is_gpu else "a process on each core",
        median_error=statistics.median(errors),
        largest_error=max(errors),
        seconds=fit(records),
        left_out_ratios=ratios,
    )


def described(*, is_gpu: bool) -> Record:
    """The machine and the versions, as a device file has them."""
    made_by = describe()
    if is_gpu:
        import torch

        made_by["machine"]["gpu"] = {"name": torch.cuda.get_device_name()}
    return made_by


def measured(chosen: argparse.Namespace, *, is_gpu: bool) -> Record:
    """Times of all shapes, and where they are from."""
    seconds = 0.05 if chosen.dry_run else chosen.seconds
    if is_gpu:
        records = measured_on_gpu(seconds=seconds)
    else:
        records = measured_on_cpu(seconds=seconds, rounds=chosen.rounds, is_dry_run=chosen.dry_run)
    return {"is_gpu": is_gpu, "measured": records, **described(is_gpu=is_gpu)}


def with_gpu() -> bool:
    """Whether there is one that is to be measured."""
    import torch

    return torch.cuda.is_available()


def has_scipy() -> bool:
    """Whether the fit can be made here."""
    return importlib.util.find_spec("scipy") is not None


def write_fitted(found: Record, chosen: argparse.Namespace) -> None:
    """Fit what was measured; write the claim, and the device if asked for."""
    is_gpu = found["is_gpu"]
    usable = [record for record in found["measured"] if "problem" not in record]
    plain = [record for record in usable if record["compile"] == "auto"]
    claims = {**claim_of(plain, is_gpu=is_gpu), **found}
    if chosen.earlier is None:
        write(__file__, [claims], chosen.json, on_gpu=is_gpu, is_dry_run=chosen.dry_run)
    elif chosen.json is not None:
        # The machine and the date stay those of the measurement.
        chosen.json.write_text(json.dumps([claims], indent=1) + "\n", encoding="utf-8")
    if chosen.device_file is None:
        return
    start_s = statistics.median(r["prepare_s"] for r in plain) if is_gpu else CPU_START_S
    device = device_from(
        plain,
        name=chosen.name or chosen.device_file.stem,
        is_gpu=is_gpu,
        start_s=start_s,
        compiled_ratio=None if is_gpu else compiled_ratio(usable),
        made_by=found,
    )
    write_device(device, chosen.device_file)
    print(f"{chosen.device_file}: {device.source}; error {device.error:.1%}", flush=True)


def main() -> None:
    """Measure, or take what was measured; fit, write."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--device-file", type=Path, help="file for `kcap plan --device`")
    parser.add_argument("--name", help="name of the device; that of the file if not given")
    parser.add_argument(
        "--from", dest="earlier", type=Path, metavar="F", help="results to fit again"
    )
    parser.add_argument("--seconds", type=float, default=1.5, help="for a shape in a round")
    parser.add_argument("--rounds", type=int, default=2, help="on a CPU")
    chosen = parser.parse_args()
    if chosen.earlier is None:
        found = measured(chosen, is_gpu=with_gpu())
    else:
        (found,) = json.loads(chosen.earlier.read_text(encoding="utf-8"))
    for record in found["measured"]:
        if "problem" in record:
            print(f"left out: {record['model']}: {record['problem']}", flush=True)
    if has_scipy():
        write_fitted(found, chosen)
    else:
        print("scipy is missing: fit the results elsewhere, by --from", flush=True)
        raw = {"claim": "step times", **found}
        write(__file__, [raw], chosen.json, on_gpu=found["is_gpu"], is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()
