"""`make survival`: every kind of event, several times, and the counts into docs/reliability.md."""

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
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
PAGE, COUNTS = DOCS / "reliability.md", DOCS / "results" / "survival.json"
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
    events_of, held = Counter[str](), Counter[str]()
    with folder() as base:
        load_all()
        whole = undisturbed(base / "undisturbed")
        names = [n for n in events.EVENTS if n not in events.NEEDS_MOUNT or can_mount(base)]
        todo = [(name, i) for i in range(asked.rounds) for name in names]
        todo += [(name, i) for i in range(asked.ray_rounds) for name in on_ray.EVENTS]
        for name, i in todo:
            if asked.kinds not in name:
                continue
            events_of[name] += 1
            start = time.monotonic()
            try:
                if name in on_ray.EVENTS:
                    done = with_ray(base, name, asked.seed + i)
                else:
                    done = in_one_process(whole, base, name, asked.seed + i)
                held[name] += 1
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                done = f"NOT THE SAME: {type(error).__name__} {error}"
            print(f"{name}: {done} ({time.monotonic() - start:.1f} s)", flush=True)
            write_counts(events_of, held, seed=asked.seed)
    return events_of.total() - held.total()


def write_counts(events_of: Counter[str], held: Counter[str], *, seed: int) -> None:
    """Put the counts of these kinds into the file of counts, and all of them into the page."""
    counts = json.loads(COUNTS.read_text(encoding="utf-8")) if COUNTS.exists() else {}
    how = {"seed": seed, "commit": git_commit(), "cpus": os.cpu_count()}
    counts |= {
        name: {"events": number, "undisturbed": held[name], **how}
        for name, number in events_of.items()
    }
    order = [name for name in (*events.EVENTS, *on_ray.EVENTS) if name in counts]
    counts = {name: counts[name] for name in order}
    COUNTS.write_text(json.dumps(counts, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + block(counts) + rest.partition(END)[2], encoding="utf-8")


def block(counts: dict[str, dict[str, Any]]) -> str:
    """The part of the page that is made from the file of counts."""
    n_events, n_held = (sum(c[key] for c in counts.values()) for key in ("events", "undisturbed"))
    lines = [
        BEGIN,
        f"After {n_held} of {n_events} events of {len(counts)} kinds the same command gave the "
        "undisturbed table (`docs/results/survival.json`: seeds, commits, CPUs).",
        "",
        "| kind | events | undisturbed table |",
        "|---|---|---|",
        *(f"| {name} | {c['events']} | {c['undisturbed']} |" for name, c in counts.items()),
        END,
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
