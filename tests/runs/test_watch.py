"""The table of a sweep under way: one line a running cell, in the width that there is."""

import io
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs import watch
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.progress import CellState, cell_states
from kcap_ray.runs.record import TrainingProgress
from kcap_ray.runs.results import RunDirectory, write_atomically
from kcap_ray.runs.watch import MAX_LINES, Outlook, duration, live_table, states_table, summary
from tests.tiny import tiny_cell

TUNE = TuneConfig(trials=3, lr=Range(low=1e-3, high=1e-1), confirm_seeds=1)
CELLS = [
    tiny_cell(seed=seed, tune=TUNE, model=f"gpt2-{seed + 1}-{seed + 1}-mlp1/4-silu-rmsnorm")
    for seed in range(MAX_LINES + 6)
]
LONG = Outlook(left_s=350_000.0, cost=12_345.6)


def training(
    step: int = 50, *, n_trials: int = 2, seconds: float = 10.0, n_devices: int = 1
) -> TrainingProgress:
    """A program with 100 steps."""
    return TrainingProgress(
        step=step, n_steps=100, losses=(1.5,) * n_trials, seconds=seconds, n_devices=n_devices
    )


def running(index: int = 0, **changed: object) -> CellState:
    """One of four runs is done, two are trained."""
    state = CellState(
        cell=CELLS[index],
        state="running",
        detail="half",
        n_runs_done=1,
        programs=(training(),),
        trained_s=100_000.0,
    )
    return replace(state, **changed)  # pyright: ignore[reportArgumentType]


def lines_of(table: object, width: int) -> list[str]:
    """As a terminal shows it."""
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_each_running_cell_has_one_line(width: int) -> None:
    """However long ids and times are; the end of an id, which tells cells apart, is shown."""
    states = [running(index) for index in range(5)]
    states += [CellState(cell=cell, state="waiting", detail="") for cell in CELLS[5:]]
    heading, *rows, last = lines_of(live_table(states, LONG, width=width), width)
    assert heading.split() == ["cell", "done", "time", "left", "runs,", "loss"]
    assert len(rows) == 5
    assert all(len(line) <= width for line in (heading, *rows, last))
    for state, row in zip(states, rows, strict=False):
        shown, *rest = row.split()
        assert shown.endswith(state.cell.cell_id[-8:])
        assert rest == ["50%", "1d", "03h", "0:20", "1/4", "1.500"]
    assert last == summary(states, LONG)
    assert last == "0 of 30 cells done, 5 running, trained 5d 18h, 4d 01h left, $12,345.60"


def test_a_table_has_an_end() -> None:
    """What does not fit is counted."""
    states = [running(index) for index in range(len(CELLS))]
    _, *rows, _ = lines_of(live_table(states, Outlook(), width=80), 80)
    assert len(rows) == MAX_LINES + 1
    assert rows[-1] == "and 6 more"
    (only,) = lines_of(live_table([], Outlook(), width=80), 80)
    assert only == "0 of 0 cells done, 0 running"


def test_status_fits_a_terminal() -> None:
    """One line for a running cell; a reason is wrapped and whole."""
    failed = CellState(cell=CELLS[1], state="failed", detail="because " * 12 + "of that")
    lines = lines_of(states_table([running(), failed], LONG, width=80), 80)
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[1:] == ["running", "50%", "1d", "03h", "0:20", "1/4", "1.500"]
    assert " ".join(lines[2:-1]).count("because") == 12


def test_what_is_left_follows_from_the_pace() -> None:
    """Two trials of a program half done in 10 s: a trial takes 10 s, and two of four are left."""
    assert running().done_frac == 0.5
    assert running().left_s == 20.0
    beside = running(programs=(training(), training(n_trials=1, seconds=5.0)))
    assert beside.done_frac == pytest.approx(2.5 / 4)
    assert beside.left_s == pytest.approx(1.5 / 0.2)
    unknown = running(programs=(training(seconds=0.0),))
    assert unknown.left_s is None
    assert running(programs=(training(0),)).left_s is None
    assert replace(running(), state="ok", programs=()).done_frac == 1.0


def test_time_and_devices_are_read_from_the_notes(tmp_path: Path) -> None:
    """Of a program of four workers, four times as much is paid."""
    directory = RunDirectory(tmp_path)
    directory.prepare()
    place = directory.cell(CELLS[0].cell_id)
    note = training(25, seconds=30.0, n_devices=4)
    write_atomically(place.progress_file, json.dumps({**note.to_dict(), "device": "NVIDIA H200"}))
    with only_driver(tmp_path):
        (state, *_) = cell_states(CELLS, directory)
    assert (state.trained_s, state.device_s, state.device) == (30.0, 120.0, "NVIDIA H200")
    assert (state.done_frac, state.left_s) == (0.5 / 4, pytest.approx(30.0 * 3.5 / 0.5))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0, "0:00"), (59.7, "1:00"), (3_599, "59:59"), (3_600, "1:00:00")],
)
def test_durations_are_short(seconds: float | None, text: str) -> None:
    """Minutes, hours, days."""
    assert duration(seconds) == text


def test_the_live_table_has_the_largest_ratio_that_was_measured() -> None:
    """Of the programs of the cell; it still fits, and comes back from its file."""
    first, second = (replace(training(), ratios=(ratio, -0.25)) for ratio in (0.125, 0.5))
    assert TrainingProgress.from_dict(first.to_dict()) == first
    assert str(first).endswith("R 0.125, -0.250")
    state = running(programs=(first, second, training()))
    _, row, _ = lines_of(live_table([state], LONG, width=80), 80)
    assert row.endswith("1/4 1.500 R 0.500") and len(row) <= 80


def test_cells_that_end_are_logged_though_a_look_at_the_others_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file system that does not answer for a moment is said once."""
    monkeypatch.setattr(watch, "REFRESH_EVERY_S", 0.01)
    run, n_looks = RunDirectory(tmp_path), 0
    run.prepare()

    watched = watch.Watch(CELLS[:1], run)
    states = watched._reader.states

    def failing() -> list[CellState]:
        nonlocal n_looks
        n_looks += 1
        if n_looks in (2, 3):
            raise OSError("stale file handle")
        return states()

    monkeypatch.setattr(watched._reader, "states", failing)
    with caplog.at_level(logging.INFO), watched:
        end = time.monotonic() + 10
        while n_looks < 4 and time.monotonic() < end:
            time.sleep(0.01)
        fail_cell(CELLS[0], run.cell(CELLS[0].cell_id), sweep="made-up", reason="no such data")
    assert [line for line in caplog.messages if "stale" in line] == [caplog.messages[0]]
    assert any("no such data" in line for line in caplog.messages)


@pytest.mark.parametrize("width", [80, 120, 200])
def test_the_fast_table_of_states_is_the_one_of_rich(width: int) -> None:
    """Line by line, where a reason is long, too; rich is left for letters of two columns."""
    states = [running(), CellState(cell=CELLS[1], state="ok", detail="R 1.25 of at most 1.5")]
    fast = lines_of(states_table(states, LONG, width=width), width)
    wide = CellState(cell=CELLS[2], state="failed", detail="\u6771\u4eac")
    slow = lines_of(states_table([*states, wide], LONG, width=width), width)
    assert fast[:3] == slow[:3]
    failed = CellState(cell=CELLS[2], state="failed", detail="no such file " * 20)
    lines = lines_of(states_table([*states, failed], LONG, width=width), width)
    assert max(map(len, lines)) <= width
    assert " ".join(lines).count("such") == 20
