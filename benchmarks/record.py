"""The record of a benchmark: both sides, and the machine and versions that measured them."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kcap_ray.environment import describe

RESULTS = Path(__file__).parent / "results"


def arguments(script: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`; `script` is the file of the benchmark."""
    name = Path(script).stem
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--json", type=Path, default=RESULTS / f"{name}.json", help="file for the results"
    )
    return parser


def claim(name: str, *, ours: float, peer: float, unit: str, **more: Any) -> dict[str, Any]:
    """One claim with both sides in the same unit; `ratio` is ours / peer unless `more` has it."""
    return {"claim": name, "ratio": ours / peer, "ours": ours, "peer": peer, "unit": unit, **more}


def write(script: str, claims: Sequence[dict[str, Any]], path: Path) -> None:
    """Prints the claims as JSON and writes them to `path`."""
    made_by = {**describe(), "command": f"python benchmarks/{Path(script).name}"}
    text = json.dumps([{**found, **made_by} for found in claims], indent=1)
    print(text)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text + "\n", encoding="utf-8")
