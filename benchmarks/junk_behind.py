"""What it tells a model among junk to be measured behind a useful person.

    python -m benchmarks.junk_behind runs/laptop_junk_behind

Measures every finished model of a run with junk twice, behind another useful person and behind a
junk person, and writes benchmarks/results/junk_behind.json.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

from benchmarks.record import RESULTS
from kcap_ray.measure.groups import total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.models.checkpoint import load_cell_model
from kcap_ray.runs.environment import describe
from kcap_ray.text.stream.corpus import build_corpus


def both_ways(cell_directory: Path) -> dict[str, float | str]:
    """Losses in nats a person, and R, behind a useful and behind a junk person."""
    model, cell = load_cell_model(cell_directory)
    assert cell.data.junk is not None, "a run with junk"
    found: dict[str, float | str] = {"dataset": cell.data.label, "mixing": cell.data.mixing}
    for behind in ("useful", "junk"):
        data = replace(cell.data, junk=replace(cell.data.junk, behind=behind))
        (groups,) = measure(model, build_corpus(data), seed=cell.seed)
        found |= {
            f"name_nats_behind_{behind}": groups[0].loss.name_nats,
            f"value_nats_behind_{behind}": groups[0].loss.value_nats,
            f"bits_per_person_behind_{behind}": total_bits(groups) / cell.data.n_people,
            f"capacity_ratio_behind_{behind}": total_bits(groups) / model.spec.n_params,
        }
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--json", type=Path, default=RESULTS / "junk_behind.json")
    arguments = parser.parse_args()
    folders = sorted((arguments.run / "cells").iterdir())
    record = {
        "claim": "context among junk",
        "unit": "nats",
        "cells": [both_ways(cell) for cell in folders if (cell / "checkpoint").is_dir()],
        **describe(),
        "command": f"python -m benchmarks.junk_behind runs/{arguments.run.name}",
    }
    arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
