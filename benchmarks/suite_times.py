"""How long `make test` takes, part by part.

    make venv && .venv/bin/python benchmarks/suite_times.py

Runs what `make -n test` prints and writes benchmarks/results/suite_times.json. The exit status is
that of `make test`.

Goal: the fast tests in 60 s, all in 15 minutes on two cores
Needs: the development tools (`make venv`), and a machine with nothing else to do
"""

import argparse
import json
import subprocess
import time
from pathlib import Path

from kcap_ray.runs.environment import describe
from kcap_ray.runs.files import write_atomically

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "suite_times.json"


def commands() -> list[str]:
    """What `make test` runs in an environment that is made."""
    printed = subprocess.run(
        ["make", "--no-print-directory", "-n", "test"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in printed.stdout.splitlines() if "pytest" in line]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, default=RESULT)
    args = parser.parse_args()
    parts, has_failed = [], False
    for command in commands():
        began = time.monotonic()
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
        seconds = time.monotonic() - began
        has_failed |= done.returncode != 0
        last = (done.stdout.strip().splitlines() or [""])[-1].strip("= ")
        parts.append({"command": command, "seconds": round(seconds, 1), "outcome": last})
        print(f"{seconds:7.1f} s  {last}", flush=True)
        if done.returncode != 0:
            print(done.stdout[-20_000:], done.stderr[-2_000:], flush=True)
    found = {
        "what": "make test",
        "seconds": round(sum(part["seconds"] for part in parts), 1),
        "parts": parts,
        **describe(),
        "command": "python benchmarks/suite_times.py",
    }
    write_atomically(args.json, json.dumps(found, indent=1) + "\n")
    raise SystemExit(int(has_failed))


if __name__ == "__main__":
    main()
