"""The search of each cell as a study in an Optuna storage file, for `optuna-dashboard`.

Written from the ledger after the fact, and never read back. A journal and no data base: it is
written whole, at once, and lies on any file system.
"""

import datetime
import json
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.tuning import Range
from kcap_ray.execution.after_search import select
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.tracked import STUDIES

_SHOWN = ("stored_bits_se", "loss_name_nats", "loss_value_nats", "train_time_s", "device")
"""Columns of a trial that the dashboard shows beside its point and its value."""


def write_studies(cells: Iterable[Cell], run: RunDirectory) -> Path | None:
    """Write RUN/optuna.log, a study per cell that has trials, named by the cell's id: their points,
    and as value `capacity_ratio`, which is to be large. None where no cell has a trial.

    Trials beyond the edges of the ranges are in it, after those of the search; those with fresh
    seeds are not, which are no part of a search.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    journal = _journal()
    storage = optuna.storages.JournalStorage(journal)
    for cell in cells:
        trials = _trials(cell, run.cell(cell.cell_id))
        if trials:
            study = optuna.create_study(
                study_name=cell.cell_id, direction="maximize", storage=storage
            )
            with warnings.catch_warnings():
                # Names of metrics are said to be experimental.
                warnings.simplefilter("ignore")
                study.set_metric_names(["capacity_ratio"])
            study.add_trials(list(_frozen(cell, trials)))
    if not journal.logs:
        return None
    # In place of a random name of this process, so that the same ledger gives the same file.
    logs = [{**log, "worker_id": "kcap"} for log in journal.logs]
    lines = [json.dumps(log, separators=(",", ":")) + "\n" for log in logs]
    write_atomically(run.path / STUDIES, "".join(lines))
    return run.path / STUDIES


def _journal() -> Any:
    """A journal in memory: the file of Optuna's own locks and flushes for each of its lines."""
    from optuna.storages.journal import BaseJournalBackend

    class Journal(BaseJournalBackend):
        def __init__(self) -> None:
            self.logs: list[dict[str, Any]] = []

        def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
            return iter(self.logs[log_number_from:])

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            self.logs += logs

    return Journal()


def _trials(cell: Cell, directory: CellDirectory) -> list[TrialRecord]:
    """Those of the search, and those beyond the edges of its ranges."""
    selection = select(cell, directory)
    beyond = [] if selection is None else directory.part(selection.beyond.name).trials()
    return [*directory.trials(), *beyond]


def _frozen(cell: Cell, trials: Sequence[TrialRecord]) -> Iterator[Any]:
    from optuna.distributions import FloatDistribution
    from optuna.trial import TrialState, create_trial

    distributions = {}
    for name in ("lr", "weight_decay"):
        values = [float(getattr(trial, name)) for trial in trials]
        own = cell.tune.ranges.get(name) or Range(low=min(values), high=max(values), log=False)
        distributions[name] = FloatDistribution(
            min(own.low, *values), max(own.high, *values), log=own.log and min(values) > 0
        )
    for trial in trials:
        is_ok = trial.status == "ok"
        frozen = create_trial(
            state=TrialState.COMPLETE if is_ok else TrialState.FAIL,
            value=trial.capacity_ratio if is_ok else None,
            params={name: float(getattr(trial, name)) for name in distributions},
            distributions=distributions,
            user_attrs=_attributes(trial),
        )
        # When it was trained is not in the ledger; how long it took is.
        end = datetime.datetime(2000, 1, 1) + datetime.timedelta(seconds=trial.train_time_s or 0)
        frozen.datetime_start, frozen.datetime_complete = datetime.datetime(2000, 1, 1), end
        yield frozen


def _attributes(trial: TrialRecord) -> dict[str, Any]:
    values = {name: getattr(trial, name) for name in _SHOWN}
    if trial.status != "ok":
        values |= {"status": trial.status, "reason": trial.reason}
    return {name: value for name, value in values.items() if value is not None}
