"""Sweeps on real Ray: as a command in another process, and in one session that tests share."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.small_sweep import sweep_text

TIMEOUT_S = 600
"""Longest that one command may take, on a machine that is busy with something else."""

SWEEP = sweep_text(exposures=100)

DIFFERS = ["train_time_s", "measure_time_s", "tokens_per_s", "git_commit"]
"""Columns that differ from run to run."""

WITHOUT_REPORT = [str(Path(__file__).parent / "kcap")]
WITH_REPORT = ["-m", "kcap_ray.cli"]
"""What Python is given to be `kcap`."""


class Command:
    """A `kcap` command in a process of its own."""

    def __init__(self, *arguments: object, program: Sequence[str] = WITHOUT_REPORT) -> None:
        command = [sys.executable, *program, *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.stdout = self.stderr = ""

    def finish(self) -> int:
        """Wait for the end; the exit status."""
        self.stdout, self.stderr = self.process.communicate(timeout=TIMEOUT_S)
        return self.process.returncode

    def wait_for(self, happened: Any) -> Any:
        """Wait until `happened()` is true, and return it; the command must not end before."""
        end = time.monotonic() + TIMEOUT_S
        while not (found := happened()):
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "waited for too long"
            time.sleep(0.02)
        return found

    def descendants(self) -> dict[int, str]:
        """Processes that the command has started, directly or not: pid to command line."""
        return descendants(self.process.pid)

    def kill(self) -> None:
        """End the process as a power cut does, and then what it had started."""
        started = self.descendants()
        self.process.kill()
        self.process.communicate()
        # Most of it ends by itself; two of Ray's agents take a minute to notice.
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def descendants(parent: int) -> dict[int, str]:
    """Processes that a process has started, directly or not: pid to command line."""
    children: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            started_by = int(status.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(started_by, []).append(int(status.parent.name))
    found, todo = {}, [parent]
    while todo:
        for pid in children.get(todo.pop(), []):
            try:
                found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            todo.append(pid)
    return found


@pytest.fixture
def kcap() -> Iterator[Any]:
    """Starts a `kcap` command; what still runs at the end of the test is killed."""
    commands = []

    def start(*arguments: object) -> Command:
        commands.append(Command(*arguments))
        return commands[-1]

    yield start
    for command in commands:
        if command.process.poll() is None:
            command.kill()


@pytest.fixture
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of commands have one CPU, so one worker trains: its imports are half of the time."""
    monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"CPU": 1}')


@pytest.fixture(scope="session")
def small_sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep file of all these tests."""
    path = tmp_path_factory.mktemp("sweep") / "small.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture(scope="session")
def undisturbed(
    small_sweep: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Command, Path]:
    """The small sweep run to its end, and its directory."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    command = Command("sweep", small_sweep, "--out", out, program=WITH_REPORT)
    try:
        command.finish()
    finally:
        if command.process.poll() is None:
            command.kill()
    return command, out


def warnings_in(stderr: str) -> list[str]:
    """The lines of a command's log that are warnings."""
    return [line for line in stderr.splitlines() if line.split()[2:3] == ["WARNING"]]


def table(out: Path) -> pd.DataFrame:
    """The results of a run without what differs from run to run."""
    return pd.read_parquet(out / "results.parquet").drop(columns=DIFFERS)


@pytest.fixture(scope="session")
def session() -> Iterator[str]:
    """A Ray session of this process; its address, at which other processes can join."""
    from kcap_ray.engine.session import ray_session

    with ray_session(None):
        import ray

        yield ray.get_runtime_context().gcs_address
