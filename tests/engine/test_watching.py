"""A thread that looks at something every few seconds."""

import logging
import threading

import pytest

from kcap_ray.engine.watching import watching


def test_a_look_that_raises_is_no_last_one(caplog: pytest.LogCaptureFixture) -> None:
    """It is said once; True still ends it."""
    n_looks, is_done = 0, threading.Event()

    def look(_: threading.Event) -> bool:
        nonlocal n_looks
        n_looks += 1
        if n_looks < 4:
            raise RuntimeError("no answer")
        is_done.set()
        return True

    with caplog.at_level(logging.WARNING), watching(look, every_s=0.01):
        assert is_done.wait(10)
    assert n_looks == 4
    assert len(caplog.records) == 1
