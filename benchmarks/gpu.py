"""All that a GPU is needed for, in stages, on a machine that may have little more than torch.

Needs torch, transformers, tokenizers, numpy and PyYAML; no Ray and no network. What else is missing
leaves out what needs it, and that is said: accelerate the Trainer's side, Optuna the search of the
column (fixed points take its place), pytest the project's own tests. Each stage is a benchmark in a
process of its own, which writes its JSON into the directory; `gpu-<stages>.json` says how each of
them ended. Stages: `check` (correctness first), `tests` (the project's own), `steps` (P4),
`fused` (P6), `large` (P5), `throughput` (the cost model's table), `column` (P11, as much of it as
there is time for; the same command goes on).

    python benchmarks/gpu.py --stage check steps fused --out DIR
    python benchmarks/gpu.py --stage large throughput --out DIR
    python benchmarks/gpu.py --stage column --out DIR --limit 560
    python benchmarks/gpu.py --stage all --dry-run --out DIR    # tiny sizes, on a CPU
"""

import argparse
import importlib.util
import json
import os
import shutil
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
    "pyarrow": "stage column",
    "safetensors": "stage column",
    "pytest": "stage tests",
    "pytest_timeout": "stage tests",
}
"""What goes without a package."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One benchmark of a stage."""

    script: str
    arguments: tuple[str, ...] = ()
    """`OUT` stands for the directory of the results, `LIMIT` for the seconds that are left."""
    dry_run: tuple[str, ...] = ("--dry-run",)
    """What takes the place of the arguments in a dry run."""
    needs: tuple[str, ...] = ()
    """Packages beyond those that everything needs."""
    keeps: str | None = None
    """A file that it leaves behind and that goes with the results."""


STAGES: dict[str, tuple[Stage, ...]] = {
    "check": (Stage(script="gpu_check.py"),),
    "tests": (Stage(script="gpu_tests.py", needs=("pytest", "pytest_timeout")),),
    "steps": (Stage(script="training_step_gpu.py"),),
    "fused": (
        Stage(
            script="fused_trials.py",
            arguments=("--device", "gpu"),
            dry_run=("--device", "gpu", "--dry-run"),
        ),
    ),
    "large": (Stage(script="large_model.py"),),
    "throughput": (
        Stage(
            script="throughput.py",
            arguments=("--device-file", "OUT/device.yaml"),
            dry_run=("--dry-run", "--device-file", "OUT/device.yaml"),
        ),
    ),
    "column": (
        Stage(
            script="column.py",
            arguments=("--out", "runs/column", "--budget", "LIMIT"),
            needs=("pyarrow", "safetensors"),
            keeps="runs/column/results.parquet",
        ),
    ),
}


def missing(packages: Sequence[str]) -> list[str]:
    """Those of the packages that are not installed."""
    return [package for package in packages if importlib.util.find_spec(package) is None]


def run_stage(stage: Stage, chosen: argparse.Namespace, left_s: float) -> dict[str, Any]:
    """Run one script and say how it ended; its output goes straight through."""
    lacking = missing(stage.needs)
    if not (BENCHMARKS / stage.script).exists():
        lacking.append(stage.script)
    if lacking:
        return {"script": stage.script, "left_out": f"missing: {', '.join(lacking)}"}
    if left_s <= 0:
        return {"script": stage.script, "left_out": "no time is left"}
    result = chosen.out / result_name(stage.script, is_dry_run=chosen.dry_run)
    words = stage.dry_run if chosen.dry_run else stage.arguments
    # What is measured ends before what measures it is ended.
    stands_for = {"LIMIT": f"{max(1.0, left_s - 20):.0f}"}
    filled = [stands_for.get(word, word.replace("OUT/", f"{chosen.out}/", 1)) for word in words]
    command = [sys.executable, str(BENCHMARKS / stage.script), "--json", str(result), *filled]
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    if chosen.dry_run:
        environment["OMP_NUM_THREADS"] = "1"
    began = time.monotonic()
    try:
        status = subprocess.run(command, cwd=ROOT, env=environment, timeout=left_s).returncode
    except subprocess.TimeoutExpired:
        status = None
    ended = {"script": stage.script, "exit_status": status, "seconds": time.monotonic() - began}
    if status is None:
        ended["left_out"] = f"not done after {left_s:.0f} s"
    if result.exists() and chosen.commit:
        add_commit(result, chosen.commit)
    if stage.keeps is not None and not chosen.dry_run and (ROOT / stage.keeps).exists():
        shutil.copy(ROOT / stage.keeps, chosen.out)
    return ended


def result_name(script: str, *, is_dry_run: bool) -> str:
    """Name of a script's results, with which they may lie among the committed ones."""
    if is_dry_run:
        return f"{Path(script).stem}-dry-run.json"
    from record import result_file

    return result_file(script, on_gpu=True).name


def add_commit(result: Path, commit: str) -> None:
    """Name the commit in records that were made where there was no repository to ask."""
    records = json.loads(result.read_text(encoding="utf-8"))
    for record in records:
        record["git_commit"] = record.get("git_commit") or commit
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
    parser.add_argument("--stage", nargs="+", choices=[*STAGES, "all"], default=["all"])
    parser.add_argument("--out", type=Path, required=True, help="directory for the results")
    parser.add_argument("--limit", type=float, default=570.0, help="seconds for all of it")
    parser.add_argument("--commit", help="commit of the code, where there is no repository to ask")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes, on a CPU")
    chosen = parser.parse_args()
    chosen.out = chosen.out.absolute()
    return chosen


def main() -> int:
    """The stages in the order asked for; exit status 1 if one of them fails or is left out."""
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
    left_out = {package: LEFT_OUT[package] for package in missing(list(LEFT_OUT))}
    for package, what in left_out.items():
        print(f"{package} is missing: without {what}", flush=True)
    names = list(STAGES) if "all" in chosen.stage else chosen.stage
    summary: dict[str, Any] = {"missing_packages": left_out, "stages": []}
    gives_up = time.monotonic() + chosen.limit
    for name in names:
        for stage in STAGES[name]:
            print(f"== {name}: {stage.script}", flush=True)
            ended = run_stage(stage, chosen, gives_up - time.monotonic())
            print(f"== {ended}", flush=True)
            summary["stages"].append({"stage": name, **ended})
            file = chosen.out / f"gpu-{'-'.join(chosen.stage)}.json"
            file.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    is_ok = all(ended.get("exit_status") == 0 for ended in summary["stages"])
    return 0 if is_ok else 1


if __name__ == "__main__":
    sys.exit(main())
