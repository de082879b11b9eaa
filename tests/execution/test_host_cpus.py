"""CPUs that a process may use."""

import os
from pathlib import Path

import pytest

from kcap_ray.execution import host_cpus
from kcap_ray.execution.host_cpus import own_cpus


@pytest.fixture
def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A container's file, on a machine of eight CPUs."""
    monkeypatch.setattr(host_cpus, "LIMIT", tmp_path / "cpu.max")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("text", "n_cpus"),
    [("max 100000", 8), ("250000 100000", 2), ("50000 100000", 1), ("1600000 100000", 8)],
)
def test_a_container_has_what_its_limit_says(limit: Path, text: str, n_cpus: int) -> None:
    """In whole CPUs, and at least one."""
    limit.write_text(text)
    assert own_cpus() == n_cpus


def test_a_user_may_ask_for_less(limit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And without a container all are there."""
    assert not limit.exists()
    assert own_cpus() == 8
    for wish, n_cpus in (("3", 3), ("20", 8), ("0", 8), ("many", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", wish)
        assert own_cpus() == n_cpus
