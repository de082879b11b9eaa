"""The small run on a local disk and in a bucket: undisturbed, with requests that fail, killed and
begun again from nothing, and with credentials that expire. Each must end in one table.
"""

import argparse
import json
import os
import random
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from kcap_ray.runs.environment import describe
from kcap_ray.runs.opening import opened
from kcap_ray.runs.store import Store
from tests.survival.bucket import Bucket, wait_until
from tests.survival.scene import DIFFERS, SWEEP, Row, Scene, finish, load_all
from tests.survival.scene import undisturbed as on_disk

ROOT = Path(__file__).parents[2]

SHARE = 0.1
"""Of the requests that fail, where some do."""


@contextmanager
def in_environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables of this process and of those that it starts."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@dataclass
class BucketScene(Scene):
    """The same command with a run directory in a bucket."""

    url: str = ""

    @property
    def given_out(self) -> str:
        """What the command is given."""
        return self.url

    def table(self) -> list[Row]:
        """The rows without times, as they are in the bucket."""
        with opened(self.url) as path:
            table = pq.read_table(path / "results.parquet")
        return table.drop_columns(list(DIFFERS)).to_pylist()

    def has(self, ending: str) -> bool:
        """Whether the bucket has a file whose name ends so."""
        return any(name.endswith(ending) for name in Store(self.url).list())


def undisturbed(scene: BucketScene, bucket: Bucket) -> str:
    """Nothing happens, or nothing but what the proxy does."""
    assert scene.run() == 0, scene.said
    return ""


def killed(scene: BucketScene, bucket: Bucket) -> str:
    """SIGKILL after a while; nothing of the command but what is in the bucket is left."""
    n_killed = 0
    for _ in range(2):
        pid = scene.start()
        after_s = scene.chance.uniform(0.2, 1.0) * scene.takes_s
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)
        n_killed += finish(pid) == -signal.SIGKILL
    assert n_killed, scene.said
    assert scene.run() == 0, scene.said
    return f"SIGKILL {n_killed} times"


def expired(scene: BucketScene, bucket: Bucket) -> str:
    """The credentials expire when the first trial is done, and new ones are there seconds later."""
    pid = scene.start()
    wait_until(lambda: scene.has("trials.jsonl"))
    bucket.expire(bucket.key)
    time.sleep(2.0)
    bucket.use_key("second")
    assert finish(pid) == 0, scene.said
    n_refused = bucket.counts()["faults"].get("expired", 0)
    assert n_refused > 0, "the command was done before"
    return f"{n_refused} requests refused"


Event = Callable[[BucketScene, Bucket], str]
EVENTS: dict[str, tuple[float, Event]] = {
    "in a bucket": (0.0, undisturbed),
    "requests fail": (SHARE, undisturbed),
    "killed, resumed from nothing": (0.0, killed),
    "killed, resumed from nothing, requests fail": (SHARE, killed),
    "credentials expire": (0.0, expired),
}
"""Share of requests that fail, and what happens."""


RAY = "on Ray, killed, resumed from nothing, requests fail"


@dataclass(frozen=True)
class Ended:
    """What an event ended with."""

    done: str
    table: list[Row]
    counts: dict[str, dict[str, int]]
    seconds: float


def run_event(name: str, folder: Path, *, seed: int, takes_s: float) -> Ended:
    """Let one happen, in a bucket of its own."""
    share, event = EVENTS[name]
    folder.mkdir(parents=True, exist_ok=True)
    with Bucket(folder, share=share, seed=seed) as bucket, in_environment(bucket.environment):
        chance = random.Random(f"{seed} {name}")
        scene = BucketScene(folder, chance, takes_s=takes_s, url=bucket.url("small"))
        began = time.monotonic()
        done = event(scene, bucket)
        seconds = time.monotonic() - began
        counts = bucket.counts()
        return Ended(done, scene.table(), counts, seconds)


def ray_killed(folder: Path, *, seed: int) -> Ended:
    """`kcap sweep` on Ray with a share of requests that fail: driver and session are killed when
    the first trial is done, and the command is given again from nothing.
    """
    from tests.engine.conftest import Command

    folder.mkdir(parents=True, exist_ok=True)
    sweep = folder / "small.yaml"
    sweep.write_text(SWEEP)
    with Bucket(folder, share=SHARE, seed=seed) as bucket, in_environment(bucket.environment):
        scene = BucketScene(folder, random.Random(seed), url=bucket.url("small"))
        arguments = ("sweep", sweep, "--out", scene.url, "--save-every", "0.5")
        began = time.monotonic()
        first = Command(*arguments)
        try:
            first.wait_for(lambda: scene.has("trials.jsonl"))
        finally:
            first.kill()
        second = Command(*arguments)
        try:
            assert second.finish() == 0, second.stderr
        finally:
            if second.process.poll() is None:
                second.kill()
        seconds = time.monotonic() - began
        return Ended("SIGKILL once", scene.table(), bucket.counts(), seconds)


def main() -> None:
    """All of them, one after another, and what they ended with as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=ROOT / "docs" / "results" / "storage.json")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kcap-storage-") as path:
        base = Path(path)
        load_all()
        whole = on_disk(base / "local")
        events = []
        for name in (*EVENTS, RAY):
            folder = base / name.replace(" ", "_").replace(",", "")
            if name == RAY:
                ended = ray_killed(folder, seed=given.seed)
            else:
                ended = run_event(name, folder, seed=given.seed, takes_s=whole.takes_s)
            events.append(
                {
                    "event": name,
                    "done": ended.done,
                    "is_table_of_local_disk": ended.table == whole.expected,
                    "n_rows": len(ended.table),
                    "seconds": round(ended.seconds, 1),
                    **ended.counts,
                }
            )
            print(json.dumps(events[-1]), flush=True)
            # After each: the last one takes longest, and a busy machine may not have the time.
            said = {
                "command": f"python -m tests.survival.storage --seed {given.seed}",
                "share_of_requests_that_fail": SHARE,
                "local_seconds": round(whole.takes_s, 1),
                "events": events,
            }
            given.json.write_text(json.dumps(said | describe_machine(), indent=1) + "\n")


def describe_machine() -> dict[str, object]:
    """Versions and machine."""
    found = describe()
    del found["command"]
    return found


if __name__ == "__main__":
    main()
