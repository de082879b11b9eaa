"""R at each step from LLaMA to GPT-2, as in Figure 5 of arXiv 2404.05405."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.comparison import Comparison
from analysis.figures import style
from analysis.figures.dots import Dot, DotRow, draw_rows, panel_inches
from analysis.ladder import Step

Ladder = Sequence[Step]


def draw_ladder(ladders: Sequence[Ladder]) -> Figure:
    """One panel per ladder; one row per step, in order from LLaMA down to GPT-2.

    Raises NothingToDrawError where the rows hold no ladder.
    """
    drawn = [ladder for ladder in ladders if any(step.side.capacity for step in ladder)]
    if not drawn:
        raise style.NothingToDrawError(
            "ladder: no setting has llama, two or more variants, and gpt2, in this order"
        )
    rows = [[_row(step) for step in ladder] for ladder in drawn]
    notes = _notes(drawn)
    colours = style.colours_of(ladder[0].side.n_people for ladder in drawn)
    figure, grid = style.panels(
        len(drawn),
        n_notes=len(notes),
        inches=panel_inches(rows),
        n_columns=1 if len(drawn) < 3 else 2,
        has_legend=False,
    )
    for axes, ladder, own in zip(grid, drawn, rows, strict=True):
        draw_rows(axes, own, colours)
        style.relative_axis(axes, "x")
        axes.set_xlabel("Stored, $R$ (bits per parameter)")
        _draw_path(axes, ladder)
        _write_changes(axes, ladder)
    style.title_panels(figure, grid, [_title(ladder) for ladder in drawn], has_wide_labels=True)
    style.write_notes(figure, notes)
    return figure


def _row(step: Step) -> DotRow:
    side = step.side
    label = f"{side.name}   {style.short_count(side.n_params[1])}"
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
    """A thin line from step to step."""
    path = [(s.side.capacity.value, i) for i, s in enumerate(ladder) if s.side.capacity]
    axes.plot(*zip(*path, strict=True), color="0.7", lw=0.8, zorder=1)


def _write_changes(axes: Axes, ladder: Ladder) -> None:
    """Right of each row, what the step does to R; the first row has the heading."""
    texts = ["change of $R$", *(_change(step.change) for step in ladder[1:])]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(len(ladder)), texts, fontsize=8, color="0.3")
    right.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)


def _change(change: Comparison | None) -> str:
    ratio = change.ratio if change else None
    if ratio is None:
        return ""
    if ratio.low is None or ratio.high is None:
        return f"x {ratio.value:.2f}"
    return f"x {ratio.value:.2f}  ({ratio.low:.2f} to {ratio.high:.2f})"


def _title(ladder: Ladder) -> tuple[str, ...]:
    side = ladder[0].side
    people = f"{style.short_count(side.n_people)} people"
    return side.dataset, people, f"{side.exposures:g} exposures"


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
