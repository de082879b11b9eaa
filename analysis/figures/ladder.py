"""R at each step from LLaMA to GPT-2, as in Figure 5 of arXiv 2404.05405."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import style
from analysis.figures.dots import Dot, DotRow, draw_rows, panel_inches, row_limits
from analysis.ladder import Step
from analysis.words import dataset_parts

Ladder = Sequence[Step]


def draw_ladder(ladders: Sequence[Ladder]) -> Figure:
    """One panel per ladder; one row per step, from LLaMA down to GPT-2.

    Raises NothingToDrawError where the rows hold no ladder.
    """
    drawn = [ladder for ladder in ladders if any(step.side.capacity for step in ladder)]
    if not drawn:
        raise style.NothingToDrawError(
            "ladder: no setting has llama and two or more of its variants on the way to gpt2"
        )
    rows = [_rows(ladder) for ladder in drawn]
    notes = _notes(drawn)
    limits = row_limits([row for own in rows for row in own])
    colours = style.colours_of(ladder[0].side.n_people for ladder in drawn)
    figure, grid = style.panels(
        len(drawn),
        n_notes=len(notes),
        inches=panel_inches(rows, right_inches=2.0),
        n_columns=1 if len(drawn) < 3 else 2,
        has_legend=False,
    )
    for axes, ladder, own in zip(grid, drawn, rows, strict=True):
        draw_rows(axes, own, colours, limits=limits)
        style.relative_axis(axes, "x")
        axes.set_xlabel("Stored, $R$ (bits per parameter)")
        _draw_path(axes, ladder)
        _write_changes(axes, ladder)
    style.title_panels(figure, grid, [_title(ladder) for ladder in drawn], has_wide_labels=True)
    style.write_notes(figure, notes)
    return figure


def _rows(ladder: Ladder) -> list[DotRow]:
    """Steps that only add a variant to the row above are labelled by it: `+ tied`."""
    rows = []
    for i, step in enumerate(ladder):
        name, above = step.side.name, ladder[i - 1].side.name if i else ""
        is_small = above != "" and step.before == above and name.startswith(above)
        rows.append(_row(step, f"+ {name.removeprefix(above + '-')}" if is_small else name))
    return rows


def _row(step: Step, name: str) -> DotRow:
    side = step.side
    label = f"{name}   {style.short_count(side.n_params[1])}"
    if side.capacity is None:
        return DotRow(label=label, dots=())
    dot = Dot(
        estimate=side.capacity,
        n_people=side.n_people,
        marker="o",
        is_hollow=side.is_demand_limited,
    )
    return DotRow(label=label, dots=(dot,))


def _draw_path(axes: Axes, ladder: Ladder) -> None:
    """A thin line from each step to the next, where that adds to it."""
    for i in range(1, len(ladder)):
        above, own = ladder[i - 1].side, ladder[i].side
        if above.capacity and own.capacity and ladder[i].before == above.name:
            path = [above.capacity.value, own.capacity.value]
            axes.plot(path, [i - 1, i], color="0.7", lw=0.8, zorder=1)


def _write_changes(axes: Axes, ladder: Ladder) -> None:
    """Right of each row, what the step does to R; the first row has the heading."""
    above = [step.side.name for step in ladder]
    changes = [_change(step, above[i]) for i, step in enumerate(ladder[1:])]
    texts = ["change of R", *changes]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(ladder)), texts, fontsize=8, color="0.3")
    right.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)


def _change(step: Step, above: str) -> str:
    """The ratio with its interval, and of which step where that is not the one above."""
    ratio = step.change.ratio if step.change else None
    if ratio is None:
        return ""
    interval = ""
    if ratio.low is not None and ratio.high is not None:
        interval = f"  ({ratio.low:.2f} to {ratio.high:.2f})"
    origin = "" if step.before == above else f" from {step.before}"
    return f"x {ratio.value:.2f}{interval}{origin}"


def _title(ladder: Ladder) -> tuple[str, ...]:
    side = ladder[0].side
    people = f"{style.short_count(side.n_people)} people"
    return *dataset_parts(side.dataset), people, f"{side.exposures:g} exposures"


def _notes(drawn: Sequence[Ladder]) -> list[str]:
    steps = [step for ladder in drawn for step in ladder]
    what = "R of the same layers and heads"
    if any(len(step.side.sizes) > 1 for step in steps):
        what = "peak R over the sizes"
    notes = [f"Dots: {what}. Behind each name: parameters."]
    levels = {s.side.capacity.level for s in steps if s.side.capacity and s.side.capacity.low}
    if levels:
        notes.append(
            f"Lines: {max(levels):.0%} intervals (Student's) over seeds; changes are paired by "
            "seed."
        )
    if any(s.side.capacity and s.side.capacity.low is None for s in steps):
        notes.append("Where there is no line there is one seed: no interval.")
    if any(step.side.is_demand_limited for step in steps):
        notes.append("Hollow: the model stored nearly all there was and may hold more.")
    return notes
