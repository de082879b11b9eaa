import contextlib
import dataclasses
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kcap_ray.config.cell import Cell, Precision
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec, parse_model
from kcap_ray.planning import memory
from kcap_ray.planning.memory import program_bytes
from tests.tiny import MODELS, random_tokens, tiny_cell

ROOT = Path(__file__).parents[2]

VOCAB, WINDOWS, TOKENS = 101, 2, 64


def saved_bytes(model: Decoder, precision: Precision) -> int:
    """What a forward pass of the model saves for the backward pass, weights aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    own |= {buffer.untyped_storage().data_ptr() for buffer in model.buffers()}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    autocast = torch.autocast("cpu", dtype=torch.bfloat16)
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        autocast if precision == "bf16" else contextlib.nullcontext(),
    ):
        model.loss(random_tokens(WINDOWS, TOKENS + 1))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def spec_and_cell(name: str, precision: Precision) -> tuple[ModelSpec, Cell]:
    """A model of that name, and a cell that trains it."""
    cell = tiny_cell(model=name, precision=precision, window_tokens=TOKENS)
    return parse_model(name, head_dim=16, vocab_size=VOCAB), cell


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_a_forward_pass_saves(name: str, precision: Precision) -> None:
    """Of every architecture, at full and at low precision: within a tenth to a quarter."""
    spec, cell = spec_and_cell(name, precision)
    n_trials = 3
    model = Decoder(spec, n_tokens=TOKENS, n_trials=n_trials)
    model.init_weights(seed=0, std=0.02)
    saved = saved_bytes(model, precision)
    # The estimate counts copies of the weights and the logits by themselves.
    saved -= 2 * n_trials * spec.n_params if precision == "bf16" else 0
    saved -= 4 * n_trials * WINDOWS * TOKENS * VOCAB
    estimate = n_trials * WINDOWS * TOKENS * memory._activation_bytes(cell, spec)
    assert 0.9 * saved < estimate < 1.25 * saved


def test_more_of_anything_needs_more() -> None:
    """Trials, windows and clipping; Trials without end need memory in proportion."""
    spec, cell = spec_and_cell("gpt2-2-2", "fp32")
    need = program_bytes(cell, spec, n_trials=2, n_windows=2)
    assert need > program_bytes(cell, spec, n_trials=1, n_windows=2)
    assert need > program_bytes(cell, spec, n_trials=2, n_windows=1)
    assert program_bytes(cell, spec, n_trials=4, n_windows=2) == 2 * need
    few = dataclasses.replace(cell.train, grad_clip=1.0)
    wide = parse_model("gpt2-2-8", head_dim=64, vocab_size=VOCAB)
    clipped = dataclasses.replace(cell, train=few)
    needs = [program_bytes(c, wide, n_trials=1, n_windows=1) for c in (cell, clipped)]
    assert needs[1] - needs[0] == 4 * wide.n_params


def test_logits_of_the_whole_vocabulary_are_counted_as_they_are_made() -> None:
    """Part by part, as many as the decoder makes at once."""
    cell = tiny_cell(window_tokens=512)
    spec = parse_model("gpt2-1-1", head_dim=16, vocab_size=50_257)
    needs = [program_bytes(cell, spec, n_trials=1, n_windows=n) for n in (20, 21, 42, 63)]
    assert needs[0] < needs[1] - 16 * 512 * 50_257 / 2
    assert needs[3] - needs[2] == needs[2] - needs[1]


PEAKS = """
import dataclasses, os
from pathlib import Path
import numpy as np, torch
from kcap_ray.planning.memory import program_bytes
from kcap_ray.models.spec import parse_model
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.tiny import tiny_cell

def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024

def peak(name, head_dim, n_trials, n_windows, **train):
    cell = tiny_cell(model=name, batch_windows=n_windows, window_tokens=128, **train)
    spec = parse_model(name, head_dim=head_dim, vocab_size=3_500)
    Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets the peak
    before = status("VmRSS")
    points = [Point(lr=1e-3, weight_decay=0.1)] * n_trials
    step = TrainStep(cell, spec, points, n_steps=9, device=torch.device("cpu"))
    for _ in range(2):
        step(np.zeros((n_windows, 129), dtype=np.int64))
    estimate = program_bytes(cell, spec, n_trials=n_trials, n_windows=n_windows)
    return estimate, status("VmHWM") - before

def in_child(*arguments, **train):
    for _ in range(3):
        if os.fork() == 0:
            estimate, real = peak(*arguments, **train)
            print(*arguments, estimate, real, flush=True)
            os._exit(0)
        os.wait()

torch.set_num_threads(1)
peak("gpt2-1-1", 16, 1, 1)
in_child("gpt2-2-2", 32, 1, 16)
in_child("gpt2-2-2", 32, 4, 4)
in_child("gpt2-4-4", 64, 3, 1, grad_clip=1.0)
in_child("gpt2-2-4", 64, 4, 1, optimizer="muon")
in_child("llama-2-2", 32, 4, 4, precision="bf16")
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peaks are read from Linux")
def test_estimates_are_near_the_peaks_of_real_programs() -> None:
    """One trial and several; bound by logits, by activations and by weights; every optimizer.

    A process that forks shares memory with its child, some 30 MiB of which the child soon makes
    its own: programs of 150 MiB and more can be compared. Of three runs the median counts: a
    kernel that takes pages of idle processes away changes what is measured now and then.
    """
    done = subprocess.run(
        [sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True, cwd=ROOT
    )
    ratios: dict[str, list[float]] = {}
    for *shape, estimate, real in (line.split() for line in done.stdout.splitlines()):
        ratios.setdefault(" ".join(shape), []).append(int(estimate) / int(real))
    assert [len(own) for own in ratios.values()] == [3] * 5
    assert all(0.6 < statistics.median(own) < 1.3 for own in ratios.values()), ratios
