"""The comparisons of the report, as HTML tables; empty text where there is nothing to show."""

from collections.abc import Sequence

import pandas as pd

from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.comparison import Comparison
from analysis.estimate import Estimate
from analysis.junk import compare_junk
from analysis.ladder import find_ladders
from analysis.markup import escape, estimate_cells, number, paragraph, table
from analysis.pooling import NOTHING, Pooled, pool
from analysis.quantized import compare_quantized

SEEDS_TEXT = (
    "Intervals are Student's over the logs of the ratios inside each seed; with one seed there is "
    "none. Pooled: the variance of each row drawn towards that of the others, and wider where a "
    "peak was chosen among several models; p by the pooled variance, after Holm's correction over "
    "the rows of the table."
)

POOLED_COLUMNS = {"Pooled interval": "", "p (Holm)": ""}


def architectures_table(rows: pd.DataFrame) -> str:
    """Capacity of every architecture relative to GPT-2."""
    found = compare_architectures(rows)
    text = (
        "Where both sides have several sizes the ratio is that of their peaks (largest R over the "
        f"sizes), else that of R at the same layers and heads. {SEEDS_TEXT}"
    )
    return _ratios(found, "Architecture", text)


def quantized_table(rows: pd.DataFrame) -> str:
    """R of quantized weights relative to that before, at the peaks."""
    text = f"R after quantization over R before, model by model. {SEEDS_TEXT}"
    return _ratios(compare_quantized(rows), "Weights", text)


def junk_table(rows: pd.DataFrame) -> str:
    """Useful capacity in every case with junk, relative to that without."""
    points = [point for point in compare_junk(rows) if point.case is not None]
    if not points:
        return ""
    columns = {
        "Junk": "",
        "Architecture": "",
        **_setting_columns(),
        "Relative capacity": "",
        "Interval": "",
        **POOLED_COLUMNS,
        "No junk at": "exposures",
        "At equal exposures": "relative",
        "Seeds": "",
        "Note": "",
    }
    lines = []
    beside = pool([point.comparison for point in points])
    for point, pooled in zip(points, beside, strict=True):
        found, same = point.comparison, point.same_exposures
        equal = same.ratio.value if same and same.ratio else None
        lines.append(
            [
                escape(found.subject.name),
                escape(point.family),
                escape(found.baseline.dataset),
                *_setting(found)[1:],
                *estimate_cells(found.ratio),
                *_pooled_cells(pooled),
                number(found.baseline.exposures),
                number(equal),
                str(found.n_replicates),
                escape(found.note),
            ]
        )
    kinds = ["name", "name", "name", *["number"] * 9, "words"]
    text = "R on the useful people over that of cells without junk."
    return paragraph(f"{text} {SEEDS_TEXT}", soft=True) + table(columns, lines, kinds=kinds)


def ladder_table(rows: pd.DataFrame) -> str:
    """R at each step from LLaMA to GPT-2."""
    steps = [step for ladder in find_ladders(rows) for step in ladder]
    if not steps:
        return ""
    columns = {
        "Architecture": "",
        **_setting_columns(),
        "Parameters": "",
        "R": "bits/param",
        "R interval": "bits/param",
        "From": "",
        "Change": "ratio",
        "Change interval": "ratio",
        **POOLED_COLUMNS,
        "Note": "",
    }
    beside = iter(pool([step.change for step in steps if step.change]))
    lines = [
        [
            escape(step.side.name),
            escape(step.side.dataset),
            number(step.side.n_people),
            number(step.side.exposures),
            number(step.side.n_params[1]),
            *estimate_cells(step.side.capacity),
            escape(step.before),
            *estimate_cells(step.change.ratio if step.change else None),
            *_pooled_cells(next(beside) if step.change else NOTHING),
            escape(step.change.note if step.change else ""),
        ]
        for step in steps
    ]
    kinds = ["name", "name", *["number"] * 5, "name", *["number"] * 4, "words"]
    return paragraph(SEEDS_TEXT, soft=True) + table(columns, lines, kinds=kinds)


def bands_table(rows: pd.DataFrame) -> str:
    """What is stored of every table and band of frequency, mean over seeds."""
    bands, _ = find_bands(rows)
    if bands.empty:
        return ""
    keys = ["dataset", "n_people", "exposures", "table", "band", "family", "model"]
    means = bands.groupby(keys, sort=False)[["times", "share", "band_people"]].mean()
    columns = {
        "Data": "",
        "People": "",
        "Exposures": "",
        "Table": "",
        "Band": "",
        "Architecture": "",
        "Model": "",
        "Its people": "",
        "Spoken of": "times",
        "Stored": "of what there is",
    }
    lines = [
        [
            escape(row["dataset"]),
            number(row["n_people"]),
            number(row["exposures"]),
            escape(row["table"]),
            str(row["band"]),
            escape(row["family"]),
            escape(row["model"]),
            number(row["band_people"]),
            number(row["times"]),
            f"{row['share']:.1%}",
        ]
        for row in means.reset_index().to_dict("records")
    ]
    kinds = ["name", "number", "number", "name", "number", "name", "name", *["number"] * 3]
    return table(columns, lines, kinds=kinds)


def _ratios(found: Sequence[Comparison], subject: str, text: str) -> str:
    """One line per comparison."""
    if not found:
        return ""
    columns = {
        subject: "",
        **_setting_columns(),
        "Relative capacity": "",
        "Interval": "",
        **POOLED_COLUMNS,
        "Of": "",
        "R": "bits/param",
        "Parameters": "",
        "Seeds": "",
        "Ratio of": "",
        "Note": "",
    }
    lines = [
        [
            escape(c.subject.name),
            *_setting(c),
            *estimate_cells(c.ratio),
            *_pooled_cells(pooled),
            escape(c.baseline.name),
            *_side(c.subject.capacity, c.subject.n_params),
            str(c.n_replicates),
            escape(c.basis),
            escape(c.note),
        ]
        for c, pooled in zip(found, pool(found), strict=True)
    ]
    kinds = [*["name"] * 2, *["number"] * 6, "name", *["number"] * 3, "name", "words"]
    return paragraph(text, soft=True) + table(columns, lines, kinds=kinds)


def _pooled_cells(pooled: Pooled) -> list[str]:
    return [estimate_cells(pooled.interval)[1], number(pooled.p_holm)]


def _setting_columns() -> dict[str, str]:
    return {"Data": "", "People": "", "Exposures": ""}


def _setting(found: Comparison) -> list[str]:
    subject = found.subject
    return [escape(subject.dataset), number(subject.n_people), number(subject.exposures)]


def _side(capacity: Estimate | None, n_params: tuple[int, int]) -> list[str]:
    ends = dict.fromkeys(number(n) for n in n_params)
    return [number(capacity.value if capacity else None), " to ".join(ends)]
