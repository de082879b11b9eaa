"""The rule of `kcap plan` on plateaus, fitted to the committed curves of values.

Exposures at which the loss on values is first 3 nats below what the pools alone give, against
people, width and tokens of a step, in logarithms, by least squares; a run that never got there
counts as far as the rule says that it should have. Writes kcap_ray/planning/plateau.yaml.

    python benchmarks/plateau_rule.py
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.optimize import least_squares

from kcap_ray.planning.plateau import FILE

LEFT_NATS = 3.0
"""A model has left the plateau when its loss on values is so far below what the pools give."""

RESULTS = Path(__file__).parent / "results"
FULL_PRIOR_NATS = 47.592 * math.log(2)
"""Loss on the values of a person of bioS by whoever knows the full pools alone: ln S0."""

CHANGES_SIZE = (
    "baseline",
    "recipe",
    "half the people",
    "1.5 x the people",
    "2 x the people",
    "4 x the people",
    "width 32",
    "width 128",
    "batch 1",
    "batch 12",
    "228 exposures",
    "2.28 times as long",
    "4 x the people, width 128",
)
"""Variants whose only changes are those that the rule knows."""


def left_at(steps: Sequence[float], values: Sequence[float], prior: float) -> float | None:
    """Where the curve crosses, between two measurements by a straight line; None if never."""
    limit = prior - LEFT_NATS
    for i, value in enumerate(values):
        if value < limit:
            if i == 0:
                return steps[0]
            share = (values[i - 1] - limit) / (values[i - 1] - value)
            return steps[i - 1] + share * (steps[i] - steps[i - 1])
    return None


def run_of(source: str, one: dict[str, Any], exposures: float, prior: float) -> dict[str, Any]:
    """A curve as a line of the rule's file."""
    left = left_at(one["steps"], one["values"], prior)
    n_steps = one["n_steps"]
    return {
        "source": source,
        "variant": one["variant"],
        "seed": one.get("seed", 0),
        "people": one["n_people"],
        "width": one["d_model"],
        "step_tokens": round(one["tokens"] / n_steps),
        "exposures": exposures,
        "left_at_exposure": None if left is None else round(exposures * left / n_steps, 1),
    }


def read(name: str) -> list[dict[str, Any]]:
    """The records of a committed result file."""
    return json.loads((RESULTS / name).read_text(encoding="utf-8"))


def measured_runs() -> list[dict[str, Any]]:
    """All runs of which the rule is made."""
    runs = []
    for one in read("plateau_cpu.json"):
        if one["variant"] in CHANGES_SIZE:
            prior = one["prior_value_nats"]
            runs.append(run_of("plateau_cpu.json", one, one["exposures"], prior))
    for one in read("plateau-h200.json"):
        if one["variant"] in CHANGES_SIZE:
            exposures = 228 if one["variant"].startswith("228") else 100
            one = {**one, "d_model": 128}  # GPT2-2-2
            runs.append(run_of("plateau-h200.json", one, exposures, FULL_PRIOR_NATS))
    for one in read("published_points-h200.json"):
        trial = one["trials"][0]
        curve = {
            "variant": one["what"],
            "steps": [point["step"] for point in one["curve"]],
            "values": [point["trials"][0]["loss_value_nats"] for point in one["curve"]],
            "n_people": 50_000,
            "d_model": 128,
            "n_steps": one["steps"],
            "tokens": one["tokens"],
        }
        exposures = round(trial["exposures_seen"], 1)
        runs.append(run_of("published_points-h200.json", curve, exposures, FULL_PRIOR_NATS))
    return runs


def fit(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Scale and exponents."""
    x = np.array(
        [[1, *(math.log(run[key]) for key in ("people", "width", "step_tokens"))] for run in runs]
    )
    has_left = np.array([run["left_at_exposure"] is not None for run in runs])
    y = np.log([run["left_at_exposure"] or run["exposures"] for run in runs])

    def residuals(coefficients: np.ndarray) -> np.ndarray:
        off = x @ coefficients - y
        return np.where(has_left, off, np.minimum(off, 0.0))

    found = least_squares(residuals, np.array([math.log(50.0), 0.0, 0.0, 0.0])).x
    return {
        "scale": float(np.exp(found[0])),
        "people": float(found[1]),
        "width": float(found[2]),
        "step_tokens": float(found[3]),
    }


def main() -> None:
    """Fit, print, write."""
    runs = measured_runs()
    rule = {name: float(f"{value:.4g}") for name, value in fit(runs).items()}
    text = yaml.safe_dump({"rule": rule, "runs": runs}, sort_keys=False, width=200)
    FILE.write_text("# Made by `python benchmarks/plateau_rule.py`.\n" + text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
