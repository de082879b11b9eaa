"""`make survival`: every kind of event, several times, and the counts into docs/reliability.md."""

import argparse
import contextlib
import os
import platform
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from kcap_ray.runs.environment import git_commit
from tests.conftest import SHARED_MEMORY  # sets the environment of tests
from tests.survival import events, on_ray
from tests.survival.places import can_mount
from tests.survival.scene import Scene, load_all, undisturbed

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- counts: made by `make survival` -->", "<!-- counts: end -->"


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A directory for the runs, in memory where that can be."""
    place = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="kcap-chaos-", dir=place) as path:
        yield Path(path)


def in_one_process(whole: Scene, base: Path, name: str, seed: int) -> str:
    """One event, and the same command after it; what was done. Raises AssertionError where the
    table is not the undisturbed one.
    """
    place = base / f"{name}-{seed}".replace(" ", "_")
    place.mkdir()
    scene = Scene(place, random.Random(f"{seed} {name}"), whole.expected, takes_s=whole.takes_s)
    done = events.EVENTS[name](scene)
    scene.check()
    shutil.rmtree(place)
    return done


def with_ray(base: Path, name: str, seed: int) -> str:
    """The same for an event on Ray."""
    place = base / f"{name}-{seed}".replace(" ", "_").replace(":", "")
    place.mkdir()
    whole = on_ray.RayScene(base / "ray", random.Random(0), [])
    if not whole.out.exists():
        whole.folder.mkdir()
        command = on_ray.Command("run-cell", whole.sweep, "--out", whole.out)
        assert on_ray.finish(command) == 0, command.stderr
    scene = on_ray.RayScene(place, random.Random(f"{seed} {name}"), whole.table())
    done = on_ray.EVENTS[name](scene)
    if name not in on_ray.CHECKS_ITSELF:
        scene.check()
    shutil.rmtree(place)
    return done


def main(arguments: list[str]) -> int:
    """Run the events; the number of those after which the table was another one."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="events of each kind in one process")
    parser.add_argument("--ray-rounds", type=int, default=1, help="events of each kind on Ray")
    asked = parser.parse_args(arguments)
    began, held, kinds = time.monotonic(), Counter[str](), Counter[str]()
    with folder() as base:
        load_all()
        whole = undisturbed(base / "undisturbed")
        names = [n for n in events.EVENTS if n not in events.NEEDS_MOUNT or can_mount(base)]
        todo = [(name, i) for i in range(asked.rounds) for name in names]
        todo += [(name, i) for i in range(asked.ray_rounds) for name in on_ray.EVENTS]
        for name, i in todo:
            kinds[name] += 1
            start = time.monotonic()
            try:
                if name in on_ray.EVENTS:
                    done = with_ray(base, name, asked.seed + i)
                else:
                    done = in_one_process(whole, base, name, asked.seed + i)
                held[name] += 1
            except AssertionError as error:
                done = f"NOT THE SAME: {error}"
            print(f"{name}: {done} ({time.monotonic() - start:.1f} s)", flush=True)
    minutes = (time.monotonic() - began) / 60
    write_counts(kinds, held, f"{minutes:.0f} minutes, seed {asked.seed}")
    return kinds.total() - held.total()


def write_counts(kinds: Counter[str], held: Counter[str], how: str) -> None:
    """Replace the counts in the page."""
    lines = [
        BEGIN,
        f"{held.total()} of {kinds.total()} events of {len(kinds)} kinds ended in the undisturbed "
        f"table (commit {git_commit()}, {os.cpu_count()} CPUs, {platform.system()}, {how}).",
        "",
        "| kind | events | undisturbed table |",
        "|---|---|---|",
        *(f"| {name} | {number} | {held[name]} |" for name, number in kinds.items()),
        END,
    ]
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + "\n".join(lines) + rest.partition(END)[2], encoding="utf-8")


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
