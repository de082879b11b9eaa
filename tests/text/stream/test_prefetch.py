"""Batches that are made ahead by processes."""

import numpy as np
import pytest

from kcap_ray.text.stream import prefetch
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.prefetch import prefetched_batches
from tests.tiny import tiny_cell


@pytest.mark.slow
@pytest.mark.parametrize("first", [0, 3])
def test_prefetched_batches_are_those_made_in_process(
    monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """Every batch from the first to the last, once and in order, with many more chunks than the
    processes make ahead.
    """
    monkeypatch.setattr(prefetch, "chunk_steps", lambda train: 1)
    cell, n_steps = tiny_cell(), 25
    own = list(in_process_batches(stream_of(cell), cell.train, n_steps=n_steps)(first))
    ahead = list(prefetched_batches(cell, n_steps=n_steps, n_processes=1)(first))
    assert len(ahead) == n_steps - first
    np.testing.assert_array_equal(ahead, own)
