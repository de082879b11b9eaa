"""Ray Tune runs the programs of a sweep: one Tune trial is one program of fused trials.

The searcher hands out what the queue says, so Optuna's studies, the ledger and Tune see the same trials. Workers are kept from one
program to the next (`reuse_actors`), which makes a further program cost a fraction of a second.
"""

from collections.abc import Callable
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from kcap_ray.cell import Cell
from kcap_ray.engine.queue import Program, SweepQueue
from kcap_ray.results import RunDirectory
from kcap_ray.training.point import Point

MAX_LOST_MACHINES = 100
"""Times that a program may lose its machine. Its own errors are caught in the worker and are not tried again."""

RunProgram = Callable[[Program, RunDirectory], None]
"""Trains and measures a program and adds its records to the ledger."""


class QueueSearcher(Searcher):
    """Gives Tune the queue's programs."""

    def __init__(self, queue: SweepQueue) -> None:
        super().__init__(metric="is_done", mode="max")
        self._queue = queue
        self._programs: dict[str, Program] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next program as a Tune configuration; None while there is nothing to start."""
        program = self._queue.next_program()
        if program is None:
            return Searcher.FINISHED if self._queue.is_empty else None
        self._programs[trial_id] = program
        return {"program": _packed(program)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the queue what became of a program."""
        lost = "its worker was lost too often; see `ray status` and the log of the cluster"
        failure = lost if error or result is None else result.get("failure") or None
        self._queue.finished(self._programs.pop(trial_id), failure)

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the ledger holds it."""


def _packed(program: Program) -> dict[str, Any]:
    # Inside a list, so that Tune does not take the cell's settings for a search space of its own.
    points = [[point.lr, point.weight_decay] for point in program.points]
    return {"packed": [program.cell.to_dict(), program.first_trial, points]}


def _unpacked(config: dict[str, Any]) -> Program:
    cell, first_trial, points = config["program"]["packed"]
    return Program(
        cell=Cell.from_dict(cell),
        first_trial=first_trial,
        points=[Point(lr=lr, weight_decay=decay) for lr, decay in points],
    )


class ProgramTrainable(tune.Trainable):
    """A worker that runs one program after another."""

    def setup(self, config: dict[str, Any], directory: RunDirectory, run: RunProgram) -> None:
        """Called once per worker; `directory` and `run` come from `tune.with_parameters`."""
        self._program, self._directory, self._run = _unpacked(config), directory, run

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another program in the same process."""
        self._program = _unpacked(new_config)
        return True

    def step(self) -> dict[str, Any]:
        """Run the program to its end; an error of its own is a result, not a lost machine."""
        try:
            self._run(self._program, self._directory)
        except Exception as error:
            reason = str(error).strip() or type(error).__name__
            return {"is_done": 1, "failure": reason, "done": True}
        return {"is_done": 1, "failure": "", "done": True}


def run_queue(
    queue: SweepQueue,
    directory: RunDirectory,
    run: RunProgram,
    *,
    resources: dict[str, float],
    max_concurrent: int | None = None,
) -> None:
    """Run all programs of the queue, as many at a time as the cluster has room for."""
    trainable = tune.with_resources(
        tune.with_parameters(ProgramTrainable, directory=directory, run=run), resources
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=QueueSearcher(queue),
            num_samples=-1,
            max_concurrent_trials=max_concurrent,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=str((directory.path / "ray").resolve()),
            name="tune",
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=MAX_LOST_MACHINES),
        ),
    )
    tuner.fit()
