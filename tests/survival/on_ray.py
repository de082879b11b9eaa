"""What happens to a run on real Ray: processes of the session are killed while it is at work. Each
event is a sweep in a process and a session of its own.
"""

import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from tests.engine.conftest import SWEEP, Command
from tests.engine.raylets import add_node, raylets
from tests.engine.test_data_parallel import assert_same_but_for_rounding, cell_on
from tests.survival.scene import DIFFERS, Row

NOT_STARTED = "Ray does not start on this machine"
MOST_STARTS = 3
"""Times that a command is given while the machine has no time for Ray."""


class NotStartedError(Exception):
    """An event did not happen, for want of a session."""


OF_DATA = re.compile(r"ray::(IDLE|.*Read|.*Map|.*Split|_StatsActor)")
"""Processes that make windows, or have made some, and Ray Data's own."""


@dataclass
class RayScene:
    """A directory for one event on Ray, and what the run in it must end with."""

    folder: Path
    chance: random.Random
    expected: list[Row]

    @property
    def out(self) -> Path:
        """The run directory."""
        return self.folder / "run"

    @property
    def sweep(self) -> Path:
        """The sweep file, made if it is not there."""
        path = self.folder / "small.yaml"
        if not path.exists():
            path.write_text(SWEEP)
        return path

    def start(self, *more: str, save_every_s: float = 0.5) -> Command:
        """Start the command, and wait until some cell is at work."""
        arguments = ["--out", self.out, "--save-every", save_every_s, *more]
        command = Command("sweep", self.sweep, *arguments)
        try:
            command.wait_for(lambda: any(self.out.glob("cells/*/progress.json")))
        except AssertionError as error:
            if NOT_STARTED in str(error):
                raise NotStartedError from error
            raise
        return command

    def table(self) -> list[Row]:
        """The rows without times."""
        table = pq.read_table(self.out / "results.parquet")
        return table.drop_columns(list(DIFFERS)).to_pylist()

    def check(self) -> None:
        """The same command again: the table is that of an undisturbed run."""
        for _ in range(MOST_STARTS):
            command = Command("sweep", self.sweep, "--out", self.out)
            if ends_well(command):
                break
        else:
            raise NotStartedError
        assert self.table() == self.expected
        assert not list(self.out.rglob("*.tmp"))


def ends_well(command: Command) -> bool:
    """Whether the command did all that it should; False where Ray did not start on a machine that
    is busy with something else, which the command says. Raises AssertionError otherwise.
    """
    status = finish(command)
    assert status == 0 or NOT_STARTED in command.stderr, command.stderr
    return status == 0


def finish(command: Command) -> int:
    """The exit status; what it has started ends with it if it does not end in time."""
    try:
        return command.finish()
    finally:
        if command.process.poll() is None:
            command.kill()


def kill_one(
    scene: RayScene, command: Command, named: Callable[[str], bool], number: int = signal.SIGKILL
) -> tuple[int, str]:
    """Send a signal to one of the command's processes with such a command line, chosen by chance;
    its pid and command line.
    """

    def find() -> list[tuple[int, str]]:
        return sorted((pid, line) for pid, line in command.descendants().items() if named(line))

    pid, line = scene.chance.choice(command.wait_for(find))
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    return pid, line.split()[0].rpartition("/")[2]


def is_trainer(line: str) -> bool:
    """Whether that is a process which trains a trial."""
    return "ResourceTrainable.train" in line


def _driver_ended_by(number: signal.Signals) -> Callable[[RayScene], str]:
    def event(scene: RayScene) -> str:
        """The command gets a signal at any time; its session goes with it."""
        after_s = scene.chance.uniform(0.0, 4.0)
        command = scene.start()
        time.sleep(after_s)
        if command.process.poll() is not None:
            return "nothing: it was done before"
        if number == signal.SIGKILL:
            command.kill()
        else:
            command.process.send_signal(number)
            assert finish(command) in (0, 130), command.stderr
            assert command.stderr.rstrip().endswith("goes on from here") or (
                command.process.returncode == 0
            )
        return f"{number.name} {after_s:.1f} s after the first step"

    return event


def _worker_once(scene: RayScene) -> str:
    """A worker dies: the command goes on, and says so in a line."""
    number = scene.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
    command = scene.start()
    time.sleep(scene.chance.uniform(0.0, 1.0))
    pid, _ = kill_one(scene, command, is_trainer, number)
    ends_well(command)
    return f"{signal.Signals(number).name} to worker {pid}"


def _worker_thrice(scene: RayScene) -> str:
    """Workers die until a cell is given up: the next command does it all the same."""
    command, killed = scene.start(), set()
    end = time.monotonic() + 150
    while command.process.poll() is None and time.monotonic() < end and len(killed) < 3:
        for pid, line in command.descendants().items():
            if is_trainer(line) and pid not in killed:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                killed.add(pid)
        time.sleep(0.05)
    status = finish(command)
    assert status in (0, 1), command.stderr
    return f"SIGKILL to workers, {len(killed)} times (exit status {status})"


def _process_of_session(name: str) -> Callable[[RayScene], str]:
    def event(scene: RayScene) -> str:
        """The session is lost: the command says so and begins again."""
        command = scene.start()
        time.sleep(scene.chance.uniform(0.0, 1.0))
        kill_one(scene, command, lambda line: line.split(" ")[0].endswith(f"/{name}"))
        ends_well(command)
        assert f"Ray's {name} ended (SIGKILL); it starts again" in command.stderr
        return f"SIGKILL to {name}"

    return event


def _data_worker(scene: RayScene) -> str:
    """A process that makes windows dies."""
    command = scene.start()
    pid, name = kill_one(scene, command, lambda line: OF_DATA.match(line) is not None)
    ends_well(command)
    return f"SIGKILL to {name} {pid}"


def _rank(scene: RayScene) -> str:
    """One of two data-parallel workers dies; the table is the undisturbed one to rounding."""
    first, one, alone = cell_on(1, scene.sweep, scene.folder / "alone")
    _, two, arguments = cell_on(2, scene.sweep, scene.out)
    assert ends_well(Command("run-cell", *alone))
    command = Command("sweep", *arguments, "--save-every", "0.5")
    command.wait_for(lambda: two.resume_file(0).exists())
    time.sleep(scene.chance.uniform(0.0, 1.0))
    pid, _ = kill_one(scene, command, lambda line: "RayTrainWorker" in line)
    ends_well(command)
    if not ends_well(Command("sweep", *arguments)):
        raise NotStartedError
    assert_same_but_for_rounding(first, one, two)
    return f"SIGKILL to rank in process {pid}"


def _spot_notice(scene: RayScene) -> str:
    """One of two machines is to be taken away in some seconds, and is: what is at work has been
    saved before.
    """
    with raylets() as cluster:
        nodes = [add_node(cluster) for _ in range(2)]
        command = scene.start("--address", str(cluster.address), save_every_s=1_000.0)
        node = scene.chance.choice(nodes)
        place = ["--address", cluster.address, "--node-id", node.node_id]
        why = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "spot"]
        when = ["--deadline-remaining-seconds", "20"]
        ray = [sys.executable, "-m", "ray.scripts.scripts", "drain-node"]
        asked_at = time.time()
        subprocess.run([*ray, *place, *why, *when], check=True, capture_output=True)
        saved_at = command.wait_for(lambda: _saved_since(scene, asked_at))
        time.sleep(max(0.0, asked_at + 20 - time.time()))
        cluster.remove_node(node, allow_graceful=False)
        ends_well(command)
    after_s = saved_at - asked_at
    assert after_s < 20, f"saved {after_s:.0f} s after the notice"
    return f"a node drained, what is at work saved {after_s:.0f} s later, and removed after 20 s"


def _saved_since(scene: RayScene, at: float) -> float:
    """When a checkpoint was written since then (seconds since 1970); 0 if none was."""
    times = [file.stat().st_mtime for file in scene.out.glob("cells/*/resume/*.pt")]
    return min((time for time in times if time >= at), default=0.0)


EVENTS: dict[str, Callable[[RayScene], str]] = {
    "Ray: gcs_server killed": _process_of_session("gcs_server"),
    "Ray: raylet killed": _process_of_session("raylet"),
    "Ray: trial worker killed once": _worker_once,
    "Ray: driver killed": _driver_ended_by(signal.SIGKILL),
    "Ray: data worker killed": _data_worker,
    "Ray: DDP rank killed": _rank,
    "Ray: spot notice": _spot_notice,
    "Ray: trial worker killed three times": _worker_thrice,
    "Ray: driver terminated": _driver_ended_by(signal.SIGTERM),
    "Ray: driver interrupted": _driver_ended_by(signal.SIGINT),
}
CHECKS_ITSELF = ("Ray: DDP rank killed",)
