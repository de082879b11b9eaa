"""What a run says in a sentence: its main figure, its result with an interval, its main table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.architectures import compare_architectures
from analysis.bands import find_bands
from analysis.comparison import Comparison
from analysis.estimate import Estimate
from analysis.fit import CapacityFit
from analysis.groups import families_of
from analysis.junk import compare_junk, parse_junk
from analysis.page import number
from analysis.peak_table import find_peaks
from analysis.pooling import pool
from analysis.quantized import compare_quantized, find_full
from analysis.words import Names, joined

ERROR = 0.05
"""Probability, after Holm's correction, below which a difference is called one."""
MAX_NAMED = 4
"""Things that a sentence names one by one."""


@dataclass(frozen=True, kw_only=True)
class Headline:
    """The first thing to see of a run."""

    figures: tuple[str, ...]
    """Figures that answer the question, best first."""
    table: str
    """The table beside it: `capacity`, `architectures`, `quantized`, `junk`, `bands`, `peaks`."""
    sentence: str
    """The result, with its interval or why there is none."""


def headline(used_rows: pd.DataFrame, fits: Sequence[CapacityFit], names: Names) -> Headline:
    """By what varies: quantization, architecture, junk, frequency, data; else by the law."""
    plain = used_rows[used_rows["quantization"] == "none"]
    for kind, sentence_of in _KINDS.items():
        sentence = sentence_of(used_rows, names)
        if sentence:
            return Headline(figures=_FIGURES[kind], table=kind, sentence=sentence)
    if plain["dataset"].nunique() > 1 and not any(fit.capacity or fit.at_least for fit in fits):
        figures = ("parts", "capacity", "ratio")
        return Headline(figures=figures, table="peaks", sentence=_data_sentence(plain, names))
    several = plain["exposures"].nunique() > 1
    first = ("ratio", "capacity") if several else ("capacity", "ratio")
    return Headline(figures=first, table="capacity", sentence=capacity_sentence(fits, names))


def capacity_sentence(fits: Sequence[CapacityFit], names: Names) -> str:
    """The fitted capacities; or what c exceeds; or why there is none."""
    fitted = [fit for fit in fits if fit.capacity or fit.at_least is not None]
    if not fitted:
        reasons = dict.fromkeys(str(fit.status) for fit in fits)
        return f"No capacity can be fitted: {joined(reasons)}." if reasons else "Nothing to fit."
    told = [f"{_capacity(fit)} {_where(fit, fitted, names)}" for fit in fitted[:MAX_NAMED]]
    more = f"; and {len(fitted) - MAX_NAMED} more below" if len(fitted) > MAX_NAMED else ""
    found = "; ".join(told) + more
    without = [fit for fit in fitted if fit.capacity and fit.capacity.low is None]
    which = "No interval" if len(without) == len(fitted) else f"{len(without)} without interval"
    is_few = any("degrees of freedom" in fit.reason for fit in without)
    why = "too few cells lie beyond the corner" if is_few else "the cells do not scatter at all"
    if any("counted once" in fit.reason for fit in without):
        why = "too few numbers of people or shapes tell how c differs between them"
    reason = f" {which}: {why}." if without else ""
    return f"A parameter holds {found}.{reason}"


def _data_sentence(rows: pd.DataFrame, names: Names) -> str:
    """The data set of which the largest share is stored, and that of which the smallest is."""
    shares = (
        (rows["stored_bits"] / rows["demand_bits"]).groupby(rows["dataset"]).max().sort_values()
    )
    (least, low), (most, high) = (
        (names.data(str(shares.index[i])), float(shares.iloc[i])) for i in (0, -1)
    )
    one = rows.groupby("dataset")["seed"].nunique().max() == 1
    seeds = "One seed: no interval" if one else "Of the best seed: no interval"
    return (
        f"Of {len(shares)} data sets, the share of the demand that is stored goes from "
        f"{low:.0%} ({least}) to {high:.1%} ({most}). {seeds}."
    )


def _capacity(fit: CapacityFit) -> str:
    if fit.capacity is None:
        return f"more than {fit.at_least:.3g} bits"
    return f"{_told(fit.capacity)} bits"


def _told(found: Estimate) -> str:
    """Value and interval; an interval that is missing is not mentioned each time."""
    return str(found).removesuffix(" (no interval)")


def _where(fit: CapacityFit, fits: Sequence[CapacityFit], names: Names) -> str:
    """What sets the group apart: exposures, and architecture or data where there are several."""
    parts = [f"after {fit.group.exposures:g} exposures"]
    if len({one.group.family for one in fits}) > 1:
        parts.append(fit.group.family)
    if len({one.group.dataset for one in fits}) > 1:
        parts.append(names.data(fit.group.dataset))
    return joined(parts)


def _architectures(rows: pd.DataFrame, names: Names) -> str:
    """How many architectures differ from the baseline, and by how much."""
    plain = rows[rows["quantization"] == "none"]
    if families_of(plain).nunique() < 2:
        return ""
    found = [c for c in compare_architectures(rows) if c.ratio is not None]
    if not found:
        return ""
    pairs = list(zip(found, pool(found), strict=True))
    sure = [(c, p) for c, p in pairs if p.p_holm is not None and p.p_holm < ERROR]
    baseline = " or ".join(dict.fromkeys(c.baseline.name for c in found))
    sides = {
        "more": [(c, p) for c, p in sure if p.interval.value > 1],
        "less": [(c, p) for c, p in sure if p.interval.value < 1],
    }
    told = []
    for word, own in sides.items():
        listed = [f"{_ratio_name(c, found)} {p.interval} times" for c, p in own[:MAX_NAMED]]
        rest = [f"{len(own) - MAX_NAMED} more below"] if len(own) > MAX_NAMED else []
        which = f" ({'; '.join([*listed, *rest])})" if own else ""
        told.append(f"{len(own) or 'none'} hold {word}{which}")
    n_single = sum(c.n_replicates == 1 for c in found)
    seeds = (
        f" {n_single} of {len(found)} rest on one seed and have no interval." if n_single else ""
    )
    return (
        f"Of {len(found)} comparisons with {baseline}, {' and '.join(told)} per parameter; by 95% "
        f"intervals and Holm's correction.{seeds}"
    )


def _ratio_name(one: Comparison, found: Sequence[Comparison]) -> str:
    several = len({c.subject.exposures for c in found}) > 1
    return f"{one.subject.name} at {one.subject.exposures:g}" if several else one.subject.name


def _quantized(rows: pd.DataFrame, names: Names) -> str:
    """What is left of R in full models: by GPTQ's defaults, or by the first methods there are."""
    full = find_full([c for c in compare_quantized(rows) if c.ratio is not None])
    methods: dict[str, list[Comparison]] = {}
    for one in full:
        methods.setdefault(one.subject.name.removeprefix(f"{one.baseline.name} "), []).append(one)
    usual = [name for name in ("gptq-int8-g128", "gptq-int4-g128") if name in methods]
    shown = usual or list(methods)[:2]
    told = [f"{name} leaves {_share(methods[name])} of what was stored" for name in shown]
    if not told:
        return ""
    ratios = {c.ratio for c in full if c.ratio}
    why = " One seed: no interval." if all(ratio.low is None for ratio in ratios) else ""
    n_more = len(methods) - len(shown)
    more = f" {n_more} more ways to quantize are in the table." if n_more else ""
    return f"In full models {' and '.join(told)}.{why}{more}"


def _share(found: Sequence[Comparison]) -> str:
    """The ratio of one model, or the range over several."""
    ratios = [c.ratio for c in found if c.ratio]
    if len(ratios) == 1:
        return _told(ratios[0])
    values = sorted(ratio.value for ratio in ratios)
    return f"{values[0]:.3g} to {values[-1]:.3g} (in {len(values)} models)"


def _junk(rows: pd.DataFrame, names: Names) -> str:
    """The smallest useful capacity beside junk, and the largest."""
    if not any(parse_junk(str(name))[1] for name in rows["dataset"].unique()):
        return ""
    found = [
        point.comparison
        for point in compare_junk(rows)
        if point.case is not None and point.comparison.ratio is not None
    ]
    if not found:
        return ""
    pairs = sorted(zip(found, pool(found), strict=True), key=lambda pair: pair[1].interval.value)
    ends = [pairs[0], pairs[-1]] if len(pairs) > 1 else pairs
    told = [
        f"{_told(p.interval)} with {c.subject.name} at {c.subject.exposures:g} exposures"
        for c, p in ends
    ]
    without = all(p.interval.low is None for _, p in pairs)
    why = " One seed: no interval." if without else " In brackets: 95% intervals."
    at = f"{found[0].baseline.exposures:g}"
    return (
        f"Useful capacity, where that without junk at {at} exposures is 1: from "
        f"{' to '.join(told)}.{why}"
    )


def _bands(rows: pd.DataFrame, names: Names) -> str:
    """What is stored of the rarest people, and of the most frequent ones."""
    bands, _ = find_bands(rows)
    if bands.empty or bands["band"].nunique() < 2:
        return ""
    counts = bands.groupby(["dataset", "table"])["band"].transform("nunique")
    if bands[counts > 1]["dataset"].nunique() < rows["dataset"].nunique() / 2:
        return ""  # one kind of knowledge among others
    means = bands[counts > 1].groupby(["dataset", "table", "band"])[["times", "share"]].mean()
    told = []
    for (dataset, _), own in list(means.groupby(["dataset", "table"]))[:MAX_NAMED]:
        rare, often = (
            own.sort_values("times").iloc[i][["times", "share"]].to_dict() for i in (0, -1)
        )
        told.append(
            f"{rare['share']:.0%} of the rarest people ({rare['times']:.0f} occurrences) and "
            f"{often['share']:.0%} of the most frequent ({often['times']:.0f}) in "
            f"{names.data(str(dataset))}"
        )
    n_seeds = bands["seed"].nunique()
    seeds = f" Means over {n_seeds} seeds" if n_seeds > 1 else " One seed"
    return f"Stored, of the demand: {'; '.join(told)}.{seeds}: no interval."


_KINDS: dict[str, Callable[[pd.DataFrame, Names], str]] = {
    "quantized": _quantized,
    "architectures": _architectures,
    "junk": _junk,
    "bands": _bands,
}
_FIGURES = {
    "quantized": ("bit_width", "quantization"),
    "architectures": ("architectures", "ratio"),
    "junk": ("junk", "ratio"),
    "bands": ("bands", "ratio"),
}


def counts_sentence(rows: pd.DataFrame, used_rows: pd.DataFrame, names: Names) -> str:
    """How many rows there are, of which data, and the largest R among them."""
    counts = rows["status"].value_counts()
    parts = [f"{len(rows)} rows: {joined(f'{n} {status}' for status, n in counts.items())}"]
    if names.shared:
        parts.append(f"Data: {names.shared}")
    if used_rows.empty:
        parts.append("No row can be used; the table says why for each")
    else:
        best = max(find_peaks(used_rows), key=lambda peak: peak.ratio)
        over = f", mean over {best.n_seeds} seeds" if best.n_seeds > 1 else ""
        parts.append(
            f"Largest R: {number(best.ratio)} bits per parameter{over}, {best.model} on "
            f"{number(best.n_people)} people after {number(best.group.exposures)} exposures"
        )
        n_edge = sum(isinstance(edge, str) and edge != "" for edge in used_rows["edge"])
        if n_edge:
            parts.append(
                f"{n_edge} cells are best at the edge of the learning rates or weight decays that "
                "were searched: their true best may lie beyond"
            )
    return ". ".join(parts) + "."
