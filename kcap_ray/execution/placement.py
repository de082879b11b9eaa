"""Placement of a trial batch on a device: all of them as one program, or as many as its memory
holds; threads on a CPU; and how many programs share a GPU.

None of it changes what is asked of a study. On a CPU it changes no bit of a trial's result either,
and on a GPU, or where a batch has to be taken in parts, nothing but roundings.
"""

import dataclasses
import gc
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kcap_ray.config.cell import Cell
from kcap_ray.execution.arithmetic import Arithmetic
from kcap_ray.execution.host_memory import available_host_bytes, host_bytes
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.planning.cost import device_of, flops_per_token
from kcap_ray.planning.memory import GIB, program_bytes
from kcap_ray.planning.run_length import length_of, trials_at_once
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.results import CellDirectory
from kcap_ray.training.freed_memory import give_back_freed_memory

if TYPE_CHECKING:
    import torch

USABLE = 0.8
"""Share of the available memory that is planned to be filled: of real programs, bf16 on CPUs took a
fifth more than estimated, the others up to a tenth.
"""

PLANNED_GPU, PLANNED_GPU_BYTES = "a100", 40 * GIB
"""Assumed of a GPU that is not up yet: here the smallest A100."""

PROCESS_BYTES = 1 * GIB
"""What a process takes of a GPU before it trains: CUDA's context and the libraries' kernels, some
hundreds of MB each.
"""

GPU_SHARES = (1, 2, 4)
"""Programs that may share a GPU."""

THREAD_FLOPS = 3.4e7
"""Work of a step for each thread on a CPU: half of the smallest step of fused trials, of 6.8e7
floating-point operations, that a second thread was seen to make faster, by a fifth
(`benchmarks/results/cpu_placement.json`; below that it gained 3 to 8%).
"""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """How the trials of a cell are trained; kept with the cell, so that it goes on in the same
    way.
    """

    device: str
    """Type of the device that it was chosen for: `cpu` or `cuda`."""
    n_fused: int
    """Most trials in one program."""
    micro_windows: int | None = None
    """Windows that pass through the model at a time; None is all of a batch."""
    n_threads: int | None = None
    """Threads on a CPU; None on a GPU."""
    arithmetic: Arithmetic | None = None
    """Of a cell with `train.precision: auto`; None where the cell says it."""

    def applied_to(self, cell: Cell) -> Cell:
        """The cell as the training loop is to see it; its identity in the ledger stays its own."""
        train = cell.train
        if self.micro_windows is not None:
            train = dataclasses.replace(train, micro_windows=self.micro_windows)
        if self.arithmetic is not None:
            train = dataclasses.replace(train, **dataclasses.asdict(self.arithmetic))
        return dataclasses.replace(cell, train=train)

    def halved(self, n_trials: int, n_windows: int) -> "Placement | None":
        """Half of the trials, of which there were `n_trials`, or for one trial half of the windows
        at a time; None if nothing is left to halve.
        """
        if n_trials > 1:
            return dataclasses.replace(self, n_fused=math.ceil(n_trials / 2))
        n_windows = min(n_windows, self.micro_windows or n_windows)
        if n_windows > 1:
            return dataclasses.replace(self, micro_windows=math.ceil(n_windows / 2))
        return None


def _file(directory: CellDirectory) -> Path:
    return directory.path / "setting.json"


def saved_placement(directory: CellDirectory, device: str) -> Placement | None:
    """The setting that the cell has been trained with on such a device, if there is one."""
    try:
        found = checked(_file(directory).read_text(encoding="utf-8"))
        placement = None if found is None else Placement(**found)
    except (FileNotFoundError, ValueError, TypeError):  # none, cut off, or of another version
        return None
    return placement if placement is not None and placement.device == device else None


def save_placement(directory: CellDirectory, placement: Placement) -> None:
    """Write the setting down, so that whoever goes on with the cell uses it too."""
    # The arithmetic has a file of its own, which all places of a cell share.
    own = dataclasses.asdict(dataclasses.replace(placement, arithmetic=None))
    del own["arithmetic"]
    text = json.dumps(with_checksum(own))
    write_atomically(_file(directory), f"{text}\n")


def need_bytes(
    cell: Cell, spec: AnySpec, placement: Placement, *, n_trials: int, n_windows: int
) -> int:
    """Memory that training `n_trials` trials in this way takes; `n_windows`: of a step on this
    device.
    """
    return program_bytes(
        cell,
        spec,
        n_trials=min(placement.n_fused, n_trials),
        n_windows=min(placement.micro_windows or n_windows, n_windows),
    )


def choose_placement(
    cell: Cell, spec: AnySpec, *, device: str, n_trials: int, n_windows: int, available: int
) -> Placement:
    """The fewest programs, and then the fewest parts of a batch, that fit into `available` bytes.

    Where not even one window fits, that is the setting all the same: the estimate may be too high.
    """
    n_own = min(n_windows, cell.train.micro_windows or n_windows)
    in_programs = (
        Placement(
            device=device,
            n_fused=math.ceil(n_trials / n_programs),
            micro_windows=cell.train.micro_windows,
        )
        for n_programs in range(1, n_trials + 1)
    )
    in_parts = (
        Placement(device=device, n_fused=1, micro_windows=math.ceil(n_own / n_parts))
        for n_parts in range(2, n_own + 1)
    )
    placement = Placement(device=device, n_fused=1, micro_windows=cell.train.micro_windows)
    for placement in itertools.chain(in_programs, in_parts):
        need = need_bytes(cell, spec, placement, n_trials=n_trials, n_windows=n_windows)
        if need <= USABLE * available:
            break
    return placement


def cpu_threads(cell: Cell, spec: AnySpec, *, n_fused: int, n_cpus: int) -> int:
    """Threads that train `n_fused` trials as one program: one for each of `n_cpus` CPUs, as long as
    each has `THREAD_FLOPS` of a step to do.
    """
    tokens = cell.train.batch_windows * cell.train.window_tokens
    flops = n_fused * tokens * flops_per_token(spec, cell.train.window_tokens)
    return max(1, min(n_cpus, int(flops / THREAD_FLOPS)))


def programs_per_gpu(cell: Cell, spec: AnySpec) -> int:
    """How many programs like the cell's should share a GPU: 1, 2 or 4.

    As many as fit its memory and keep it busy: a program that lets a GPU wait for half of its time,
    compiling and making the first windows, leaves half of it to another one. Steps are no such
    time, small as they may be: a recorded graph has no gaps, and processes take turns on a GPU.
    """
    train, n_trials = cell.train, trials_at_once(cell, spec)
    gpu = device_of(PLANNED_GPU)
    need = program_bytes(cell, spec, n_trials=n_trials, n_windows=train.batch_windows)
    steps_s = length_of(cell).steps * gpu.step_s(
        spec,
        tokens=train.batch_windows * train.window_tokens,
        window_tokens=train.window_tokens,
        n_trials=n_trials,
        optimizer=train.optimizer,
    )
    busy = steps_s / (steps_s + gpu.start_s)
    return max(
        k
        for k in GPU_SHARES
        if k == 1 or (k * busy <= 1 and k * (PROCESS_BYTES + need) <= USABLE * PLANNED_GPU_BYTES)
    )


def available_bytes(device: "torch.device", *, n_sharing: int) -> int:
    """Bytes that one of `n_sharing` programs on this device may use.

    On a GPU what is free now, with what this process holds without need, but not more than its
    share of the whole; on a CPU its share of the memory that is free, or of half of all where the
    system does not say.
    """
    if device.type == "cpu":
        give_back_freed_memory()
        available = available_host_bytes()
        return (host_bytes() // 2 if available is None else available) // n_sharing
    import torch

    # A program that has ended hangs together with its compiled code; only this lets go of both.
    gc.collect()
    free, total = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return min(free + unused, total // n_sharing)
