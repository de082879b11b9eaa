"""All that a GPU is needed for, in parts of at most four minutes, the most informative first.

For a machine with one H100 or H200 that may have little more than torch: needs torch, transformers,
tokenizers, numpy and PyYAML; no Ray and no network. What else is missing leaves out what needs it,
and that is said: accelerate the Trainer's side, Optuna the search of the column (fixed points take
its place), pytest the project's own tests.

| part | what |
|---|---|
| 1 | correctness: fused = separate, compiled = as written, precisions, CUDA graph, resume; tests |
| 2 | P4 and P6: a step against eager and Trainer, fused trials against separate; profiles |
| 3 | P5 and the planner's step times |
| 4 | points of the published figures by the paper's recipes |
| 5 | P11, a column of the figure |

Each script runs in a process of its own and writes its JSON into the directory. A script whose JSON
is there already is not run again, except those of parts 4 and 5, which add to what they have.
All share one compile cache in the directory. `gpu-part<N>.json` says how each script ended.

    python benchmarks/gpu.py --part 1 --out DIR
    python benchmarks/gpu.py --part 2 3 --out DIR
    python benchmarks/gpu.py --part 1 2 3 4 5 --dry-run --out DIR    # tiny sizes, on a CPU
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).parent
ROOT = BENCHMARKS.parent

NEEDED = ("torch", "transformers", "tokenizers", "numpy", "yaml")
LEFT_OUT = {
    "accelerate": "the Trainer's side of P4",
    "optuna": "the search of P11; a fixed list of points takes its place",
    "scipy": "the search of P11; a fixed list of points takes its place",
    "pyarrow": "parts 4 and 5",
    "safetensors": "parts 4 and 5",
    "pytest": "the project's own tests",
    "pytest_timeout": "the project's own tests",
}
"""What goes without a package."""


PART_S = 235.0
"""Longest that a part runs unless `--limit` says otherwise."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """One benchmark of a part."""

    name: str
    arguments: tuple[str, ...] = ()
    """`OUT` stands for the directory of the results, `LIMIT` for the seconds that are left."""
    dry_run: tuple[str, ...] = ("--dry-run",)
    """What takes the place of the arguments in a dry run."""
    needs: tuple[str, ...] = ()
    """Packages beyond those that everything needs."""
    adds: bool = False
    """Whether another run adds to what is there."""


PARTS: dict[int, tuple[Script, ...]] = {
    1: (
        Script(name="gpu_check.py", arguments=("--processes", "8")),
        Script(name="gpu_tests.py", needs=("pytest", "pytest_timeout")),
    ),
    2: (
        Script(name="training_step_gpu.py"),
        Script(
            name="fused_trials.py",
            arguments=("--device", "gpu", "--trials", "8"),
            dry_run=("--device", "gpu", "--dry-run"),
        ),
        Script(name="step_profile.py"),
        Script(name="compiler_choices.py"),
    ),
    3: (
        Script(name="large_model.py"),
        Script(
            name="throughput.py",
            arguments=("--device-file", "OUT/device.yaml"),
            dry_run=("--dry-run", "--device-file", "OUT/device.yaml"),
        ),
    ),
    4: (
        Script(
            name="published_points.py",
            arguments=("--out", "OUT/published", "--budget", "LIMIT"),
            needs=("pyarrow", "safetensors"),
            adds=True,
        ),
    ),
    5: (
        Script(
            name="column.py",
            arguments=("--out", "OUT/column", "--budget", "LIMIT"),
            needs=("pyarrow", "safetensors"),
            adds=True,
        ),
    ),
}


def missing(packages: Sequence[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def run_script(script: Script, chosen: argparse.Namespace, left_s: float) -> dict[str, Any]:
    """Run one script and say how it ended; its output goes straight through."""
    lacking = missing(script.needs)
    if lacking:
        return {"script": script.name, "left_out": f"missing: {', '.join(lacking)}"}
    result = chosen.out / result_name(script.name, is_dry_run=chosen.dry_run)
    if result.exists() and not script.adds:
        return {"script": script.name, "exit_status": 0, "was_done": True}
    if left_s <= 0:
        return {"script": script.name, "left_out": "no time is left"}
    words = script.dry_run if chosen.dry_run else script.arguments
    # What is measured ends before what measures it is ended.
    stands_for = {"LIMIT": f"{max(1.0, left_s - 20):.0f}"}
    filled = [stands_for.get(word, word.replace("OUT/", f"{chosen.out}/", 1)) for word in words]
    command = [sys.executable, str(BENCHMARKS / script.name), "--json", str(result), *filled]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        "TORCHINDUCTOR_CACHE_DIR": str(chosen.out / "compile-cache"),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
    }
    if chosen.dry_run:
        environment["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    try:
        status = subprocess.run(command, cwd=ROOT, env=environment, timeout=left_s).returncode
    except subprocess.TimeoutExpired:
        status = None
    ended = {"script": script.name, "exit_status": status, "seconds": time.monotonic() - began}
    if status is None:
        ended["left_out"] = f"not done after {left_s:.0f} s"
    if result.exists() and chosen.commit:
        add_commit(result, chosen.commit)
    return ended


def result_name(script: str, *, is_dry_run: bool) -> str:
    """Name of a script's results, with which they may lie among the committed ones."""
    if is_dry_run:
        return f"{Path(script).stem}-dry-run.json"
    from record import result_file

    return result_file(script, on_gpu=True).name


def add_commit(result: Path, commit: str) -> None:
    """Name the commit in records that were made where there was no repository to ask, or an older
    state of it.
    """
    records = json.loads(result.read_text(encoding="utf-8"))
    for record in records:
        record["git_commit"] = commit
    result.write_text(json.dumps(records, indent=1) + "\n", encoding="utf-8")


def has_gpu() -> bool:
    """Whether torch sees one; a dry run does without asking, since loading torch takes seconds."""
    import torch

    return torch.cuda.is_available()


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", nargs="+", type=int, choices=list(PARTS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="directory for the results")
    parser.add_argument("--limit", type=float, default=PART_S, help="seconds for each part")
    parser.add_argument("--commit", help="commit of the code, where there is no repository to ask")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on a CPU")
    chosen = parser.parse_args()
    chosen.out = chosen.out.absolute()
    return chosen


def run_part(number: int, chosen: argparse.Namespace) -> bool:
    """The scripts of a part, one after another; whether all of them ended well."""
    summary: list[dict[str, Any]] = []
    gives_up = time.monotonic() + chosen.limit
    for script in PARTS[number]:
        print(f"== part {number}: {script.name}", flush=True)
        summary.append(run_script(script, chosen, gives_up - time.monotonic()))
        print(f"== {summary[-1]}", flush=True)
        file = chosen.out / f"gpu-part{number}.json"
        file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    return all(ended.get("exit_status") == 0 for ended in summary)


def main() -> int:
    """The parts in the order asked for; exit status 1 if a script fails or is left out."""
    chosen = arguments()
    lacking = missing(NEEDED)
    if lacking:
        print(f"install {', '.join(lacking)}: nothing goes without", file=sys.stderr)
        return 2
    sys.path.insert(0, str(ROOT))
    if not chosen.dry_run and not has_gpu():
        print("no GPU here; --dry-run shows that everything works", file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    for package in missing(list(LEFT_OUT)):
        print(f"{package} is missing: without {LEFT_OUT[package]}", flush=True)
    are_ok = [run_part(number, chosen) for number in chosen.part]
    return 0 if all(are_ok) else 1


if __name__ == "__main__":
    sys.exit(main())
