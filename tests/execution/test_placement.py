import dataclasses
import math
import os
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.execution.placement import (
    GPU_SHARES,
    PLANNED_GPU_BYTES,
    THREAD_FLOPS,
    USABLE,
    Placement,
    available_bytes,
    choose_placement,
    cpu_threads,
    need_bytes,
    programs_per_gpu,
    save_placement,
    saved_placement,
)
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.memory import program_bytes
from kcap_ray.planning.run_length import spec_of, trials_at_once
from kcap_ray.runs.results import CellDirectory
from tests.tiny import BIOS, tiny_cell

CELL = tiny_cell(batch_windows=12)
SPEC = spec_of(CELL)


def fit(available: int, *, n_trials: int = 8, cell: Cell = CELL, n_windows: int = 12) -> Placement:
    """The setting for that much memory."""
    return choose_placement(
        cell, SPEC, device="cuda", n_trials=n_trials, n_windows=n_windows, available=available
    )


def need(placement: Placement, *, n_trials: int = 8) -> int:
    """Bytes that the setting takes."""
    return need_bytes(CELL, SPEC, placement, n_trials=n_trials, n_windows=12)


@given(share=st.floats(0.01, 1.5), n_trials=st.integers(1, 8), own=st.one_of(st.none(), st.just(5)))
def test_the_setting_fits_and_the_next_larger_one_does_not(
    share: float, n_trials: int, own: int | None
) -> None:
    """With more memory fewer programs; parts of a batch only where one trial is too much. Only the
    smallest setting of all may be too large.
    """
    cell = dataclasses.replace(CELL, train=dataclasses.replace(CELL.train, micro_windows=own))
    whole = Placement(device="cuda", n_fused=n_trials, micro_windows=own)
    available = int(share * need(whole, n_trials=n_trials) / USABLE)
    found = fit(available, n_trials=n_trials, cell=cell)
    n_own = own or 12
    is_smallest = found.n_fused == 1 and found.micro_windows == 1
    assert is_smallest or need(found, n_trials=n_trials) <= USABLE * available
    if found.micro_windows != own:
        assert found.n_fused == 1 and found.micro_windows is not None
        n_parts = math.ceil(n_own / found.micro_windows)
        larger = dataclasses.replace(found, micro_windows=math.ceil(n_own / (n_parts - 1)))
    elif found.n_fused < n_trials:
        n_programs = math.ceil(n_trials / found.n_fused)
        larger = dataclasses.replace(found, n_fused=math.ceil(n_trials / (n_programs - 1)))
    else:
        return
    assert need(larger, n_trials=n_trials) > USABLE * available


def test_halving_ends_at_one_window_of_one_trial() -> None:
    """Trials first, then windows; each step is a smaller one, and the last one is None."""
    placement: Placement | None = Placement(device="cuda", n_fused=5)
    steps = []
    while placement is not None:
        steps.append((placement.n_fused, placement.micro_windows))
        placement = placement.halved(placement.n_fused, 6)
    assert steps == [(5, None), (3, None), (2, None), (1, None), (1, 3), (1, 2), (1, 1)]


def test_a_setting_changes_what_is_trained_and_not_who_it_is() -> None:
    """Parts of a batch go to the training loop; nothing else does, and it is still the cell."""
    applied = Placement(device="cpu", n_fused=2, micro_windows=3).applied_to(CELL)
    assert applied.train.micro_windows == 3
    assert applied.cell_id == CELL.cell_id
    assert Placement(device="cpu", n_fused=2, n_threads=4).applied_to(CELL) == CELL


@given(n_fused=st.integers(1, 8), n_cpus=st.integers(1, 256), n_windows=st.integers(1, 64))
def test_a_thread_for_each_cpu_that_has_enough_to_do(
    n_fused: int, n_cpus: int, n_windows: int
) -> None:
    """At least one, at most the CPUs; one more would have less than `THREAD_FLOPS` of a step."""
    cell = tiny_cell(batch_windows=n_windows)
    n_threads = cpu_threads(cell, SPEC, n_fused=n_fused, n_cpus=n_cpus)
    assert 1 <= n_threads <= n_cpus
    tokens = n_windows * cell.train.window_tokens
    flops = n_fused * tokens * flops_per_token(SPEC, cell.train.window_tokens)
    assert n_threads == 1 or flops / n_threads >= THREAD_FLOPS
    assert n_threads == n_cpus or flops / (n_threads + 1) < THREAD_FLOPS


def test_a_kept_setting_is_for_its_kind_of_device(tmp_path) -> None:
    """It comes back as it was; not on another device, and not if the file was cut off."""
    directory = CellDirectory(tmp_path)
    assert saved_placement(directory, "cpu") is None
    placement = Placement(device="cpu", n_fused=2, n_threads=3)
    save_placement(directory, placement)
    assert saved_placement(directory, "cpu") == placement
    assert saved_placement(directory, "cuda") is None
    file = tmp_path / "setting.json"
    file.write_text(file.read_text()[:20])
    assert saved_placement(directory, "cpu") is None


def wide_cell(model: str, **train: Any) -> Cell:
    """A cell with heads 64 wide and windows of 512 tokens."""
    tune = TuneConfig(trials=6, lr=Range(low=1e-4, high=1e-2))
    cell = tiny_cell(BIOS, model=model, tune=tune, window_tokens=512, exposures=1_000, **train)
    return dataclasses.replace(cell, model=dataclasses.replace(cell.model, head_dim=64))


@pytest.mark.parametrize("model", ["gpt2-1-1", "gpt2-2-2", "gpt2-6-6", "gpt2-12-12", "gpt2-24-16"])
@pytest.mark.parametrize("batch_windows", [1, 12, 96, 960])
def test_programs_that_share_a_gpu_have_room(model: str, batch_windows: int) -> None:
    """All of them fit at a time into the GPU that is planned for."""
    cell = wide_cell(model, batch_windows=batch_windows)
    spec = spec_of(cell)
    k = programs_per_gpu(cell, spec)
    need = program_bytes(
        cell, spec, n_trials=trials_at_once(cell, spec), n_windows=cell.train.batch_windows
    )
    assert k in GPU_SHARES
    assert k == 1 or k * need < PLANNED_GPU_BYTES


def test_programs_that_leave_a_gpu_idle_share_it() -> None:
    """Short ones, four at a time; long ones have it for themselves, small as their steps may be."""
    short = wide_cell("gpt2-1-1", batch_windows=1)
    long = dataclasses.replace(
        short, train=dataclasses.replace(short.train, exposures=10 * short.train.exposures**2)
    )
    assert programs_per_gpu(short, spec_of(short)) == max(GPU_SHARES)
    assert programs_per_gpu(long, spec_of(long)) == 1


def test_programs_beside_each_other_share_what_is_at_hand() -> None:
    """There is some memory, less than this machine has, and two programs get half each."""
    alone, shared = (available_bytes(torch.device("cpu"), n_sharing=n) for n in (1, 2))
    assert 0 < alone <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert shared == pytest.approx(alone / 2, rel=0.2)
