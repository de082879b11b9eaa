"""A cell from start to finished row, in this process: what `kcap run-cell` does, and what the
engine does with Ray around it.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.search import CellStudy, Hint
from kcap_ray.planning.run_length import length_of, round_trials, spec_of
from kcap_ray.runs.results import CellDirectory, ResultRow, RunDirectory, Status, best_trial
from kcap_ray.text.stream.corpus import facts_of
from kcap_ray.training.point import Point

if TYPE_CHECKING:
    import torch


# Columns of a row that are those of the cell's best trial.
_OF_THE_BEST_TRIAL = (
    "lr",
    "weight_decay",
    "exposures_seen",
    "loss_name_nats",
    "loss_value_nats",
    "loss_value1_nats",
    "name_bits",
    "value_bits",
    "diversity_bits",
    "groups",
    "capacity_ratio",
    "train_time_s",
    "n_trials_fused",
    "tokens_per_s",
)
_MADE_BY = ("device", "git_commit", "kcap_version", "torch_version")

_TRAINED_BITS = 32.0  # of a weight as it is trained, kept and measured


class CellProgress:
    """What is left to do of a cell, after what its ledger already holds.

    Asks for the trials in rounds of fixed size; the finished ones are told to the study again, so
    that a restarted cell asks for the same points. A round that is finished in part comes again, as
    a whole. Raises `UserError` if the ledger's trials were
    at other points, which they are when a neighbour has another result now, or with other versions
    of the search.
    """

    def __init__(self, cell: Cell, directory: CellDirectory, hint: Hint | None) -> None:
        self.cell, self.directory = cell, directory
        self._n_at_once = round_trials(cell, spec_of(cell))
        self._study = CellStudy(cell, n_steps=length_of(cell).steps, hint=hint)
        self._begun: tuple[int, list[Point]] | None = None
        recorded = directory.trials()
        while len(recorded) > self._study.n_asked:
            first, points = self.next_round()
            records = recorded[first : first + len(points)]
            if [(r["lr"], r["weight_decay"]) for r in records] != [
                (point.lr, point.weight_decay) for point in points[: len(records)]
            ]:
                raise UserError(
                    f"{directory.trials_file}: its trials were at other points than this cell "
                    "asks for now; delete the file to train the cell again"
                )
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

    def tell(self, first_trial: int, records: list[dict[str, Any]]) -> None:
        """Take the results of a round."""
        self._study.tell(first_trial, [record["capacity_ratio"] for record in records])


def run_cells(
    cells: Sequence[Cell],
    neighbour: Mapping[str, str | None],
    run_directory: RunDirectory,
    *,
    sweep: str,
    device: "torch.device",
) -> None:
    """Run the cells that are not done, in order; one that fails is a row, and the others go on.

    Raises `UserError` before any of them runs if the data of one cannot be made.
    """
    for cell in cells:
        facts_of(cell.data)
    for cell in cells:
        directory = run_directory.cell(cell.cell_id)
        if directory.result() is not None:
            continue
        before = neighbour.get(cell.cell_id) if cell.tune.follows_neighbour else None
        hint = hint_of(run_directory.cell(before).result()) if before else None
        run = CellRun(cell=cell, directory=directory, device=device, n_cpus=_own_cpus())
        try:
            run_cell(run, sweep=sweep, hint=hint)
        except UserError as error:
            fail_cell(cell, directory, sweep=sweep, reason=str(error))


def run_cell(run: CellRun, *, sweep: str, hint: Hint | None = None) -> ResultRow:
    """Tune, train and measure one cell, or what is left of it; write its row and return it."""
    from kcap_ray.execution.round import run_round

    progress = CellProgress(run.cell, run.directory, hint)
    while not progress.is_finished:
        first, points = progress.next_round()
        progress.tell(first, run_round(run, points, first_trial=first))
    return finish_cell(run.cell, run.directory, sweep=sweep)


def _own_cpus() -> int:
    """CPUs that this process may run on; not more than `OMP_NUM_THREADS`, if that is set."""
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(own, int(wish)) if wish.isdigit() and int(wish) else own


def finish_cell(cell: Cell, directory: CellDirectory, *, sweep: str) -> ResultRow:
    """Make the row of a cell whose trials are all in its ledger, and write it."""
    trials = directory.trials()
    best = best_trial(trials)
    if best is not None:
        row = _row(cell, sweep, "ok", "", trials, best)
    else:
        row = _row(cell, sweep, trials[0]["status"], trials[0]["reason"], trials, trials[0])
    directory.finish(row)
    return row


def fail_cell(cell: Cell, directory: CellDirectory, *, sweep: str, reason: str) -> ResultRow:
    """Write the row of a cell that could not be run to its end."""
    try:
        trials = directory.trials()
    except UserError:  # then the reason says that they cannot be read
        trials = []
    row = _row(cell, sweep, "failed", reason, trials, {})
    directory.finish(row)
    return row


def hint_of(row: dict[str, Any] | None) -> Hint | None:
    """What a finished neighbour tells a cell; None if it has no result."""
    if row is None or row["status"] != "ok":
        return None
    point = Point(lr=row["lr"], weight_decay=row["weight_decay"])
    return Hint(point=point, n_steps=row["steps"])


def _row(
    cell: Cell,
    sweep: str,
    status: Status,
    reason: str,
    trials: list[dict[str, Any]],
    best: dict[str, Any],
) -> ResultRow:
    facts = facts_of(cell.data)
    demand_bits = facts.demand_bits
    spec, length = spec_of(cell), length_of(cell)
    stored = best.get("bits")
    return ResultRow(
        sweep=sweep,
        cell_id=cell.cell_id,
        status=status,
        reason=reason,
        dataset=cell.data.label,
        n_people=cell.data.n_people,
        exposures=cell.train.exposures,
        arch=spec.arch,
        model=cell.model.name,
        n_layer=spec.n_layer,
        n_head=spec.n_head,
        d_model=spec.d_model,
        vocab=cell.data.vocab,
        vocab_size=spec.vocab_size,
        n_params=spec.n_params,
        n_params_non_embedding=spec.n_params_non_embedding,
        n_params_embedding=spec.n_params_embedding,
        n_params_active=spec.n_params_active,
        batch_windows=cell.train.batch_windows,
        window_tokens=cell.train.window_tokens,
        precision=cell.train.precision,
        optimizer=cell.train.optimizer,
        workers=cell.train.workers,
        seed=cell.seed,
        data_seed=cell.data.seed,
        n_trials=len(trials),
        n_trials_ok=sum(trial["status"] == "ok" for trial in trials),
        steps=length.steps,
        tokens=length.tokens,
        demand_bits=demand_bits,
        demand_is_estimate=facts.demand_is_estimate,
        stored_bits=stored,
        capacity_ratio_non_embedding=(
            None if stored is None else stored / spec.n_params_non_embedding
        ),
        max_capacity_ratio=demand_bits / spec.n_params,
        quantization="none",
        quantization_config=None,
        bits_per_weight=_TRAINED_BITS,
        knowledge_per_stored_bit=(
            None if stored is None else stored / (spec.n_params * _TRAINED_BITS)
        ),
        quantize_time_s=None,
        config=json.dumps(cell.to_dict(), sort_keys=True),
        **{name: best.get(name) for name in _OF_THE_BEST_TRIAL},
        **{name: best.get(name, "") for name in _MADE_BY},
    )
