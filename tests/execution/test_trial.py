import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import kcap_ray.execution.trial
from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.trial import run_trials
from kcap_ray.measure.bits import stored_bits
from kcap_ray.measure.nats import measure
from kcap_ray.models.checkpoint import load_cell_model
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.record import TrialRecord, best_trial
from kcap_ray.runs.results import CellDirectory
from kcap_ray.text.stream.batches import in_process_batches
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.training.loop import train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.tiny import BIOS, tiny_cell

CPU = torch.device("cpu")
CELL = tiny_cell(exposures=6)
POINTS = [Point(lr=3e-3, weight_decay=0.1), Point(lr=1e-2, weight_decay=0.0)]
SLOW = Point(lr=1e-6, weight_decay=0.0)
HUGE = Point(lr=1e30, weight_decay=0.0)


def run(
    directory: CellDirectory, points: list[Point], *, cell: Cell = CELL, first_trial: int = 0
) -> list[TrialRecord]:
    """Records of a program, without the times."""
    here = CellRun(cell=cell, directory=directory, device=CPU)
    records = run_trials(here, points, first_trial=first_trial)
    return [untimed(record) for record in records]


def untimed(record: TrialRecord) -> TrialRecord:
    """A record without what differs from run to run."""
    return dataclasses.replace(record, train_time_s=None, measure_time_s=None, tokens_per_s=None)


@pytest.fixture
def directory(tmp_path: Path) -> CellDirectory:
    """The directory of a cell that has not started."""
    return CellDirectory(tmp_path / "cell")


@pytest.mark.parametrize("cell", [CELL, tiny_cell(BIOS, exposures=3)])
def test_records_are_what_training_and_measuring_give(directory: CellDirectory, cell: Cell) -> None:
    """The loop on the cell's stream, then measurement, then bits: nothing more and nothing less."""
    corpus, length = build_corpus(cell.data), length_of(cell)
    stream = training_stream(corpus, seed=cell.seed, window_tokens=cell.train.window_tokens)
    result = train(
        TrainStep(cell, spec_of(cell), POINTS, n_steps=length.steps, device=CPU),
        in_process_batches(stream, cell.train, rank=0, n_steps=length.steps),
    )
    groups = measure(result.model, corpus, seed=cell.seed)
    records = run(directory, POINTS, cell=cell)
    for index, (record, (group,)) in enumerate(zip(records, groups, strict=True)):
        loss, stored = group.loss, stored_bits(group.entropy, group.loss)
        assert record.trial == index
        assert (record.lr, record.weight_decay) == dataclasses.astuple(POINTS[index])
        assert record.status == "ok"
        assert record.bits == stored.total
        assert record.loss_name_nats == loss.name_nats
        assert record.loss_value_nats == loss.value_nats
        assert record.loss_value1_nats == loss.value1_nats
        n_attributes = len(corpus.main.attributes)
        assert record.loss_value_attribute_nats == loss.value_nats / n_attributes
        assert record.capacity_ratio == stored.total / spec_of(cell).n_params
        assert record.exposures_seen == pytest.approx(cell.train.exposures, rel=0.2)
        parts = (record.name_bits, record.value_bits, record.diversity_bits)
        assert None not in parts
        assert sum(filter(None, parts)) == pytest.approx(record.bits)
    assert [untimed(record) for record in directory.trials()] == records
    assert not directory.resume_file(0).exists()


@pytest.mark.usefixtures("in_float64")
def test_weights_on_disk_are_those_of_the_best_trial(directory: CellDirectory) -> None:
    """Of all programs of a cell: measured again, they store the bits of the best record."""
    run(directory, [SLOW, POINTS[0]])
    run(directory, [POINTS[1]], first_trial=2)
    run(directory, [SLOW], first_trial=3)
    best = best_trial(directory.trials())
    assert best is not None
    assert best.trial == 2
    model, cell = load_cell_model(directory.path)
    corpus = build_corpus(cell.data)
    ((group,),) = measure(model, corpus, seed=cell.seed)
    assert group.stored.total == pytest.approx(best.bits, rel=1e-10)
    history = pq.read_table(directory.history_file).to_pylist()
    assert history[-1]["step"] == length_of(CELL).steps
    assert history[-1]["exposures"] == pytest.approx(best.exposures_seen)
    assert max(row["lr"] for row in history) == POINTS[1].lr
    names = {"step", "tokens", "exposures", "loss", "lr", "seconds", "schema_version"}
    assert set(history[0]) == names
    assert [file.name for file in directory.path.iterdir() if "tmp" in file.name] == []


def test_the_history_of_experts_tells_their_load(directory: CellDirectory) -> None:
    """Two more columns: shares of the busiest and the least busy of the best trial's experts."""
    run(directory, POINTS, cell=tiny_cell(model="gpt2-1-1-moe4"))
    for row in pq.read_table(directory.history_file).to_pylist():
        assert 0 <= row["expert_load_min"] <= 1 / 4 <= row["expert_load_max"] <= 1


def test_a_cell_may_keep_no_weights(directory: CellDirectory) -> None:
    """`keep_checkpoint: false` leaves the curve and the records."""
    run(directory, POINTS, cell=dataclasses.replace(CELL, keep_checkpoint=False))
    assert directory.history_file.exists()
    assert not directory.checkpoint.exists()


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", ["measure", "write_curve", "save_weights", "add_trials"])
def test_a_program_killed_at_its_end_gives_the_same_when_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_in: str
) -> None:
    """Between training and the ledger nothing is counted twice and nothing is lost."""
    whole, killed = CellDirectory(tmp_path / "whole"), CellDirectory(tmp_path / "killed")
    for directory in (whole, killed):
        run(directory, [SLOW])
    run(whole, POINTS, first_trial=1)

    def kill(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        owner = CellDirectory if killed_in == "add_trials" else kcap_ray.execution.trial
        patch.setattr(owner, killed_in, kill)
        with pytest.raises(KeyboardInterrupt):
            run(killed, POINTS, first_trial=1)
    run(killed, POINTS, first_trial=1)
    assert list(map(untimed, killed.trials())) == list(map(untimed, whole.trials()))
    ours, theirs = (load_cell_model(d.path)[0].state_dict() for d in (whole, killed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    curves = [pq.read_table(d.history_file).drop_columns("seconds") for d in (whole, killed)]
    assert curves[0].equals(curves[1])


def test_a_diverging_trial_is_a_record_and_changes_no_other(tmp_path: Path) -> None:
    """It has its step and no numbers; the trials beside it have those that they have alone."""
    calm = run(CellDirectory(tmp_path / "calm"), [POINTS[0], SLOW, POINTS[1]])
    directory = CellDirectory(tmp_path / "mixed")
    mixed = run(directory, [POINTS[0], HUGE, POINTS[1]])
    assert [mixed[0], mixed[2]] == [calm[0], calm[2]]
    assert mixed[1].status == "diverged"
    assert mixed[1].reason.startswith("training diverged at step ")
    assert mixed[1].bits is None
    assert mixed[1].capacity_ratio is None
    best = best_trial(mixed)
    assert best is not None
    assert best.status == "ok"


def test_a_program_of_which_nothing_is_left_is_recorded(directory: CellDirectory) -> None:
    """All of its trials have diverged, and there are no weights to keep."""
    records = run(directory, [HUGE, HUGE])
    assert [record.status for record in records] == ["diverged", "diverged"]
    assert "loss nan at step" in records[0].reason or "loss inf" in records[0].reason
    assert best_trial(records) is None
    assert not directory.checkpoint.exists()


@pytest.mark.parametrize("points", [[HUGE], [POINTS[0], HUGE]])
def test_a_trial_that_diverges_in_its_last_step_is_recorded_as_diverged(
    directory: CellDirectory, points: list[Point]
) -> None:
    """No loss of the training shows it, but the measurement does; no number is made up of it."""
    cell = tiny_cell(exposures=1, batch_windows=16)
    assert length_of(cell).steps == 1
    records = run(directory, points, cell=cell)
    assert records[-1].status == "diverged"
    assert records[-1].bits is None
    assert records[-1].capacity_ratio is None
    assert "measured" in records[-1].reason
    assert [record.status for record in records[:-1]] == ["ok"] * (len(points) - 1)
    assert directory.checkpoint.exists() == (len(points) == 2)


def test_a_window_too_short_for_a_biography_is_refused_before_training(
    directory: CellDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not after hours of training, when it would be measured; the message says what to write."""
    monkeypatch.delattr(kcap_ray.execution.trial, "train")
    cell = tiny_cell(BIOS, window_tokens=64)
    with pytest.raises(UserError, match=r"write train\.window_tokens: \d+ or more"):
        run(directory, POINTS, cell=cell)


def test_the_stream_decides_what_is_trained_on(directory: CellDirectory) -> None:
    """With the batches handed in from outside the records are those of the batches made here."""
    stream = training_stream(
        build_corpus(CELL.data), seed=CELL.seed, window_tokens=CELL.train.window_tokens
    )
    n_steps, n_windows = length_of(CELL).steps, CELL.train.batch_windows

    def batches_from(step: int) -> Any:
        for at in range(step, n_steps):
            yield stream.windows(at * n_windows, (at + 1) * n_windows).astype(np.int32)

    here = CellRun(cell=CELL, directory=directory, device=CPU, open_batches=batches_from)
    records = run_trials(here, POINTS, first_trial=0)
    other = CellDirectory(directory.path.with_name("other"))
    assert [untimed(record) for record in records] == run(other, POINTS)


def test_the_best_trial_stores_most_and_of_equals_is_the_first() -> None:
    """Trials without a number are never the best."""
    found = [("diverged", None), ("ok", -math.inf), ("ok", 0.5), ("ok", 0.5)]
    records = [
        TrialRecord(trial=trial, lr=0.1, weight_decay=0.1, status=status, capacity_ratio=ratio)
        for trial, (status, ratio) in enumerate(found)
    ]
    assert best_trial(records) is records[2]
    assert best_trial(records[:1]) is None
