"""Best points at the edge of what was searched: the true best may lie beyond."""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kcap_ray.config.tuning import Range, TuneConfig, edge_text, sides_of
from kcap_ray.runs.record import ResultRow


def edge_of(row: ResultRow) -> str | None:
    """At which edges the row's best point lies: `lr high, wd low`; empty where at none, None where
    the row does not tell. Rows of earlier versions tell by their settings.
    """
    if row.edge is not None or row.status != "ok":
        return row.edge
    return edge_in(row.config, {"lr": row.lr, "weight_decay": row.weight_decay})


def edge_in(config: object, values: Mapping[str, float | None]) -> str | None:
    """The same from a row's settings as JSON and its point; None where they do not tell."""
    ranges = _ranges(config)
    known = {
        name: value for name, value in values.items() if value is not None and math.isfinite(value)
    }
    if ranges is None or not ranges.keys() <= known.keys():
        return None
    return edge_text(sides_of(ranges, known))


def _ranges(config: object) -> dict[str, Range] | None:
    try:
        tune: dict[str, Any] = json.loads(str(config))["tune"]
        found = {name: tune[name] for name in ("lr", "weight_decay")}
        own = {name: None if own is None else Range(**own) for name, own in found.items()}
        return TuneConfig(trials=tune["trials"], **own).ranges
    except (ValueError, LookupError, TypeError):
        return None


def edge_notes(rows: Sequence[ResultRow]) -> list[str]:
    """A line on the cells whose best point lies at an edge; and one on those of which a fresh seed
    has no result, so that their mean is of the others alone.
    """
    edges = [edge for row in rows if row.quantization == "none" and (edge := edge_of(row))]
    counts = Counter(side for edge in edges for side in edge.split(", "))
    notes = []
    if edges:
        counted = ", ".join(f"{side} in {n}" for side, n in sorted(counts.items()))
        notes.append(
            f"{len(edges)} of {len(rows)} cells are best at the edge of the range searched "
            f"({counted}): the true best may lie beyond; widen tune.lr or tune.weight_decay, or "
            "write tune.widen: 2"
        )
    n_lost = sum(row.n_confirm_seeds_ok < row.n_confirm_seeds for row in rows)
    if n_lost:
        notes.append(
            f"{n_lost} of {len(rows)} cells: a fresh seed diverged, so that R is the mean over the "
            "others alone"
        )
    return notes
