"""Which cells of a sweep are costly, by planned operations and not by time, so that the same sweep
gives the same table on any cluster.
"""

from dataclasses import replace

from kcap_ray.config.cell import Cell
from kcap_ray.planning.cost import flops_per_token
from kcap_ray.planning.run_length import length_of, spec_of


def trial_flops(cell: Cell) -> float:
    """Floating-point operations of one trial of the cell, forward and backward."""
    return length_of(cell).tokens * flops_per_token(spec_of(cell), cell.train.window_tokens)


def marked_if_costly(cell: Cell) -> Cell:
    """The cell, with fewer trials if one takes more operations than `tune.costly_flops`.

    Raises `UserError` if that is asked for and the length of a trial is not known yet.
    """
    limit = cell.tune.costly_flops
    if limit is None or trial_flops(cell) <= limit:
        return cell
    return replace(cell, tune=cell.tune.as_costly())


ALL_COSTLY = (
    "No cell is cheap enough to be tuned in full, so there is no rule: "
    "`--set tune.costly_flops=null` tunes all of them in full"
)


def note_on_cost(cell: Cell) -> str | None:
    """That the cell is costly, so that it is tuned by fewer trials."""
    tune = cell.tune
    if not tune.is_costly:
        return None
    trials = "a single trial" if tune.trials == 1 else f"{tune.trials} trials"
    return (
        f"A trial above {tune.costly_flops:.3g} FLOP is costly: {trials}, the first where a rule "
        "fitted to the other cells' trials puts it"
    )
