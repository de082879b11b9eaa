import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import kcap_ray.training.loop
from kcap_ray.config.cell import Cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.probing import MAX_COST, N_PROBES, probe_plan
from kcap_ray.execution.reporter import Reporter
from kcap_ray.execution.trial import run_trials
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import CellDirectory
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.loop import Probe, Progress, Saving, TrainResult, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.execution.test_trial import untimed
from tests.tiny import BIOD, tiny_cell

POINTS = [Point(lr=1e-2, weight_decay=0.0), Point(lr=3e-3, weight_decay=0.0)]


def trained(cell: Cell, path: Path) -> tuple[list[TrialRecord], CellDirectory]:
    """Records without what differs from run to run, and their directory."""
    directory = CellDirectory(path)
    run = CellRun(cell=cell, directory=directory, device=torch.device("cpu"))
    records = run_trials(run, POINTS, first_trial=0)
    return [untimed(one) for one in records], directory


def test_the_last_point_of_a_curve_is_the_result_and_the_others_cost_nothing_but_time(
    tmp_path: Path,
) -> None:
    """Measured on everybody, the end of each trial's curve has its R, its bits and their errors,
    bit for bit; and the records are those of training without measurements.
    """
    cell = tiny_cell(exposures=6, probe_exposures=2)
    records, directory = trained(cell, tmp_path / "probed")
    without, _ = trained(tiny_cell(exposures=6, probe_exposures=None), tmp_path / "not")
    assert records == without
    for record in records:
        curve = pq.read_table(directory.curve_file(record.trial)).to_pylist()
        measured = [point for point in curve if point["capacity_ratio"] is not None]
        seen = [point["exposures"] for point in measured]
        # Each of the three comes up to a step later than the one before says.
        assert seen == pytest.approx([2, 4, 6], abs=3 * 6 / length_of(cell).steps)
        last = measured[-1]
        assert last["capacity_ratio"] == record.capacity_ratio
        assert last["stored_bits"] == record.bits
        for name in ("value_bits", "stored_bits_se", "value_bits_se"):
            assert last[name] == getattr(record, name)


def test_auto_measures_where_it_costs_little() -> None:
    """Not in a run of some steps, nor on a GPU; in a long one a tenth of the run apart, of as many
    people as the share of its cost pays for, on each of more workers fewer.
    """
    data = replace(BIOD, n_people=1_000)
    corpus, cell = build_corpus(data), tiny_cell(data, batch_windows=8)
    assert probe_plan(cell, corpus, 100, device="cpu") is None
    assert probe_plan(cell, corpus, 10_000, device="cuda") is None
    plan = probe_plan(cell, corpus, 10_000, device="cpu")
    assert plan is not None and plan.every_steps == 1_000
    step_tokens = cell.train.batch_windows * cell.train.window_tokens
    tokens = N_PROBES * plan.n_people * 2 * corpus.sources[0].mean_tokens
    assert tokens / 3 <= MAX_COST * 10_000 * step_tokens
    shared = probe_plan(cell, corpus, 10_000, device="cpu", workers=4)
    assert shared is not None and shared.n_people == pytest.approx(plan.n_people / 4, abs=1)
    asked = replace(cell, train=replace(cell.train, probe_exposures=5, probe_people=3))
    plan = probe_plan(asked, corpus, 10_000, device="cuda")
    assert plan is not None and (plan.every_steps, plan.n_people) == (5_000, 3)


@pytest.mark.parametrize(("bits", "n_warnings"), [((-40.0, 19.0), 1), ((-40.0, 20.0), 0)])
def test_a_program_that_learns_nothing_says_so_once_and_early(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    bits: tuple[float, float],
    n_warnings: int,
) -> None:
    """From the middle of the run on and before its end, however often it is measured; one of which
    a trial has learnt (20 bits, with an error of 10) says nothing.
    """
    directory = CellDirectory(tmp_path)
    cell = tiny_cell()
    run = CellRun(cell=cell, directory=directory, device=torch.device("cpu"))
    n_steps = length_of(cell).steps
    reporter = Reporter(run, POINTS, first_trial=0)
    probed = tuple(
        {"stored_bits": own, "stored_bits_se": 10.0, "capacity_ratio": own / 1000} for own in bits
    )
    warned_at = []
    for step in range(1, n_steps + 1):
        before = len(caplog.records)
        reporter.report(
            Progress(
                step=step,
                tokens=step,
                lr_ratio=1.0,
                losses=(2.0, 3.0),
                seconds=1.0,
                probed=probed if step % 4 == 0 else None,
            )
        )
        warned_at += [step] * (len(caplog.records) - before)
    reporter.close()
    assert len(warned_at) == n_warnings
    assert all(n_steps / 2 <= step < n_steps / 2 + 4 for step in warned_at)


def test_a_resumed_run_has_lost_no_time_to_a_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saved at a step that was measured too, it goes on at the time that it had then."""
    measured_s = 0.0

    def measure(model: object) -> list[dict[str, float]]:
        nonlocal measured_s
        measured_s += 1000.0
        return [{} for _ in POINTS]

    clock = SimpleNamespace(perf_counter=lambda: time.perf_counter() + measured_s)
    monkeypatch.setattr(kcap_ray.training.loop, "time", clock)
    saving, cell = Saving(path=tmp_path / "resume.pt", every_s=0.0), tiny_cell(exposures=6)

    def batches(step: int, *, stop: int) -> Iterator[np.ndarray]:
        shape = cell.train.batch_windows, cell.train.window_tokens + 1
        return iter([np.ones(shape, dtype=np.uint16)] * (stop - step))

    def run(stop: int) -> TrainResult:
        return train(
            TrainStep(cell, spec_of(cell), POINTS, n_steps=4, device=torch.device("cpu")),
            partial(batches, stop=stop),
            saving=saving,
            probe=Probe(every_steps=1, measure=measure),
        )

    with pytest.raises(StopIteration):
        run(stop=2)
    seconds = [point.seconds for point in run(stop=4).history]
    assert len(seconds) == 4 and seconds == sorted(seconds)
    assert all(0 < second < 1000 for second in seconds)
