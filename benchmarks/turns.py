"""Sides that take turns on one machine, so that what slows it down slows all of them."""

import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch
from torch import Tensor

N_COMPARED = 50
"""Steps over which losses have to agree."""

Side = Callable[[int], Tensor]
"""Takes a step on the batch of that number, and returns its loss."""

Turn = Callable[[int, int], tuple[float, Sequence[Tensor]]]
"""Takes as many steps as the second number says, from the first on; seconds, and the losses."""


Clock = Callable[[], float]
"""Seconds since some moment."""


def wait(device: torch.device) -> None:
    """Until the device has done all that it was asked to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def later(side: Side, n_steps: int) -> Side:
    """The side with its steps counted from `n_steps` on."""

    def take(step: int) -> Tensor:
        return side(step + n_steps)

    return take


def clock_of(device: torch.device) -> Clock:
    """On a CPU the time that this process works, which other programs take nothing from: for sides
    of one thread.
    """
    return time.process_time if device.type == "cpu" else time.perf_counter


def turn_of(side: Side, device: torch.device, clock: Clock = time.perf_counter) -> Turn:
    """A side of this process, timed until the device is done."""

    def take(first: int, n_steps: int) -> tuple[float, list[Tensor]]:
        wait(device)
        began = clock()
        losses = [side(first + step) for step in range(n_steps)]
        wait(device)
        return clock() - began, losses

    return take


@contextlib.contextmanager
def turns_of_process(work: Callable[..., None], *arguments: Any) -> Iterator[Turn]:
    """Turns of a process that does `work`, which is asked for them through a pipe, its first
    argument, and answers with seconds and losses.

    Raises `EOFError` if the process ends before its time.
    """
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=work, args=(theirs, *arguments), daemon=True)
    process.start()
    # Only its own end keeps the pipe open, so that its death is noticed.
    theirs.close()

    def take(first: int, n_turn: int) -> tuple[float, list[Tensor]]:
        ours.send((first, n_turn))
        seconds, losses = ours.recv()
        return seconds, list(torch.from_numpy(losses))

    try:
        yield take
    finally:
        ours.close()
        process.join(timeout=30)
        process.kill()


@dataclass(kw_only=True)
class Race:
    """What a race measured; the first round, in which everybody warms up, is left out of times."""

    step_s: dict[str, list[float]] = field(default_factory=dict)
    """Seconds per step of each side, round by round."""
    losses: dict[str, list[Tensor]] = field(default_factory=dict)
    """Loss of each side at every step."""

    def median_s(self, side: str) -> float:
        """Seconds per step of a side, the median over rounds."""
        return statistics.median(self.step_s[side])

    def loss_curve(self, side: str) -> np.ndarray:
        """Losses [n_steps] of a side."""
        return torch.stack(self.losses[side]).reshape(-1).float().cpu().numpy()

    def differences(self, side: str, other: str) -> np.ndarray:
        """Relative differences [n_steps] of two sides' losses at the same step."""
        ours, theirs = self.loss_curve(side), self.loss_curve(other)
        assert ours.shape == theirs.shape, "the sides have not taken the same number of steps"
        return np.abs(ours / theirs - 1)

    def comparison(self, side: str, other: str, tolerance: float) -> dict[str, Any]:
        """Whether the sides did the same work, for the record: over the first steps, since later
        ones carry every rounding on.
        """
        differences = self.differences(side, other)
        first = float(differences[:N_COMPARED].max())
        return {
            "losses_agree": first < tolerance,
            "losses_differ_by": first,
            "tolerance": tolerance,
            "steps_compared": min(N_COMPARED, len(differences)),
            "losses_differ_by_in_all": float(differences.max()),
        }


class Turns:
    """Lets every side take its turns, and keeps times and losses."""

    def __init__(self, sides: Mapping[str, Turn], *, steps: int) -> None:
        """`steps`: of a turn."""
        self.sides, self.steps = sides, steps
        self.race = Race()
        self._n_rounds = 0

    def __call__(self) -> None:
        """One round of all sides."""
        first = self._n_rounds * self.steps
        for name, take in self.sides.items():
            self.add(name, *take(first, self.steps))
        self._n_rounds += 1

    def add(self, name: str, seconds: float, losses: Iterable[Tensor]) -> None:
        """A side has taken its turn."""
        self.race.losses.setdefault(name, []).extend(losses)
        times = self.race.step_s.setdefault(name, [])
        if self._n_rounds > 0:
            times.append(seconds / self.steps)


def exit_status(claims: Iterable[dict[str, Any]]) -> int:
    """1, and a word about it, if a peer did other work; the numbers are written all the same."""
    others = [one["peer_is"] for one in claims if not one["losses_agree"]]
    if others:
        print(f"not the same losses: {', '.join(others)}", file=sys.stderr)
    return 1 if others else 0
