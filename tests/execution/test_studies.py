import dataclasses
from pathlib import Path

import optuna
import pytest
import torch
from optuna.storages.journal import JournalFileBackend

from kcap_ray.config.tuning import Range, TuneConfig
from kcap_ray.execution.cell import run_cells
from kcap_ray.execution.studies import write_studies
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

TUNED = TuneConfig(trials=3, lr=Range(low=1e-3, high=1e-2), widen=2, confirm_seeds=2)
CELLS = [
    tiny_cell(exposures=3, lr=9e-3, tune=TUNED),
    tiny_cell(exposures=2),
    tiny_cell(exposures=4),
]


@pytest.fixture(scope="module", name="run")
def run_fixture(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A cell whose best lies beyond its range and is trained again, one with a single trial, and
    one that has not begun.
    """
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.prepare()
    run_cells(CELLS[:2], {}, run, sweep="tiny", device=torch.device("cpu"))
    return run


def studies_of(path: Path) -> dict[str, optuna.Study]:
    """As the dashboard reads them."""
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    names = optuna.get_all_study_names(storage)
    return {name: optuna.load_study(study_name=name, storage=storage) for name in names}


def test_optuna_finds_the_point_and_the_value_of_the_table(run: RunDirectory) -> None:
    """Of each cell that has begun; written again it is the same file."""
    path = write_studies(CELLS, run)
    assert path is not None
    content = path.read_bytes()
    studies = studies_of(path)
    assert list(studies) == [cell.cell_id for cell in CELLS[:2]]
    for cell in CELLS[:2]:
        study, row = studies[cell.cell_id], run.cell(cell.cell_id).result()
        assert row is not None
        assert study.metric_names == ["capacity_ratio"]
        assert study.best_value == row.selected_capacity_ratio
        assert study.best_params == {"lr": row.lr, "weight_decay": row.weight_decay}
        assert len(study.trials) == row.n_trials + row.n_widened
    assert studies[CELLS[0].cell_id].best_trial.number >= TUNED.trials
    write_studies(CELLS, run)
    assert path.read_bytes() == content


def test_a_trial_without_a_result_is_shown_as_failed(tmp_path: Path) -> None:
    """With its reason; and a run without trials has no file."""
    run = RunDirectory(tmp_path)
    run.prepare()
    cell = tiny_cell(exposures=2, lr=1e30)
    assert write_studies([cell], run) is None
    run_cells([cell], {}, run, sweep="tiny", device=torch.device("cpu"))
    path = write_studies([dataclasses.replace(cell)], run)
    assert path is not None
    (study,) = studies_of(path).values()
    (trial,) = study.trials
    assert trial.state is optuna.trial.TrialState.FAIL
    assert "diverged" in trial.user_attrs["reason"]
