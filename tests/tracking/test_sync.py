"""Finished cells in real trackers, offline, read back by these."""

import importlib
import logging
import os
import re
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import kcap_ray.tracking.sync
from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cells
from kcap_ray.runs.log import FILE, command_logged_to
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.tracked import logged
from kcap_ray.tracking.sync import Tracking, read_curve
from kcap_ray.tracking.tracker import CellLog
from tests.tiny import tiny_cell

CELLS = [
    tiny_cell(exposures=2, tune=TuneConfig(trials=2, lr=Range(low=1e-3, high=1e-2))),
    tiny_cell(exposures=3),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of two cells, three trials in all."""
    run = RunDirectory(tmp_path_factory.mktemp("run"))
    run.prepare()
    run_cells(CELLS, {}, run, sweep="tiny", device=torch.device("cpu"))
    return run


def send(run: RunDirectory, name: str, cells: list[Cell] = CELLS) -> None:
    """What a command does at its end."""
    with Tracking([name], "tiny", cells, run):
        pass


def offline_records(file: Path) -> Iterator[bytes]:
    """The records of an offline run: LevelDB's log format behind a header of 7 bytes, in blocks of
    32 KiB; each part of a record has checksum (4 bytes), length (2) and type (1) in front.
    """
    content, place, record = file.read_bytes(), 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


@pytest.mark.slow
def test_mlflow_has_a_run_per_cell(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    """With settings, curves of all trials and the row; a second time nothing is sent."""
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    send(run, "mlflow", CELLS[:1])
    send(run, "mlflow")
    send(run, "mlflow")
    client = mlflow.MlflowClient((run.path / "mlruns").as_uri())
    experiment = client.get_experiment_by_name("tiny")
    found = {
        one.data.tags["cell_id"]: one for one in client.search_runs([experiment.experiment_id])
    }
    assert set(found) == {cell.cell_id for cell in CELLS}
    assert len(client.search_runs([experiment.experiment_id], run_view_type=3)) == len(CELLS)
    for cell in CELLS:
        directory, one = run.cell(cell.cell_id), found[cell.cell_id]
        row = directory.result()
        assert row is not None
        assert one.data.metrics["capacity_ratio"] == row.capacity_ratio
        assert one.data.params["train.exposures"] == str(cell.train.exposures)
        for trial in directory.trials():
            curve = read_curve(directory, trial.trial)
            history = client.get_metric_history(one.info.run_id, f"trial{trial.trial}/loss")
            assert [point.step for point in history] == [point.step for point in curve]
            assert [point.value for point in history] == pytest.approx([p.loss for p in curve])
    assert set(logged(run.path)["mlflow"]) == set(found)


@pytest.mark.slow
def test_wandb_offline_has_a_run_per_cell(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Grouped by sweep, with the row as summary."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    send(run, "wandb")
    files = sorted((run.path / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len(files) == len(CELLS)
    rows = [run.cell(cell.cell_id).result() for cell in CELLS]
    expected = {row.capacity_ratio for row in rows if row is not None}
    end = time.monotonic() + 30
    # wandb's own process closes the file of a run some time after the run is finished.
    while (found := offline_content(files))[1] != expected and time.monotonic() < end:
        time.sleep(0.2)
    groups, ratios, n_points = found
    assert (groups, ratios) == ({"tiny"}, expected)
    assert n_points == sum(
        len(read_curve(directory, trial.trial))
        for cell in CELLS
        for directory in [run.cell(cell.cell_id)]
        for trial in directory.trials()
    )


def offline_content(files: list[Path]) -> tuple[set[str], set[float], int]:
    """Groups, capacity ratios and number of points of all curves in offline runs."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    groups, ratios, n_points = set[str](), set[float](), 0
    for file in files:
        for data in offline_records(file):
            record = messages.Record()
            record.ParseFromString(data)
            groups |= {record.run.run_group} - {""}
            n_points += record.HasField("history")
            ratios |= {
                float(item.value_json)
                for item in record.summary.update
                if item.key == "capacity_ratio"
            }
    return groups, ratios, n_points


def test_what_a_tracker_raises_is_one_warning(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In the run's log too, though the run itself is over by then. The rest is not sent, and the
    next command tries again.
    """

    class Broken:
        def log(self, log: CellLog) -> str:
            raise ConnectionError("no route\nto host")

    def opened(*_: Any) -> Broken:
        return Broken()

    before = logged(run.path)
    monkeypatch.setattr(kcap_ray.tracking.sync, "open_tracker", opened)
    with (
        caplog.at_level(logging.WARNING),
        Tracking(["broken"], "tiny", CELLS, run),
        command_logged_to(run.path),
    ):
        pass
    assert len(caplog.records) == 1
    assert re.search(r"broken.*no route to host", caplog.text)
    begin, end, warning = (run.path / FILE).read_text(encoding="utf-8").splitlines()
    assert "process" in begin and "ended after" in end
    assert "WARNING broken: ConnectionError: no route to host; no more is logged there" in warning
    assert logged(run.path) == before


def test_a_tracker_that_hangs_is_left_behind(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The command ends, with one warning, though the first cell is never taken."""
    end = threading.Event()

    class Hanging:
        def log(self, log: CellLog) -> str:
            end.wait()
            raise ConnectionError

    def opened(*_: Any) -> Hanging:
        return Hanging()

    monkeypatch.setattr(kcap_ray.tracking.sync, "open_tracker", opened)
    monkeypatch.setattr(kcap_ray.tracking.sync, "PATIENCE_S", 0.05)
    before = logged(run.path)
    with caplog.at_level(logging.WARNING):
        send(run, "hanging")
        (warning,) = caplog.messages
        end.set()
    assert "hanging: no answer" in warning
    assert logged(run.path) == before


@pytest.mark.parametrize("name", ["tensorflow", "wandb"])
def test_a_tracker_that_cannot_be_opened_is_said_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown name, or no login, before anything is trained."""
    if name == "wandb":
        wandb = pytest.importorskip("wandb")
        monkeypatch.setattr(wandb, "login", lambda **_: False)
        monkeypatch.delenv("WANDB_MODE", raising=False)
    with pytest.raises(UserError, match=f"--log {name}"):
        Tracking([name], "tiny", CELLS, RunDirectory(tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_a_curve_that_is_torn_is_none(run: RunDirectory, tmp_path: Path) -> None:
    """It is for looking at: no error comes of it."""
    directory = run.cell(CELLS[0].cell_id)
    assert read_curve(directory, 0)
    assert read_curve(directory, 7) == []
    torn = type(directory)(tmp_path)
    torn.curve_file(0).parent.mkdir(parents=True)
    torn.curve_file(0).write_bytes(directory.curve_file(0).read_bytes()[:100])
    assert read_curve(torn, 0) == []


def test_a_row_that_is_copied_anew_is_not_logged_again(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy of a run that is kept in a store has the times of the store."""
    sent: list[str] = []

    class Sent:
        def log(self, one: CellLog) -> str:
            sent.append(one.cell.cell_id)
            return "there"

    monkeypatch.setattr(kcap_ray.tracking.sync, "open_tracker", lambda *_: Sent())
    send(run, "copied")
    for cell in CELLS:
        os.utime(run.cell(cell.cell_id).result_file, (1e9, 1e9))
    send(run, "copied")
    assert sorted(sent) == sorted(cell.cell_id for cell in CELLS)


def test_a_store_that_does_not_answer_ends_no_logging(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be read is sent with a later look."""
    sent: list[str] = []
    n_looks = 0

    class Sent:
        def log(self, one: CellLog) -> str:
            sent.append(one.cell.cell_id)
            return "there"

    def fails_at_first(_: object) -> None:
        nonlocal n_looks
        n_looks += 1
        if n_looks == 1:
            raise OSError("no answer for 300 s")

    monkeypatch.setattr(kcap_ray.tracking.sync, "open_tracker", lambda *_: Sent())
    monkeypatch.setattr(kcap_ray.tracking.sync, "fetch", fails_at_first)
    monkeypatch.setattr(kcap_ray.tracking.sync, "LOOK_EVERY_S", 0.01)
    end = time.monotonic() + 10
    with Tracking(["slow"], "tiny", CELLS, run):
        while len(sent) < len(CELLS) and time.monotonic() < end:
            time.sleep(0.01)
    assert sorted(sent) == sorted(cell.cell_id for cell in CELLS)
