"""The record of a benchmark: both sides, and the machine and versions that measured them."""

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from kcap_ray.runs.environment import describe
from kcap_ray.runs.files import write_atomically

RESULTS = Path(__file__).parent / "results"


def arguments(
    script: str, description: str | None, *, has_dry_run: bool = False
) -> argparse.ArgumentParser:
    """A parser with `--json`, and with `--dry-run` if asked for; `script` is the benchmark's file.

    What `--json` and `--dry-run` say is for `write`.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--json",
        type=Path,
        help=f"file for the results; by default benchmarks/results/{Path(script).stem}.json, or "
        "with the name of the GPU in it",
    )
    if has_dry_run:
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="tiny sizes, to see that everything works; the numbers mean nothing and are "
            "written only where --json says",
        )
    return parser


def claim(
    name: str,
    *,
    ours: float,
    peer: float,
    unit: str,
    goal: float | None = None,
    goal_for: Literal["ours", "ratio"] = "ours",
    goal_is: Literal["at least", "at most"] = "at least",
    **more: Any,
) -> dict[str, Any]:
    """One claim with both sides in the same unit; `ratio` is ours / peer unless `more` has it.

    `goal` is a bound of that kind on `goal_for`. Of what `more` holds, tables show `what` (the
    sizes, in a few words) and `peer_is`.
    """
    found: dict[str, Any] = {"claim": name, "ratio": ours / peer}
    found |= {"ours": ours, "peer": peer, "unit": unit}
    if goal is not None:
        found |= {"goal": goal, "goal_for": goal_for, "goal_is": goal_is}
    return {**found, **more}


def write(
    script: str,
    claims: Sequence[dict[str, Any]],
    path: Path | None,
    *,
    on_gpu: bool = False,
    is_dry_run: bool = False,
) -> None:
    """Prints the claims as JSON and writes them to `path`; without one to the committed results,
    unless it was a dry run.
    """
    made_by = {**describe(), "command": _command(script)}
    if on_gpu:
        made_by["machine"] = {**made_by["machine"], "gpu": _gpu()}
    if is_dry_run:
        made_by["dry_run"] = True
    text = json.dumps([{**found, **made_by} for found in claims], indent=1)
    print(text, flush=True)
    if path is None and is_dry_run:
        return
    write_atomically(path or result_file(script, on_gpu=on_gpu), text + "\n")


def result_file(script: str, *, on_gpu: bool) -> Path:
    """Where the committed results of a script lie: those of a GPU have its name in theirs."""
    name = Path(script).stem
    if on_gpu:
        name += "-" + _gpu()["name"].removeprefix("NVIDIA ").split()[0].lower()
    return RESULTS / f"{name}.json"


def _gpu() -> dict[str, Any]:
    # Scripts without a GPU need no torch.
    import torch

    properties = torch.cuda.get_device_properties(0)
    return {
        "name": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda,
    }


def _command(script: str) -> str:
    """The command without what says where files lie on this machine."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--json")
    _, rest = parser.parse_known_args(sys.argv[1:])
    shown = [Path(word).name if word.startswith("/") else word for word in rest]
    return shlex.join(["python", f"benchmarks/{Path(script).name}", *shown])
