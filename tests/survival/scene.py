"""A small run as a stranger has it: the command in a process of its own, made by forking this one,
which has loaded everything that it needs; and the table of an undisturbed run.
"""

import contextlib
import io
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from tests.small_sweep import sweep_text

SWEEP = sweep_text(exposures=10)

SINGLE = SWEEP[: SWEEP.index("tune:")].replace("name: small", "name: single")
"""The same without a search."""

DIFFERS = ("train_time_s", "measure_time_s", "tokens_per_s", "git_commit")
"""Times, and a mark of uncommitted changes, which others may make meanwhile."""

SIGNALS = (signal.SIGINT, signal.SIGTERM)

LONGEST_S = 300.0
"""Longest that a command may take, on a machine that is busy with something else."""

Row = dict[str, object]


def nothing() -> None:
    """What is done in most processes before the command."""


@dataclass
class Scene:
    """A directory for one event, and what the run in it must end with."""

    folder: Path
    chance: random.Random
    expected: list[Row] = field(default_factory=list)
    sweep: str = SWEEP
    """Text of the sweep file."""
    takes_s: float = 1.0
    """Time that the command takes undisturbed."""
    n_commands: int = 0

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    @property
    def said(self) -> str:
        """What the last command wrote."""
        return (self.folder / f"said{self.n_commands}.txt").read_text(errors="replace")

    def start(self, before: Callable[[], None] = nothing) -> int:
        """Start the command, after `before` has been called in its process; the pid."""
        self.n_commands += 1
        said = self.folder / f"said{self.n_commands}.txt"
        sweep = self.folder / "small.yaml"
        sweep.write_text(self.sweep)
        sys.stdout.flush()
        sys.stderr.flush()
        # They arrive when the command can take them.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        pid = os.fork()
        if pid == 0:
            _be_command([str(sweep), "--out", str(self.out), "--save-every", "0.1"], said, before)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return pid

    def run(self, before: Callable[[], None] = nothing) -> int:
        """Run the command to its end; the exit status, negative for a signal."""
        return finish(self.start(before))

    def table(self) -> list[Row]:
        """The rows without times."""
        table = pq.read_table(self.out / "results.parquet")
        return table.drop_columns(list(DIFFERS)).to_pylist()

    def check(self) -> None:
        """The same command again: it ends well, leaves no temporary file, and gives the table of
        an undisturbed run.
        """
        status = self.run()
        assert status == 0, self.said
        assert self.table() == self.expected, self.said
        assert not list(self.out.rglob("*.tmp"))

    def fresh(self) -> None:
        """Begin anew, in an empty directory."""
        shutil.rmtree(self.out, ignore_errors=True)


def finish(pid: int) -> int:
    """Wait for a process that was started here; its exit status, negative for a signal."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("a command did not end")


def _be_command(arguments: list[str], said: Path, before: Callable[[], None]) -> None:
    """Be `kcap run-cell`, without the figures that it ends with; never returns."""
    status = 70
    try:
        with said.open("w", buffering=1) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            sys.stdout = sys.stderr = file
            for number in SIGNALS:
                signal.signal(number, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            from kcap_ray.cli import output
            from kcap_ray.cli.main import app

            output.report_of = lambda directory: directory
            before()
            try:
                signal.signal(signal.SIGINT, signal.default_int_handler)
                app(["run-cell", *arguments], prog_name="kcap")
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            except KeyboardInterrupt:  # it was not yet a command
                signal.signal(signal.SIGINT, signal.SIG_DFL)
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        os._exit(status)


def undisturbed(folder: Path) -> Scene:
    """A finished run, how long its command takes, and its table."""
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(folder, random.Random(0))
    scene.run()  # loads what is loaded late
    scene.fresh()
    began = time.monotonic()
    assert scene.run() == 0, scene.said
    scene.takes_s = time.monotonic() - began
    scene.expected = scene.table()
    assert [row["status"] for row in scene.expected] == ["ok", "ok"]
    return scene


def load_all() -> None:
    """Load in this process what the command loads in its own."""
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401

    import kcap_ray.cli.results_table
    import kcap_ray.execution.search
    import kcap_ray.execution.trial_batch
    import kcap_ray.planning.sweep  # noqa: F401
    from kcap_ray.cli.main import app

    # Typer loads parts of itself with its first command, which may open too few files for it.
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
        app(["run-cell", "--help"], prog_name="kcap")
