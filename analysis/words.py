"""Names of data sets in words: `bioD-K6-C1-D50-L1-T2000-mini` says nothing to who sees it first."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.groups import GroupKey

# The column `dataset`: a table, junk around it, other tables, and whether windows mix them. A plus
# before a number is another table; before a word, another attribute of this one.
_NAME = re.compile(
    r"(?P<table>(?:[^+]|\+(?![\d.]))+?)"
    r"(?:-junk(?P<ratio>[\d.]+)x(?P<people>\d+[KM]?)(?P<token>-token)?)?"
    r"(?P<parts>\+[\d.].*?)?(?P<mixed>-mixed)?"
)
_PART = re.compile(r"\+(?P<weight>[\d.e+-]+)x(?P<table>[^+]+?):(?P<people>\d+)")
_TABLE = re.compile(
    r"(?P<kind>bioS_simple|bioS|bioR|bioD|tuples|random(?=-L\d+-T\d+))"
    r"(?:-K(?P<K>\d+)-C(?P<C>\d+)-D(?P<D>\d+)-L(?P<L>\d+)-T(?P<T>\d+))?"
    r"(?P<rest>(?:-.+?)??)"
    r"(?:-zipf(?P<zipf>[\d.]+)|-by_(?P<column>.+))?"
)
N_PARTS = 9


def dataset_parts(name: str) -> tuple[str, ...]:
    """What the name of a data set says, in N_PARTS phrases of which each may be empty.

    In one order for all data sets, so that figures can tell what their panels share: kind, values,
    alphabet, pools, frequency, junk, token, other tables, mixing. A name of another form is the
    first of them as it is.
    """
    match = _NAME.fullmatch(name)
    table = _table_parts(match["table"]) if match else None
    if match is None or table is None:
        return (name, *[""] * (N_PARTS - 1))
    junk = f"{match['ratio']}:1 junk of {match['people']} people" if match["ratio"] else ""
    others = [_other(part) for part in _PART.finditer(match["parts"] or "")]
    return (
        *table,
        junk,
        "domain token" if match["token"] else "",
        "; ".join(others) or (match["parts"] or "").lstrip("+"),
        "biographies mixed" if match["mixed"] else "",
    )


def dataset_words(name: str) -> str:
    """The name in words: `bioS-mini-zipf1` -> `bioS, small pools, Zipf frequencies (1)`."""
    return joined(dataset_parts(name))


def joined(phrases: Iterable[str]) -> str:
    """The phrases that are not empty, with commas."""
    return ", ".join(phrase for phrase in phrases if phrase)


def tell_apart(names: Iterable[str]) -> tuple[str, dict[str, str]]:
    """What all data sets share, in words, and for each what it has of its own.

    One that has nothing of its own is called by its kind: of bioD and bioD with junk, `bioD`.
    """
    parts = {name: dataset_parts(name) for name in dict.fromkeys(names)}
    columns = list(zip(*parts.values(), strict=True))
    is_shared = [len(set(column)) == 1 for column in columns]
    shared = joined(column[0] for column, same in zip(columns, is_shared, strict=True) if same)
    own = {
        name: joined(phrase for phrase, same in zip(phrases, is_shared, strict=True) if not same)
        or phrases[0]
        for name, phrases in parts.items()
    }
    if len(set(own.values())) < len(own):
        return "", {name: name for name in own}
    return shared, own


def _table_parts(label: str) -> tuple[str, ...] | None:
    """Kind, values, alphabet, pools and frequency of one table."""
    match = _TABLE.fullmatch(label)
    if match is None or (match["kind"] == "bioD") != (match["K"] is not None):
        return None
    rest = match["rest"].removeprefix("-")
    kind, pools = match["kind"], " ".join(rest.split("-"))
    if strings := re.fullmatch(r"L(\d+)-T(\d+)", rest):
        kind, pools = f"random strings of {strings[1]} tokens, {int(strings[2]):,} kinds", ""
    if kind == "tuples":
        kind, pools = f"own facts ({rest})" if rest else "own facts", ""
    elif rest == "mini" or rest.startswith("mini-"):
        pools = joined(["small pools", rest.removeprefix("mini").strip("-")])
    if "+" in rest:
        pools = pools.replace("+", ", ").replace("_", " ")
    values = alphabet = ""
    if match["K"] is not None:
        things = "words" if match["L"] == "1" else f"strings of {match['L']} words"
        values = f"{match['K']} attributes, each {match['C']} of {match['D']} {things}"
        alphabet = f"{int(match['T']):,} words in all"
    frequency = f"Zipf frequencies ({match['zipf']})" if match["zipf"] else ""
    if match["column"]:
        frequency = f"frequencies by {match['column']}"
    return kind, values, alphabet, pools, frequency


def _other(part: re.Match[str]) -> str:
    """Another table of a mixture: its tokens for each of the first one's, and its people."""
    words = joined(_table_parts(part["table"]) or [part["table"]])
    return f"and {part['weight']} times as much {words} ({int(part['people']):,} people)"


@dataclass(frozen=True, kw_only=True)
class Names:
    """How a report calls the data sets of its run."""

    shared: str
    """What they share; empty if nothing."""
    own: Mapping[str, str]
    """Data set: what it has of its own."""

    @classmethod
    def of(cls, datasets: Iterable[str]) -> "Names":
        shared, own = tell_apart(datasets)
        return cls(shared=shared, own=own)

    def data(self, dataset: str) -> str:
        """The short name of a data set; in words where it is not one of the run's."""
        return self.own.get(dataset) or dataset_words(dataset)

    def group(self, key: GroupKey) -> str:
        """Data, architecture, quantization and exposures in one line."""
        quantization = "" if key.quantization == "none" else key.quantization
        data = self.data(key.dataset)
        return joined([data, key.family, quantization, f"{key.exposures:g} exposures"])

    def label(self, text: str) -> str:
        """A label that begins with a data set (`bioS-mini, gpt2`), with its short name."""
        dataset, comma, rest = text.partition(", ")
        return self.data(dataset) + comma + rest


def hours_words(hours: float) -> str:
    """Hours as a table shows them: whole from ten on, else two digits."""
    if hours >= 10:
        return f"{hours:,.0f}"
    return np.format_float_positional(hours, precision=2, fractional=False, trim="-")
