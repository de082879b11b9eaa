"""The comparisons of the report as tables; None where there is nothing to show."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.comparison import Comparison
from analysis.junk import compare_junk
from analysis.ladder import find_ladders
from analysis.page import (
    Cell,
    Head,
    Row,
    Table,
    condensed,
    estimate_cells,
    interval_cell,
    number,
    number_cell,
    share_cell,
    text_cell,
)
from analysis.pooling import NOTHING, Pooled, pool
from analysis.quantized import compare_quantized
from analysis.words import Names

SEEDS_TEXT = (
    "Intervals are Student's over the logs of the ratios inside each seed; with one seed there is "
    "none. Pooled: the variance of each row drawn towards that of the others, and wider where a "
    "peak was chosen among several models; p by the pooled variance, after Holm's correction over "
    "the rows of the table."
)

POOLED_HEADS = (
    Head(name="Pooled interval", place="always"),
    Head(name="p (Holm)", place="wide"),
)
SETTING_HEADS = (
    Head(name="Data", kind="name"),
    Head(name="People"),
    Head(name="Exposures", place="wide"),
)


def architectures_table(rows: pd.DataFrame, names: Names) -> Table | None:
    """Capacity of every architecture relative to GPT-2."""
    text = (
        "Where both sides have several sizes the ratio is that of their peaks (largest R over the "
        f"sizes), else that of R at the same layers and heads. {SEEDS_TEXT}"
    )
    return _ratios(compare_architectures(rows), "Architecture", text, names)


def quantized_table(rows: pd.DataFrame, names: Names) -> Table | None:
    """R of quantized weights relative to that before."""
    text = f"R after quantization over R before, model by model. {SEEDS_TEXT}"
    return _ratios(compare_quantized(rows), "Weights", text, names)


def junk_table(rows: pd.DataFrame, names: Names) -> Table | None:
    """Useful capacity in every case with junk, relative to that without."""
    points = [point for point in compare_junk(rows) if point.case is not None]
    if not points:
        return None
    heads = (
        Head(name="Junk", kind="name", place="always"),
        Head(name="Architecture", kind="name"),
        Head(name="Data", kind="name"),
        Head(name="People"),
        Head(name="Exposures", place="always"),
        Head(name="Relative capacity", place="always"),
        Head(name="Interval", place="more"),
        *POOLED_HEADS,
        Head(name="No junk at", unit="exposures"),
        Head(name="At equal exposures", unit="relative"),
        Head(name="Seeds"),
    )
    beside = pool([point.comparison for point in points])
    lines = []
    for point, pooled in zip(points, beside, strict=True):
        found, same = point.comparison, point.same_exposures
        lines.append(
            Row(
                cells=(
                    text_cell(found.subject.name),
                    text_cell(point.family),
                    text_cell(names.data(found.baseline.dataset)),
                    number_cell(found.subject.n_people),
                    number_cell(found.subject.exposures),
                    *estimate_cells(found.ratio),
                    *_pooled_cells(pooled),
                    number_cell(found.baseline.exposures),
                    number_cell(same.ratio.value if same and same.ratio else None),
                    number_cell(found.n_replicates),
                ),
                note=found.note,
            )
        )
    text = f"R on the useful people over that of cells without junk. {SEEDS_TEXT}"
    return _noted_once(condensed(Table(heads=heads, rows=tuple(lines), text=text)))


def ladder_table(rows: pd.DataFrame, names: Names) -> Table | None:
    """R at each step from LLaMA to GPT-2."""
    steps = [step for ladder in find_ladders(rows) for step in ladder]
    if not steps:
        return None
    heads = (
        Head(name="Architecture", kind="name", place="always"),
        *SETTING_HEADS,
        Head(name="Parameters", place="more"),
        Head(name="R", unit="bits/param", place="always"),
        Head(name="R interval", unit="bits/param", place="more"),
        Head(name="From", kind="name"),
        Head(name="Change", unit="ratio", place="always"),
        Head(name="Change interval", unit="ratio", place="more"),
        *POOLED_HEADS,
    )
    beside = iter(pool([step.change for step in steps if step.change]))
    lines = [
        Row(
            cells=(
                text_cell(step.side.name),
                text_cell(names.data(step.side.dataset)),
                number_cell(step.side.n_people),
                number_cell(step.side.exposures),
                number_cell(step.side.n_params[1]),
                *estimate_cells(step.side.capacity),
                text_cell(step.before),
                *estimate_cells(step.change.ratio if step.change else None),
                *_pooled_cells(next(beside) if step.change else NOTHING),
            ),
            note=step.change.note if step.change else "",
        )
        for step in steps
    ]
    return _noted_once(condensed(Table(heads=heads, rows=tuple(lines), text=SEEDS_TEXT)))


def bands_table(rows: pd.DataFrame, names: Names) -> Table | None:
    """What is stored of every table and band of frequency, mean over seeds."""
    bands, _ = find_bands(rows)
    if bands.empty:
        return None
    keys = ["dataset", "n_people", "exposures", "table", "band", "family", "model"]
    means = bands.groupby(keys, sort=False)[["times", "share", "band_people"]].mean()
    heads = (
        Head(name="Data", kind="name", place="always"),
        Head(name="People"),
        Head(name="Exposures"),
        Head(name="Table", kind="name"),
        Head(name="Band"),
        Head(name="Architecture", kind="name"),
        Head(name="Model", kind="name"),
        Head(name="Its people"),
        Head(name="Occurrences", unit="per person", place="always"),
        Head(name="Stored", unit="of the demand", place="always"),
    )
    lines = [
        Row(
            cells=(
                text_cell(names.data(row["dataset"])),
                number_cell(row["n_people"]),
                number_cell(row["exposures"]),
                text_cell(names.data(row["table"])),
                number_cell(row["band"]),
                text_cell(row["family"]),
                text_cell(row["model"]),
                number_cell(row["band_people"]),
                number_cell(row["times"]),
                share_cell(row["share"]),
            )
        )
        for row in means.reset_index().to_dict("records")
    ]
    return condensed(Table(heads=heads, rows=tuple(lines)))


def _ratios(found: Sequence[Comparison], subject: str, text: str, names: Names) -> Table | None:
    """One line per comparison."""
    if not found:
        return None
    heads = (
        Head(name=subject, kind="name", place="always"),
        *SETTING_HEADS,
        Head(name="Relative capacity", place="always"),
        Head(name="Interval", place="more"),
        *POOLED_HEADS,
        Head(name="Of", kind="name"),
        Head(name="R", unit="bits/param", place="wide"),
        Head(name="Parameters"),
        Head(name="Seeds", place="more"),
        Head(name="Ratio of", kind="name", place="more"),
    )
    lines = [
        Row(
            cells=(
                text_cell(c.subject.name),
                text_cell(names.data(c.subject.dataset)),
                number_cell(c.subject.n_people),
                number_cell(c.subject.exposures),
                *estimate_cells(c.ratio),
                *_pooled_cells(pooled),
                text_cell(c.baseline.name),
                number_cell(c.subject.capacity.value if c.subject.capacity else None),
                _range_cell(c.subject.n_params),
                number_cell(c.n_replicates),
                text_cell(c.basis),
            ),
            note=c.note,
        )
        for c, pooled in zip(found, pool(found), strict=True)
    ]
    return _noted_once(condensed(Table(heads=heads, rows=tuple(lines), text=text)))


def _noted_once(table: Table) -> Table:
    """What most notes say is said once, below all rows."""
    parts = [part for row in table.rows for part in row.note.split("; ") if part]
    common = [
        part for part in dict.fromkeys(parts) if parts.count(part) > max(1, len(table.rows) / 2)
    ]
    rows = tuple(
        replace(row, note="; ".join(p for p in row.note.split("; ") if p not in common))
        for row in table.rows
    )
    said = [f"In {parts.count(part)} of {len(rows)} rows: {part}." for part in common]
    return replace(table, rows=rows, text=" ".join([table.text, *said]).strip())


def _pooled_cells(pooled: Pooled) -> list[Cell]:
    return [interval_cell(pooled.interval), number_cell(pooled.p_holm)]


def _range_cell(n_params: tuple[int, int]) -> Cell:
    ends = dict.fromkeys(number(n) for n in n_params)
    return Cell(text=" to ".join(ends), order=float(n_params[0]))
