"""A piece of work on a GPU, recorded once and then replayed as one launch."""

from collections.abc import Callable

import torch
from torch import Tensor

N_WARM_UP = 3
"""Calls before the recording: libraries set themselves up in the first ones."""


class GraphedWork:
    """Calls `work(input)` a few times as it is, then replays it as a CUDA graph.

    `work` must do the same on every call, with tensors that stay where they are, and never wait for
    the device. Tensors that it assigns while it is recorded are filled again by every replay.
    """

    def __init__(self, work: Callable[[Tensor], None], device: torch.device) -> None:
        self._work, self._device = work, device
        # Graphs are recorded on a stream of their own, and autograd wants it to be the same one
        # that the first calls were on.
        self._side = torch.cuda.Stream(device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._input: Tensor | None = None
        self._n_calls = 0

    def __call__(self, pinned: Tensor) -> None:
        """`pinned`: the input in pinned memory of the host, of the same shape every time."""
        if self._input is None:
            self._input = pinned.to(self._device)
        else:
            self._input.copy_(pinned, non_blocking=True)
        if self._n_calls == N_WARM_UP:
            self._graph = torch.cuda.CUDAGraph()
            # Recording runs nothing; the replay below is this call's work.
            with torch.cuda.graph(self._graph, stream=self._side):
                self._work(self._input)
        self._n_calls += 1
        if self._graph is not None:
            self._graph.replay()
            return
        self._side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._side):
            self._work(self._input)
        torch.cuda.current_stream().wait_stream(self._side)
