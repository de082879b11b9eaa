"""`make survival`: every kind of event, several times, and the counts into docs/reliability.md."""

import argparse
import contextlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kcap_ray.runs.environment import git_commit
from tests.conftest import SHARED_MEMORY  # sets the environment of tests
from tests.engine import conftest
from tests.survival import events, on_ray
from tests.survival.places import can_mount
from tests.survival.scene import Scene, load_all, undisturbed

DOCS = Path(__file__).parents[2] / "docs"
PAGE, ENDS = DOCS / "reliability.md", DOCS / "results" / "survival.json"
LONGEST_S = 600
"""Longest that a command on Ray may take, on a machine that is busy with something else."""

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
        whole.folder.mkdir(exist_ok=True)
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
    parser.add_argument("--kinds", default="", help="only kinds whose name has this in it")
    asked = parser.parse_args(arguments)
    conftest.TIMEOUT_S = LONGEST_S
    n_other = 0
    with folder() as base:
        load_all()
        whole = undisturbed(base / "undisturbed")
        names = [n for n in events.EVENTS if n not in events.NEEDS_MOUNT or can_mount(base)]
        todo = [(name, i) for i in range(asked.rounds) for name in names]
        todo += [(name, i) for i in range(asked.ray_rounds) for name in on_ray.EVENTS]
        for name, i in todo:
            if asked.kinds not in name:
                continue
            start, seed = time.monotonic(), asked.seed + i
            try:
                if name in on_ray.EVENTS:
                    done = with_ray(base, name, seed)
                else:
                    done = in_one_process(whole, base, name, seed)
                is_same = True
            except on_ray.NotStartedError:
                print(f"{name}: did not happen: Ray did not start", flush=True)
                continue
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                done, is_same = f"NOT THE SAME: {type(error).__name__} {error}", False
            print(f"{name}: {done} ({time.monotonic() - start:.1f} s)", flush=True)
            write_down(name, seed, is_same)
            n_other += not is_same
    return n_other


def write_down(name: str, seed: int, is_same: bool) -> None:
    """Put the end of an event into the file of ends, and all counts into the page."""
    ends = json.loads(ENDS.read_text(encoding="utf-8")) if ENDS.exists() else {}
    ends.setdefault(name, {})[str(seed)] = {"undisturbed": is_same, "commit": git_commit()}
    order = [name for name in (*events.EVENTS, *on_ray.EVENTS) if name in ends]
    ends = {name: ends[name] for name in order}
    ENDS.write_text(json.dumps(ends, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + block(ends) + rest.partition(END)[2], encoding="utf-8")


def block(ends: dict[str, dict[str, dict[str, Any]]]) -> str:
    """The part of the page that is made from the file of ends."""
    held = {name: sum(end["undisturbed"] for end in own.values()) for name, own in ends.items()}
    n_events = sum(len(own) for own in ends.values())
    lines = [
        BEGIN,
        f"After {sum(held.values())} of {n_events} events of {len(ends)} kinds the same command "
        "gave the undisturbed table (seeds and commits: `docs/results/survival.json`).",
        "",
        "| kind | events | undisturbed table |",
        "|---|---|---|",
        *(f"| {name} | {len(own)} | {held[name]} |" for name, own in ends.items()),
        END,
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
