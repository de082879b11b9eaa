"""Models that are brought along, from training to row: as any other, one trial after another."""

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import distributed as dist
from torch.multiprocessing.spawn import spawn

from kcap_ray.config.cell import Cell, ModelConfig, Range, TuneConfig
from kcap_ray.config.errors import UserError
from kcap_ray.config.model import Settings
from kcap_ray.execution.cell import run_cells
from kcap_ray.measure.groups import total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.models.checkpoint import SOURCE, load_cell_model, load_model
from kcap_ray.models.own_model import own_model, weights_of
from kcap_ray.models.own_spec import own_spec
from kcap_ray.quantize.cell import QuantizeJob, run_job
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.runs.model_files import with_kept_files
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.loop import Saving, TrainResult, train
from kcap_ray.training.optimizer import decaying
from kcap_ray.training.point import Point
from kcap_ray.training.schedule import lr_ratios
from kcap_ray.training.step import TrainStep
from tests.models.test_own_model import FILE, QWEN, from_file
from tests.rounding import float64
from tests.tiny import tiny_cell

CPU = torch.device("cpu")
VOCAB, N_TOKENS, N_STEPS = 29, 8, 12
POINT = Point(lr=3e-3, weight_decay=0.5)
TUNED = TuneConfig(trials=2, lr=Range(low=1e-3, high=1e-2))


def cell_of(model: ModelConfig, **train: object) -> Cell:
    settings = {"window_tokens": N_TOKENS, "batch_windows": 4, **train}
    return dataclasses.replace(tiny_cell(**settings), model=model)


def batches(
    step: int, part: slice = slice(None), kill_at: int | None = None
) -> Iterator[np.ndarray]:
    while True:
        if step == kill_at:
            raise KeyboardInterrupt
        random = np.random.default_rng([7, step])
        yield random.integers(VOCAB, size=(4, N_TOKENS + 1))[part]
        step += 1


def trained(cell: Cell, saving: Saving | None = None, kill_at: int | None = None) -> TrainResult:
    return train(
        TrainStep(
            cell, own_spec(cell.model, VOCAB, N_TOKENS), [POINT], n_steps=N_STEPS, device=CPU
        ),
        lambda step: batches(step, kill_at=kill_at),
        saving=saving,
    )


def assert_same_weights(
    one: torch.nn.Module, other: torch.nn.Module, *, rtol: float, atol: float
) -> None:
    theirs = weights_of(other)
    for name, tensor in weights_of(one).items():
        torch.testing.assert_close(tensor, theirs[name], rtol=rtol, atol=atol)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("build", ["Recurrent", "WithEverything"])
def test_training_is_that_of_a_plain_loop(build: str) -> None:
    """torch's AdamW on the module's own logits, by groups, at the rates of the schedule; what is
    frozen stays, the module's own `aux_loss` counts by `train.load_balance`.
    """
    cell = cell_of(from_file(build), load_balance=0.3)
    ours = trained(cell).model
    plain = own_model(cell.model, VOCAB, N_TOKENS, seed=cell.seed).train()
    weights = dict(plain.named_parameters())
    learnt = {name: weight for name, weight in weights.items() if weight.requires_grad}
    decay = decaying(plain)
    optimizer = torch.optim.AdamW(
        [
            {"params": [w for n, w in learnt.items() if n in decay], "weight_decay": 0.5},
            {"params": [w for n, w in learnt.items() if n not in decay], "weight_decay": 0.0},
        ],
        lr=POINT.lr,
        betas=(cell.train.beta1, cell.train.beta2),
        eps=cell.train.eps,
    )
    stream = batches(0)
    for ratio in lr_ratios(N_STEPS, cell.train):
        windows = torch.from_numpy(next(stream))
        output = plain.module(windows[:, :-1])
        logits = output if isinstance(output, torch.Tensor) else output.logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        loss = loss + 0.3 * getattr(output, "aux_loss", 0.0)
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = ratio * POINT.lr
        optimizer.step()
    assert_same_weights(ours, plain, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(
    "model",
    [from_file("Recurrent", dropout=0.5), from_file("WithEverything")],
    ids=["dropout", "tables"],
)
def test_resumed_is_uninterrupted_bit_for_bit(
    tmp_path: Path, model: ModelConfig, optimizer: str
) -> None:
    """What is drawn, and tables such as running means, go on where they were."""
    cell = cell_of(model, optimizer=optimizer)
    whole = trained(cell)
    saving = Saving(path=tmp_path / "resume.pt", every_s=0.0)
    with pytest.raises(KeyboardInterrupt):
        trained(cell, saving, kill_at=5)
    torch.rand(3)  # a new process draws other numbers
    assert_same_weights(trained(cell, saving).model, whole.model, rtol=0, atol=0)


@pytest.mark.slow
def test_cells_run_are_measured_and_kept(tmp_path: Path) -> None:
    """Trials one by one; weights and file are kept so that the file may go."""
    mine = tmp_path / "mine.py"
    mine.write_text(FILE.read_text(encoding="utf-8"), encoding="utf-8")
    own = dataclasses.replace(from_file("Recurrent"), file=str(mine))
    cells = [
        dataclasses.replace(tiny_cell(tune=TUNED), model=model)
        for model in (own, ModelConfig(hf=Settings(QWEN)))
    ]
    run = RunDirectory(tmp_path / "run")
    run.prepare()
    cells = with_kept_files(cells, run)
    mine.write_text("changed = True\n", encoding="utf-8")
    neighbour = dict.fromkeys(cell.cell_id for cell in cells)
    run_cells(cells, neighbour, run, sweep="own", device=CPU)
    for cell in cells:
        directory = run.cell(cell.cell_id)
        row = directory.result()
        assert row is not None and row.status == "ok", row
        assert [trial.n_trials_fused for trial in directory.trials()] == [1, 1]
        assert row.model == cell.model.title and row.n_layer == 2
    for path in run.path.glob(f"models/*/{mine.name}"):
        path.unlink()
    for cell in cells:
        directory = run.cell(cell.cell_id)
        model, _ = load_model(directory.path)
        ((group,),) = measure(model, build_corpus(cell.data), seed=cell.seed)
        row = directory.result()
        assert row is not None and total_bits([group]) == pytest.approx(row.stored_bits, rel=1e-6)
        assert (directory.checkpoint / SOURCE).exists() == (cell.model.file is not None)
        with pytest.raises(UserError, match="no model of kcap's own"):
            load_cell_model(directory.path)
    _quantized(run, cells)


def _quantized(run: RunDirectory, cells: list[Cell]) -> None:
    recurrent, qwen = (cell.cell_id for cell in cells)
    rtn = QuantizeConfig(method="rtn", bits=8, group_size=16)
    row = run_job(QuantizeJob(cell_id=qwen, config=rtn), run, device=CPU)
    before = run.cell(qwen).result()
    assert row.status == "ok" and before is not None
    assert row.stored_bits == pytest.approx(before.stored_bits, rel=0.1)
    assert row.bits_per_weight is not None and 8 < row.bits_per_weight < 16
    for cell_id, config, reason in (
        (qwen, QuantizeConfig(method="gptq", bits=8), "gptq works on kcap's own decoder alone"),
        (recurrent, rtn, "no torch.nn.Linear inside"),
    ):
        row = run_job(QuantizeJob(cell_id=cell_id, config=config), run, device=CPU)
        assert row.status == "failed" and reason in row.reason and "\n" not in row.reason


def test_one_that_looks_ahead_is_a_failed_row(tmp_path: Path) -> None:
    cell = dataclasses.replace(tiny_cell(), model=from_file("Bidirectional"))
    run = RunDirectory(tmp_path)
    run.prepare()
    run_cells([cell], {cell.cell_id: None}, run, sweep="own", device=CPU)
    row = run.cell(cell.cell_id).result()
    assert row is not None and row.status == "failed" and "not causal" in row.reason


def _worker(rank: int, folder: str, model: ModelConfig) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=2)
    with float64():
        cell = cell_of(model, workers=2, load_balance=0.0)
        result = train(
            TrainStep(
                cell, own_spec(cell.model, VOCAB, N_TOKENS), [POINT], n_steps=N_STEPS, device=CPU
            ),
            lambda step: batches(step, slice(2 * rank, 2 * rank + 2)),
        )
    torch.save(weights_of(result.model), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize(
    ("model", "rtol", "atol"),
    [
        (from_file("WithEverything"), 1e-9, 1e-10),
        # Its norms are computed in float32: of all that the weights move, 12 steps of the rate,
        # rounding may change a ten thousandth.
        (ModelConfig(hf=Settings(QWEN)), 0.0, 1e-4 * N_STEPS * POINT.lr),
    ],
    ids=["of a file", "of transformers"],
)
def test_two_workers_train_as_one_does(
    tmp_path: Path, model: ModelConfig, rtol: float, atol: float
) -> None:
    """Weights that take no part in the loss too. What a module calls `aux_loss` is left out: of two
    halves of a batch it need not be the mean.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    spawn(_worker, (str(tmp_path), model), nprocs=2)
    one = weights_of(trained(cell_of(model, load_balance=0.0)).model)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    for name, tensor in one.items():
        if name.endswith("n_calls"):
            continue
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)
        torch.testing.assert_close(first[name], tensor, rtol=rtol, atol=atol)


@pytest.mark.slow
@pytest.mark.parametrize("build", ["Bigram", "OddlyKept", "KeepsTables", "Rotated"])
def test_what_is_kept_is_what_was_measured(build: str, tmp_path: Path) -> None:
    """Of a model without any layer, of weights that lie otherwise in memory, of a table that the
    file keeps, and of one that is drawn and not saved: with any seed the checkpoint has the bits of
    the row.
    """
    cell = dataclasses.replace(cell_of(from_file(build), window_tokens=96), seed=1)
    run = RunDirectory(tmp_path)
    run_cells([cell], {}, run, sweep="s", device=CPU)
    row = run.cell(cell.cell_id).result()
    assert row is not None and row.status == "ok", row
    assert (row.capacity_ratio_non_embedding is None) == (build == "Bigram")
    model, kept = load_model(run.cell(cell.cell_id).path)
    (groups,) = measure(model, build_corpus(kept.data), seed=cell.seed)
    assert total_bits(groups) == pytest.approx(row.stored_bits, rel=1e-6)
