"""Best points at the edge of what was searched: the true best may lie beyond."""

from collections import Counter
from collections.abc import Sequence

from kcap_ray.runs.record import ResultRow


def edge_notes(rows: Sequence[ResultRow]) -> list[str]:
    """A line on the cells whose best point lies at an edge; and one on those of which a fresh seed
    has no result, so that their mean is of the others alone.
    """
    edges = [row.edge for row in rows if row.edge]
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
