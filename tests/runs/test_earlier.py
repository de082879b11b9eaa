"""Runs of earlier versions: what they finished is found again under ids that are made otherwise."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.config.contents import with_contents
from kcap_ray.config.data import DataConfig
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs.done import is_done
from kcap_ray.runs.earlier import read_manifest
from kcap_ray.runs.manifest import read_cells, write_manifest
from kcap_ray.runs.progress import cell_states
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from tests.tiny import BIOD, tiny_cell

ROOT = Path(__file__).parents[2]
KEPT = sorted(ROOT.glob("docs/results/*/results.parquet"))

# What the versions of some commits wrote of a cell, and the names that they gave its directory:
# before there were mixtures and experts, and before probes.
SETTINGS_2450E8F: dict[str, Any] = {
    "data": {"kind": "bioD", "n_people": 200, "pools": "mini", "vocab": "compact", "seed": 0}
    | {"K": 6, "C": 1, "D": 50, "L": 1, "T": 2000, "style": "compact"},
    "model": {"name": "gpt2-1-1", "head_dim": 16},
    "train": {"exposures": 30, "lr": 0.012, "weight_decay": 0.01, "batch_windows": 2}
    | {"precision": "fp32", "window_tokens": 128, "warmup_steps": 1000, "warmup_frac": 0.1}
    | {"final_lr_ratio": 0.1, "beta1": 0.9, "beta2": 0.98, "eps": 1e-06, "grad_clip": None}
    | {"init_std": 0.25, "workers": 1, "compile": "auto"},
    "tune": {"trials": 3, "lr": {"low": 0.005, "high": 0.03, "log": True}}
    | {"weight_decay": {"low": 0.003, "high": 0.03, "log": True}, "fused": None}
    | {"warm_start": True},
    "seed": 0,
    "keep_checkpoint": True,
}
NAME_2450E8F = "bioD-n200-e30-gpt2-1-1-s0-6929876f"


def earlier_name(cell: Cell) -> str:
    """The name that commit 619aa6c gave the directory of a cell."""
    data = cell.data.with_paths(lambda _, path: Path(path).name)
    settings = replace(cell, data=data).to_dict()
    del settings["data"]["contents"]
    for name in ("micro_windows", "probe_exposures", "probe_people"):
        del settings["train"][name]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]
    return f"{cell.cell_id.rpartition('-')[0]}-{digest}"


def settings_619aa6c(cell: Cell) -> dict[str, Any]:
    """What that commit wrote of a cell."""
    settings = cell.to_dict()
    del settings["data"]["contents"]
    return settings


def earlier_run(
    path: Path, cells: list[Cell], *, files: dict[str, str] | None = None, listed: int = 100
) -> RunDirectory:
    """A run as that commit left it, the cells done; its manifest lists the first ones."""
    run = RunDirectory(path)
    run.prepare()
    for cell in cells:
        row = fail_cell(cell, run.cell(cell.cell_id), sweep="tiny", reason="")
        values = {"cell_id": earlier_name(cell), "status": "ok", "n_trials": 1, "reason": ""}
        values |= {"config": json.dumps(settings_619aa6c(cell), sort_keys=True)}
        values |= {
            "capacity_ratio": 0.5,
            "stored_bits": 9.0,
            "lr": 0.1,
            "weight_decay": 0.1,
            "train_time_s": 1.0,
        }
        place = run.cell(cell.cell_id)
        place.result_file.write_text(json.dumps(row.__dict__ | values))
        place.trials_file.write_text(json.dumps(TRIAL) + "\n")
        place.path.rename(place.path.with_name(earlier_name(cell)))
    settings = [settings_619aa6c(cell) for cell in cells[:listed]]
    manifest = {"sweep": "tiny", "question": "", "cells": settings, "files": files or {}}
    (path / "cells.json").write_text(json.dumps(manifest))
    return run


def go_on(run: RunDirectory, cells: list[Cell]) -> None:
    """What a command does before anything runs, and after all has."""
    write_manifest(
        run, name="tiny", question="", sweep_file=ROOT / "sweeps" / "quickstart.yaml", cells=cells
    )
    run.collect(read_cells(run.path))


TRIAL = {"trial": 0, "lr": 0.1, "weight_decay": 0.1, "status": "ok", "capacity_ratio": 0.5}
CELLS = [tiny_cell(exposures=exposures) for exposures in (2, 3, 4)]


def test_the_names_are_those_that_earlier_versions_gave() -> None:
    """Told from what they wrote, whose digest they are."""
    from kcap_ray.runs.earlier import earlier_ids

    assert NAME_2450E8F in earlier_ids(SETTINGS_2450E8F)
    assert earlier_name(CELLS[0]) in earlier_ids(settings_619aa6c(CELLS[0]))


def test_a_run_of_an_earlier_version_shows_what_it_finished(tmp_path: Path) -> None:
    """From its files as they are, which stay so."""
    run = earlier_run(tmp_path, CELLS)
    before = sorted(tmp_path.rglob("*"))
    states = cell_states(read_cells(tmp_path), run)
    assert [(state.cell, state.state) for state in states] == [(cell, "ok") for cell in CELLS]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_run_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    """Its cells are done, with all that they have, and its table has them beside the new ones."""
    run = earlier_run(tmp_path, CELLS[:2])
    go_on(run, CELLS)
    assert [is_done(cell, run.cell(cell.cell_id).result()) for cell in CELLS] == [True, True, False]
    for cell in CELLS[:2]:
        assert run.cell(cell.cell_id).path.name == cell.cell_id
        assert run.cell(cell.cell_id).trials() == [TrialRecord.from_dict(TRIAL)]
    table = pq.read_table(run.results_file)
    assert table["cell_id"].to_pylist() == [cell.cell_id for cell in CELLS[:2]]
    assert [stored.name for stored in read_manifest(tmp_path).cells] == [  # pyright: ignore[reportOptionalMemberAccess]
        cell.cell_id for cell in CELLS
    ]


def test_cells_that_an_earlier_version_forgot_are_in_the_table_again(tmp_path: Path) -> None:
    """It replaced its list when it was given other settings, and no command showed the others."""
    run = earlier_run(tmp_path, CELLS, listed=1)
    go_on(run, CELLS[:1])
    assert {cell.cell_id for cell in read_cells(tmp_path)} == {cell.cell_id for cell in CELLS}
    assert len(pq.read_table(run.results_file)) == 3


def test_of_two_directories_of_one_cell_the_larger_is_taken(tmp_path: Path) -> None:
    """An earlier version tuned anew where a setting changed that is no science."""
    twice = [CELLS[0], replace(CELLS[0], keep_checkpoint=False)]
    run = earlier_run(tmp_path, twice)
    file = tmp_path / "cells" / earlier_name(twice[1]) / "result.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"n_trials": 5}))
    go_on(run, twice[:1])
    row = run.cell(CELLS[0].cell_id).result()
    assert row is not None
    assert row.n_trials == 5


@pytest.mark.parametrize("was_changed", [False, True])
def test_facts_of_an_earlier_run_are_known_by_what_it_wrote_of_them(
    tmp_path: Path, was_changed: bool
) -> None:
    """It kept the digests of its files: with other contents they are other cells."""
    facts = tmp_path / "facts.csv"
    facts.write_text("name,attribute,value\nIron,symbol,Fe\n")
    data = DataConfig(kind="tuples", file=str(facts), n_people=1)
    digest = hashlib.sha256(facts.read_bytes()).hexdigest()
    run = earlier_run(
        tmp_path / "run",
        [tiny_cell(data)],
        files={str(facts): hashlib.sha256(digest.encode()).hexdigest()},
    )
    if was_changed:
        facts.write_text("name,attribute,value\nIron,symbol,Ir\n")
    cell = tiny_cell(with_contents(data))
    go_on(run, [cell])
    assert is_done(cell, run.cell(cell.cell_id).result()) == (not was_changed)
    assert len(pq.read_table(run.results_file)) == 1


def test_a_run_that_is_kept_as_a_table_says_its_cells(tmp_path: Path) -> None:
    """Rows hold whole cells; those of quantized models are no cells of their own."""
    row = fail_cell(CELLS[0], CellDirectory(tmp_path / "other"), sweep="tiny", reason="why")
    rows = [
        {**row.to_dict(), "cell_id": "old", "quantization": label}
        for label in ("none", "rtn-int8-g64")
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "results.parquet")
    assert read_cells(tmp_path) == CELLS[:1]
    (state,) = cell_states(read_cells(tmp_path), RunDirectory(tmp_path))
    assert (state.state, state.detail) == ("failed", "why")


@pytest.mark.parametrize("table", KEPT, ids=[path.parent.name for path in KEPT])
def test_the_runs_of_the_documentation_are_all_done(table: Path) -> None:
    """They were made by many versions, and none of their cells is missing."""
    run = RunDirectory(table.parent)
    states = cell_states(read_cells(table.parent), run)
    rows = pq.read_table(table, columns=["quantization"])["quantization"].to_pylist()
    assert [state.state for state in states] == ["ok"] * rows.count("none")


def test_a_tuned_row_of_a_cell_of_biod_is_found_by_its_manifest_alone(tmp_path: Path) -> None:
    """The first versions wrote no cell into the row."""
    place = tmp_path / "cells" / NAME_2450E8F
    place.mkdir(parents=True)
    row = fail_cell(CELLS[0], CellDirectory(tmp_path / "other"), sweep="laptop", reason="why")
    first = {**row.to_dict(), "cell_id": NAME_2450E8F, "status": "diverged", "n_trials": 3}
    for name in ("config", "schema_version", "optimizer", "n_params_active"):
        del first[name]
    (place / "result.json").write_text(json.dumps(first))
    manifest = {"sweep": "laptop", "question": "", "cells": [SETTINGS_2450E8F]}
    (tmp_path / "cells.json").write_text(json.dumps(manifest))
    (state,) = cell_states(read_cells(tmp_path), RunDirectory(tmp_path))
    assert (state.state, state.cell.data.K) == ("diverged", 6)
    assert state.cell.data != BIOD
