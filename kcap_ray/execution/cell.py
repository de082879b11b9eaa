"""A cell from start to finished row, in this process: what `kcap run-cell` does, and what the
engine does with Ray around it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.after_search import (
    Selection,
    confirmations,
    keep_selected,
    next_steps,
    select,
    spread,
)
from kcap_ray.execution.ahead import ahead_of, take_in
from kcap_ray.execution.arithmetic import trained_precision
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.host_cpus import own_cpus
from kcap_ray.execution.search import CellStudy, WarmStart
from kcap_ray.execution.start import began_by_rule, neighbour_of, start_of, to_do
from kcap_ray.measure.bits import per_weight
from kcap_ray.planning.asked import asked_of
from kcap_ray.planning.neighbour import Before
from kcap_ray.planning.run_length import length_of, spec_of, trial_batch_size, trials_at_once
from kcap_ray.runs.columns import Asked, Measured, Provenance, Trained
from kcap_ray.runs.done import is_done
from kcap_ray.runs.failure import keep_error
from kcap_ray.runs.files import remove
from kcap_ray.runs.mean_record import mean_of
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.schema import section
from kcap_ray.text.stream.corpus import facts_of
from kcap_ray.training.point import Point

if TYPE_CHECKING:
    import torch


_TRAINED_BITS = 32.0  # of a weight as it is trained, kept and measured


class CellProgress:
    """What is left to do of a cell, after what its ledger already holds.

    Asks for the trials in batches; the finished ones are reported to the study again, so that a
    restarted cell asks for the same points. A round that is finished in part comes again, as a
    whole. Trials that are at other points than the study asks for, as another version's are, count
    as they are.
    """

    def __init__(
        self,
        cell: Cell,
        directory: CellDirectory,
        warm_start: WarmStart | None,
        *,
        has_neighbour: bool = False,
    ) -> None:
        self.cell, self.directory = cell, directory
        spec = spec_of(cell)
        self._n_at_once = trials_at_once(cell, spec)
        self._study = CellStudy(
            cell,
            n_steps=length_of(cell).steps,
            warm_start=warm_start,
            trial_batch_size=trial_batch_size(cell, spec),
            has_neighbour=has_neighbour,
            began_by_rule=began_by_rule(directory),
        )
        self._begun: tuple[int, list[Point]] | None = None
        recorded = directory.trials()
        while len(recorded) > self._study.n_asked and not self._study.is_exhausted:
            first, points = self.next_round()
            records = recorded[first : first + len(points)]
            if len(records) < len(points):
                self._begun = first, points
            else:
                self.tell(first, records)

    @property
    def is_finished(self) -> bool:
        """Whether every trial has been asked for, and is done."""
        return self._study.is_exhausted and self._begun is None

    def next_round(self) -> tuple[int, list[Point]]:
        """Number of the first trial, and the points, of the next round to run."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            return begun
        first = self._study.n_asked
        return first, self._study.ask(self._n_at_once)

    def tell(self, first_trial: int, records: Sequence[TrialRecord]) -> None:
        """Take the results of a round."""
        points = [Point(lr=record.lr, weight_decay=record.weight_decay) for record in records]
        self._study.tell(first_trial, [record.capacity_ratio for record in records], points)


def run_cells(
    cells: Sequence[Cell],
    neighbour: Mapping[str, Before | None],
    run_directory: RunDirectory,
    *,
    sweep: str,
    device: "torch.device",
    save_every_s: float = 300.0,
) -> None:
    """Run the cells that are not done, in order; one that fails is a row, and the others go on. An
    error of the machine ends the command: the same one goes on from there.

    Raises `UserError` before any of them runs if the data or the model of one cannot be made.
    """
    for cell in cells:
        facts_of(cell.data)
        spec_of(cell)
    for cell in to_do(cells, neighbour, run_directory):
        directory = run_directory.cell(cell.cell_id)
        before = neighbour_of(cell, neighbour)
        warm_start = start_of(cell, before, run_directory)
        if is_done(cell, directory.result()):
            continue
        run = CellRun(
            cell=cell,
            directory=directory,
            device=device,
            n_cpus=own_cpus(),
            save_every_s=save_every_s,
        )
        try:
            progress = CellProgress(cell, directory, warm_start, has_neighbour=before is not None)
            _run_on(run, progress, sweep=sweep)
        except UserError as error:
            fail_cell(cell, directory, sweep=sweep, reason=str(error))
        except OSError:
            raise  # of the machine: the others would fail as well
        except Exception as error:  # whatever the code of a model that is brought along raises
            fail_cell(cell, directory, sweep=sweep, reason=keep_error(error, directory))


def run_cell(run: CellRun, *, sweep: str, warm_start: WarmStart | None = None) -> ResultRow:
    """Tune, train and measure one cell, or what is left of it; write its row and return it."""
    progress = CellProgress(run.cell, run.directory, warm_start)
    return _run_on(run, progress, sweep=sweep)


def _run_on(run: CellRun, progress: CellProgress, *, sweep: str) -> ResultRow:
    from kcap_ray.execution.trial_batch import run_trial_batch

    while not progress.is_finished:
        first, points = progress.next_round()
        place = ahead_of(run.directory, first)
        if place.path.is_dir():
            # Another command ran these before earlier ones were done.
            run_trial_batch(replace(run, directory=place), points, first_trial=0)
            take_in(run.directory, first)
        progress.tell(first, run_trial_batch(run, points, first_trial=first))
    while steps := next_steps(run.cell, run.directory):
        for step in steps:
            place = run.directory.part(step.part.name)
            own = replace(run, cell=step.part.cell_of(run.cell), directory=place)
            remove(run.directory.progress_file)
            run_trial_batch(own, step.points, first_trial=step.first_trial)
            remove(place.progress_file)
    return finish_cell(run.cell, run.directory, sweep=sweep)


def finish_cell(cell: Cell, directory: CellDirectory, *, sweep: str) -> ResultRow:
    """Make the row of a cell whose trials are all in its ledger, and write it."""
    trials = directory.trials()
    selection = select(cell, directory)
    if selection is None:
        row = _row(cell, sweep, trials, trials[0])
    else:
        keep_selected(directory, selection)
        row = _selected_row(
            cell, sweep, trials, selection, confirmations(cell, directory, selection)
        )
    row = replace(row, precision=trained_precision(cell, directory))
    directory.finish(row)
    return row


def fail_cell(cell: Cell, directory: CellDirectory, *, sweep: str, reason: str) -> ResultRow:
    """Write the row of a cell that could not be run to its end."""
    row = replace(_row(cell, sweep, directory.trials(), None), reason=reason)
    directory.finish(row)
    return row


def _selected_row(
    cell: Cell,
    sweep: str,
    trials: Sequence[TrialRecord],
    selection: Selection,
    confirmed: Mapping[int, TrialRecord],
) -> ResultRow:
    """The row of a cell that has a best trial: of that, or where there are fresh seeds of the mean
    over those that finished.
    """
    finished = {seed: record for seed, record in confirmed.items() if record.status == "ok"}
    ratios = {
        seed: record.capacity_ratio
        for seed, record in finished.items()
        if record.capacity_ratio is not None
    }
    measured = selection.best
    if confirmed:
        measured = mean_of(list(finished.values())) if finished else next(iter(confirmed.values()))
    return replace(
        _row(cell, sweep, trials, measured),
        selected_capacity_ratio=selection.best.capacity_ratio,
        edge=selection.edge,
        n_widened=selection.n_widened,
        n_confirm_seeds=len(confirmed),
        n_confirm_seeds_ok=len(finished),
        capacity_ratio_sd=spread(list(ratios.values())),
        confirmed=json.dumps(ratios) if ratios else None,
    )


def _row(
    cell: Cell, sweep: str, trials: Sequence[TrialRecord], best: TrialRecord | None
) -> ResultRow:
    """The row of a cell with this trial as its best one; of a failed cell without one."""
    asked = asked_of(cell, sweep=sweep)
    row = ResultRow(
        status="failed",
        n_trials=len(trials),
        n_trials_ok=sum(trial.status == "ok" for trial in trials),
        bits_per_weight=_TRAINED_BITS,
        config=json.dumps(cell.to_dict(), sort_keys=True),
        **section(asked, Asked),
    )
    if best is None:
        return row
    best, bits = best.of_table(cell.data.label), best.bits
    return replace(
        row,
        status=best.status,
        reason=best.reason,
        lr=best.lr,
        weight_decay=best.weight_decay,
        stored_bits=bits,
        capacity_ratio=None if bits is None else bits / row.n_params,
        capacity_ratio_non_embedding=per_weight(bits, row.n_params_non_embedding),
        knowledge_per_stored_bit=None if bits is None else bits / (row.n_params * _TRAINED_BITS),
        **section(best, Trained),
        **section(best, Measured),
        **section(best, Provenance),
    )
