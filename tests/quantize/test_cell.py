"""Finished cells, quantized and measured again: rows, checkpoints, and what is done already."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import kcap_ray.quantize.cell
from kcap_ray.config.cell import Cell
from kcap_ray.config.data import FrequencyConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import fail_cell, run_cell, run_cells
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.models.checkpoint import load_cell_model
from kcap_ray.quantize.cell import QuantizeJob, exposures_of, jobs_of, run_job, to_do
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.store import load_quantized
from kcap_ray.runs.columns import Measured
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.loop import TrainingDiverged
from tests.rounding import about
from tests.tiny import BIOD, random_tokens, tiny_cell

CPU = torch.device("cpu")
CELLS = [
    tiny_cell(exposures=40, init_std=0.2, lr=5e-3),
    tiny_cell(replace(BIOD, frequency=FrequencyConfig(zipf=1.0, bands=2)), exposures=10),
]
INT8 = QuantizeConfig(group_size=16)
INT2 = QuantizeConfig(group_size=16, bits=2, method="rtn")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of two finished cells, which no test changes."""
    run = RunDirectory(tmp_path_factory.mktemp("trained") / "run")
    run.prepare()
    for cell in CELLS:
        here = CellRun(cell=cell, directory=run.cell(cell.cell_id), device=CPU)
        run_cell(here, sweep="tiny")
    return run


@pytest.fixture
def run(trained: RunDirectory, tmp_path: Path) -> RunDirectory:
    """A copy of it."""
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def row_of(run: RunDirectory, cell: Cell) -> ResultRow:
    """The row of the model as it was trained."""
    row = run.cell(cell.cell_id).result()
    assert row is not None
    return row


def quantize(run: RunDirectory, cell: Cell, config: QuantizeConfig) -> ResultRow:
    """One job, to its end."""
    return run_job(QuantizeJob(cell_id=cell.cell_id, config=config), run, device=CPU)


@pytest.mark.parametrize("cell", CELLS)
def test_measuring_again_gives_what_the_cell_was_measured_at(
    cell: Cell, trained: RunDirectory
) -> None:
    """The same documents: without quantization every number of the row comes back, those of its
    groups too.
    """
    model, _ = load_cell_model(trained.cell(cell.cell_id).path)
    (groups,) = measure(model, build_corpus(cell.data), seed=cell.seed)
    before = row_of(trained, cell)
    again = measured_of(groups, exposures_of(groups, before)).to_dict()
    del again["layers"]  # only where a cell is trained
    assert total_bits(groups) == pytest.approx(before.stored_bits, rel=1e-9)
    assert again == about({name: getattr(before, name) for name in again}, rel=1e-9)


@pytest.mark.parametrize("cell", CELLS)
def test_the_row_is_that_of_the_cell_with_what_is_new(cell: Cell, run: RunDirectory) -> None:
    """Settings, sizes and costs of training stay; knowledge is measured; bits are counted."""
    row = quantize(run, cell, INT8)
    before = row_of(run, cell)
    assert row.status == "ok"
    for name in ("cell_id", "sweep", "model", "n_params", "lr", "steps", "seed", "demand_bits"):
        assert getattr(row, name) == getattr(before, name)
    assert row.quantization == "gptq-int8-g16"
    assert QuantizeConfig(**json.loads(row.quantization_config or "")) == INT8
    assert row.stored_bits and row.bits_per_weight and row.knowledge_per_stored_bit
    assert 8 < row.bits_per_weight < 16
    assert row.capacity_ratio == row.stored_bits / row.n_params
    storage_bits = row.n_params * row.bits_per_weight
    assert row.knowledge_per_stored_bit == pytest.approx(row.stored_bits / storage_bits)
    assert row.stored_bits == pytest.approx(before.stored_bits, rel=0.05)
    assert row.stored_bits != before.stored_bits
    assert before.capacity_ratio is not None
    assert before.knowledge_per_stored_bit == pytest.approx(before.capacity_ratio / 32)


@pytest.mark.parametrize(
    "config",
    [
        INT8,
        INT2,
        QuantizeConfig(method="fp16", bits=16),
        QuantizeConfig(method="hqq", bits=3, embedding=True, finetune_exposures=1),
    ],
)
def test_a_packed_checkpoint_loads_to_the_model_that_was_measured(
    config: QuantizeConfig, run: RunDirectory
) -> None:
    """Measured again from the file, to the last bit; its cell is the cell."""
    row = quantize(run, CELLS[0], config)
    directory = run.cell(CELLS[0].cell_id).quantized(config.label)
    model, cell = load_quantized(directory.path)
    assert cell == CELLS[0]
    (groups,) = measure(model, build_corpus(cell.data), seed=cell.seed)
    assert total_bits(groups) == row.stored_bits
    other, _ = load_cell_model(run.cell(cell.cell_id).path)
    tokens = random_tokens(2, 8, vocab_size=model.spec.vocab_size)
    with torch.no_grad():
        assert not torch.equal(model(tokens), other(tokens))


def test_rows_of_quantized_models_stay_in_the_table(run: RunDirectory) -> None:
    """Behind their cell, in the order of their labels; whoever collects, and when."""
    for config in (INT2, INT8):
        quantize(run, CELLS[1], config)
    quantize(run, CELLS[0], INT8)
    run_cells(CELLS, {}, run, sweep="tiny", device=CPU)  # a resume with nothing to do
    assert run.collect(CELLS) == 5
    table = pq.read_table(run.results_file)
    first, second = (cell.cell_id for cell in CELLS)
    assert list(
        zip(table["cell_id"].to_pylist(), table["quantization"].to_pylist(), strict=True)
    ) == [
        (first, "none"),
        (first, "gptq-int8-g16"),
        (second, "none"),
        (second, "gptq-int8-g16"),
        (second, "rtn-int2-g16"),
    ]
    assert [row.quantization for row in run.rows(CELLS)] == ["none", "none"]


def test_jobs_with_a_row_are_done(run: RunDirectory) -> None:
    """Failed ones run again only if that is asked for."""
    jobs = jobs_of(run, CELLS, [INT8, INT2])
    assert [(job.cell_id, job.config) for job in jobs] == [
        (cell.cell_id, config) for cell in CELLS for config in (INT8, INT2)
    ]
    quantize(run, CELLS[0], INT8)
    run.cell(CELLS[1].cell_id).checkpoint.rename(run.path / "elsewhere")
    failed = quantize(run, CELLS[1], INT8)
    assert failed.status == "failed"
    assert "no checkpoint" in failed.reason
    assert failed.stored_bits is None and failed.bits_per_weight is None
    assert to_do(jobs, run, retry_failed=False) == [jobs[1], jobs[3]]
    assert to_do(jobs, run, retry_failed=True) == [jobs[1], jobs[2], jobs[3]]


def test_a_model_of_another_vocabulary_than_its_data_is_refused(run: RunDirectory) -> None:
    """Pools or facts that have changed since the training: a row that says so, and no numbers."""
    weights = run.cell(CELLS[0].cell_id).checkpoint / "model.safetensors"
    tensors = load_file(weights)
    save_file({**tensors, "embedding": tensors["embedding"][:-1].clone()}, weights)
    row = quantize(run, CELLS[0], INT8)
    assert row.status == "failed" and row.stored_bits is None
    assert "their files have changed since" in row.reason


def test_a_job_that_is_killed_leaves_no_row(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is written last; the same job done again has the row that it would have had."""
    expected = quantize(run, CELLS[0], INT8)
    fresh = QuantizeConfig(group_size=16, calibration_people=999)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kcap_ray.quantize.cell, "_measured", killed)
        with pytest.raises(KeyboardInterrupt):
            quantize(run, CELLS[0], fresh)
    directory = run.cell(CELLS[0].cell_id).quantized(fresh.label)
    assert directory.checkpoint.is_dir()
    assert directory.result() is None
    # The table has fewer people than are asked for in both, so the text is the same.
    assert quantize(run, CELLS[0], fresh).stored_bits == expected.stored_bits


def test_a_model_that_diverges_is_a_row_without_numbers(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fine-tuning, or in measurement."""

    def diverges(*_: object, **__: object) -> None:
        raise TrainingDiverged(3, float("nan"))

    with monkeypatch.context() as patch:
        patch.setattr(kcap_ray.quantize.cell, "quantized_weights", diverges)
        row = quantize(run, CELLS[0], INT8)
    assert (row.status, row.stored_bits) == ("diverged", None)
    assert "3" in row.reason
    with monkeypatch.context() as patch:
        patch.setattr(kcap_ray.quantize.cell, "_measured", lambda *_: (float("nan"), Measured()))
        row = quantize(run, CELLS[0], INT2)
    assert (row.status, row.reason) == ("diverged", "measured losses not finite")


def test_a_run_without_models_is_refused(run: RunDirectory) -> None:
    """Nothing finished, or no weights kept: said before anything runs."""
    other = tiny_cell(seed=7)
    with pytest.raises(UserError, match="none of 1 cells has a result to quantize"):
        jobs_of(run, [other], [INT8])
    fail_cell(other, run.cell(other.cell_id), sweep="tiny", reason="no")
    with pytest.raises(UserError, match="none of 1 cells has a result to quantize"):
        jobs_of(run, [other], [INT8])
    for cell in CELLS:
        run.cell(cell.cell_id).checkpoint.rename(run.path / cell.cell_id)
    with pytest.raises(UserError, match="no cell has kept its weights"):
        jobs_of(run, CELLS, [INT8])
