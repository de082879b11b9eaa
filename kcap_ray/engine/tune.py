"""Ray Tune runs the programs of a sweep: one Tune trial is one program, a round of a cell's trials.

The searcher hands out what the queue says, so Optuna's studies, the ledger and Tune see the same
trials. Workers are kept from one program to the next (`reuse_actors`), which makes a further
program cost a fraction of a second; but not where programs are spread over several devices: an idle
worker that is kept holds its device, for which the workers of Ray Train would wait for ever.
"""

import contextlib
import dataclasses
import logging
import os
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.search import Searcher

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError, one_line
from kcap_ray.engine.failures import FailureRecord, ProgramError, program_error
from kcap_ray.engine.nodes import RayNodes
from kcap_ray.engine.program import Program
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.storage import clear_storage, storage_of
from kcap_ray.engine.watching import watching
from kcap_ray.execution.after_search import Part
from kcap_ray.runs.files import remove, write_atomically
from kcap_ray.runs.following import PROGRESS_EVERY_S
from kcap_ray.runs.opening import RunPlace, UnsharedError
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.store import StoreError
from kcap_ray.runs.working_copy import copy_of
from kcap_ray.training.point import Point

RunProgram = Callable[[Program, RunDirectory], None]
"""Trains and measures a program and adds its records to the ledger."""


class QueueSearcher(Searcher):
    """Gives Tune the queue's programs."""

    def __init__(self, queue: SweepQueue, directory: RunDirectory) -> None:
        super().__init__(metric="is_done", mode="max")
        self._queue, self._directory = queue, directory
        self._programs: dict[str, Program] = {}
        self.refusal = ""
        """Why the sweep cannot go on: what a node said that does not see its directory."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing for Tune's snapshots, which are not read: the ledger holds it."""
        return {}

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
        """Tell the queue what became of a program; of a lost one `_Failures` tells it, which knows
        why.
        """
        if result is not None and result.get("refusal"):
            self.refusal = result["refusal"]
            # As Ctrl-C does: what is at work on other nodes is saved.
            os.kill(os.getpid(), signal.SIGINT)
        elif not error and result is not None:
            self.end(trial_id, result.get("failure") or None)

    def program(self, trial_id: str) -> Program:
        """The program that the trial runs."""
        return self._programs[trial_id]

    def end(self, trial_id: str, failure: str | None) -> None:
        """The trial's program is done, or failed for the reason given."""
        self._queue.finished(self._programs.pop(trial_id), failure)

    def follow(self, _: threading.Event) -> bool:
        """Look how far the programs have come whose directories are in a store."""
        found = copy_of(self._directory.path)
        if found is None:
            return True
        for program in list(self._programs.values()):
            place = program.place(self._directory).path.relative_to(found[0].path)
            with contextlib.suppress(OSError):
                found[0].fetch_file(f"{place.as_posix()}/progress.json")
        return False

    def give_back(self, trial_id: str) -> None:
        """The trial's program runs once more, in another trial."""
        self._queue.give_back(self._programs.pop(trial_id))

    def write_error(self, trial_id: str, error: str) -> None:
        """Write down what brought the trial's program down, if it did not do so itself."""
        cell_id = self._programs[trial_id].cell.cell_id
        file = self._directory.cell(cell_id).error_file
        if not file.exists():
            write_atomically(file, f"{error}\n")

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the ledger holds it."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: the ledger holds it."""


class _Failures(tune.Callback):
    """Decides what becomes of trials that failed or whose worker was lost; Tune tries none again
    by itself, but those of nodes that were taken away with notice.
    """

    def __init__(self, searcher: QueueSearcher, record: FailureRecord) -> None:
        self._searcher, self._record = searcher, record

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial starts again."""
        program, error = self._searcher.program(trial.trial_id), _last_error(trial)
        self._record.add(program.name, error)
        self._record.warn(program.name, program.cell.cell_id, error)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """The trial's program runs once more; or it is given up, until the command is given again,
        and its error is written down.
        """
        program, error = self._searcher.program(trial.trial_id), _last_error(trial)
        self._record.add(program.name, error)
        if not self._record.is_given_up(program.name):
            self._record.warn(program.name, program.cell.cell_id, error)
            self._searcher.give_back(trial.trial_id)
            return
        cause, n_failures = self._record.cause(error), self._record.n_own(program.name)
        self._searcher.write_error(trial.trial_id, error or cause)
        times = "" if n_failures <= 1 else f"failed {n_failures} times: "
        self._searcher.end(trial.trial_id, times + cause)


def _last_error(trial: Any) -> str:
    try:
        text = Path(trial.error_file).read_text(encoding="utf-8")
    except (OSError, TypeError):
        return ""
    return text.rpartition("Failure # ")[2].partition("\n")[2]


def _packed(program: Program) -> dict[str, Any]:
    # Inside a list, so that Tune does not take the cell's settings for a search space of its own.
    points = [[point.lr, point.weight_decay] for point in program.points]
    part = None if program.part is None else dataclasses.asdict(program.part)
    cell = program.cell.with_absolute_paths().to_dict()
    rest = [program.is_ahead, program.workers]
    return {"packed": [cell, program.first_trial, points, part, *rest]}


def _unpacked(config: dict[str, Any]) -> Program:
    cell, first_trial, points, part, is_ahead, workers = config["program"]["packed"]
    return Program(
        cell=Cell.from_dict(cell),
        first_trial=first_trial,
        points=[Point(lr=lr, weight_decay=decay) for lr, decay in points],
        part=None if part is None else Part(**part),
        is_ahead=is_ahead,
        workers=workers,
    )


class ProgramTrainable(tune.Trainable):
    """A worker that runs one program after another."""

    def setup(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, config: dict[str, Any], place: RunPlace, run: RunProgram
    ) -> None:
        """Called once per worker; `place` and `run` come from `tune.with_parameters`."""
        self._program, self._place, self._run = _unpacked(config), place, run

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take over another program in the same process."""
        self._program = _unpacked(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any]:
        """Nothing for Tune to keep: a program keeps its own checkpoint in the ledger."""
        return {}

    def load_checkpoint(self, checkpoint: dict[str, Any] | None) -> None:
        """A program that lost its machine goes on from its own checkpoint."""

    def step(self) -> dict[str, Any]:
        """Run the program to its end. A user's mistake is a result, and a node that does not see
        the run directory too; any other error ends this process.
        """
        failure = refusal = ""
        program, there = self._program, RunDirectory(self._place.path)
        place = program.place(there).path.relative_to(there.path).as_posix()
        try:
            with self._place.opened(place) as directory:
                failure = self._failure(directory)
        except UnsharedError as error:
            refusal = str(error)
        except StoreError as error:
            raise ProgramError(one_line(error)) from None
        return {"is_done": 1, "failure": failure, "refusal": refusal, "done": True}

    def _failure(self, directory: RunDirectory) -> str:
        cell = self._place.moved_here(self._program.cell, directory)
        program, own = dataclasses.replace(self._program, cell=cell), directory.cell(cell.cell_id)
        try:
            self._run(program, directory)
        except UnsharedError:
            raise
        except UserError as error:
            # What the machine may have done before is not what ends this program.
            remove(own.error_file)
            return str(error)
        except Exception as error:
            raise program_error(error, own) from None
        return ""


def run_queue(
    queue: SweepQueue,
    directory: RunDirectory,
    run: RunProgram,
    *,
    resources: Callable[[Program], Mapping[str, float]],
    logs: Path | None = None,
) -> None:
    """Run all programs of the queue, as many at a time as fit on the cluster.

    `resources`: what a program of the cell takes of it. `logs`: directory of the session's logs, if
    that is one of this machine alone.
    """
    record = FailureRecord(logs, RayNodes() if logs is None else None)
    searcher = QueueSearcher(queue, directory)
    # What an earlier driver left is not read: the ledger is what a run goes on from.
    clear_storage(directory)
    trainable = tune.with_resources(
        tune.with_parameters(ProgramTrainable, place=RunPlace.of(directory), run=run),
        lambda config: tune.PlacementGroupFactory([dict(resources(_unpacked(config)))]),
    )
    tuner = tune.Tuner(
        trainable,
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=not queue.spreads,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            storage_path=str(storage_of(directory)),
            name="tune",
            verbose=0,
            callbacks=[_Failures(searcher, record)],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    # What there is to say of a trial that failed is in its cell's row.
    logging.getLogger("ray.tune.tune").setLevel(logging.CRITICAL)
    with watching(searcher.follow, every_s=PROGRESS_EVERY_S):
        try:
            tuner.fit()
        except KeyboardInterrupt:
            if searcher.refusal:
                raise UnsharedError(searcher.refusal) from None
            raise
    clear_storage(directory)
