"""Plain Ray Tune, the peer of P7: a function trainable, Tune's own settings, a process per trial.

It trains the same cell at the same points with the same loop on the same windows, made in the
trial's process, on one CPU and one thread each. It measures nothing and keeps nothing.
"""

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def trial(config: dict[str, Any]) -> dict[str, Any]:
    """Train at one point; when the trial ended, and its loss curve's first and last point."""
    import torch

    from kcap_ray.config.cell import Cell
    from kcap_ray.planning.run_length import length_of, spec_of
    from kcap_ray.text.stream.batches import in_process_batches, stream_of
    from kcap_ray.training.loop import train
    from kcap_ray.training.point import Point
    from kcap_ray.training.step import TrainStep

    torch.set_num_threads(1)
    cell = Cell.from_dict(json.loads(config["cell"]))
    n_steps = length_of(cell).steps
    result = train(
        TrainStep(
            cell,
            spec_of(cell),
            [Point(lr=config["lr"], weight_decay=cell.train.weight_decay)],
            n_steps=n_steps,
            device=torch.device("cpu"),
        ),
        in_process_batches(stream_of(cell), cell.train, n_steps=n_steps),
    )
    first, last = result.history[0], result.history[-1]
    return {
        "loss": last.losses[0],
        "steps": [first.step, last.step],
        "seconds": [first.seconds, last.seconds],
        "train_time_s": result.train_time_s,
        "ended": time.time(),
    }


def main() -> None:
    """Run the trials of the job file that is the first argument, `{"cell": {...}, "lrs": [...],
    "at_once": n}`, and write what they report to the second.
    """
    from ray import tune

    job_file, result_file = map(Path, sys.argv[1:])
    job = json.loads(job_file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as storage:
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            # As text, so that Tune does not look for a search space in the cell.
            param_space={"lr": tune.grid_search(job["lrs"]), "cell": json.dumps(job["cell"])},
            tune_config=tune.TuneConfig(max_concurrent_trials=job["at_once"]),
            run_config=tune.RunConfig(storage_path=storage),
        ).fit()
    keys = ("loss", "steps", "seconds", "train_time_s", "ended")
    found = [{key: (result.metrics or {})[key] for key in keys} for result in results]
    result_file.write_text(json.dumps(found), encoding="utf-8")
