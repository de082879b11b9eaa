"""The small run on a local disk and in a bucket: undisturbed, with requests that fail, killed and
begun again from nothing, and with credentials that expire. Each must end in one table.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from kcap_ray.runs.opening import opened
from tests.survival.bucket import Bucket, wait_until
from tests.survival.scene import DIFFERS, Row, Scene, finish

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
        from kcap_ray.runs.store import Store

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
