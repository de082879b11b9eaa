"""The page of the paper's claims: each with its verdict, what miniatures say of it, what it would
take to decide it, and what was spent on the runs.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.board import command_of, hours_of, markdown_table
from analysis.claims.claim import Finding, Verdict
from analysis.claims.in_miniature import Answer, Word, read_answers
from analysis.claims.judge import Part, Unit
from analysis.claims.paper import judge_claims
from analysis.load import load_results
from analysis.seeds import MAX_SEEDS
from analysis.words import hours_words
from kcap_ray.runs.files import write_atomically

_WORDS = (Word.AGREES, Word.DIFFERS, Word.OPEN)
DIGEST_START, DIGEST_END = "<!-- written by make claims -->", "<!-- until here -->"
_INTRODUCTION = """\
# The paper's claims

What the committed runs say of each claim of [arXiv 2404.05405](https://arxiv.org/abs/2404.05405).
`make claims` writes this page from the tables in `docs/results`.

A verdict other than *not measured* takes the paper's data and sizes (but for the bound, to which
every row is held), and *holds* or *does not hold* an interval that decides it
([decision 0055](../decisions/0055-verdicts-by-intervals.md)). What
miniatures show decides nothing; it has [a table of its own](#in-miniature).
Points that a GPU measured outside of a sweep are on [their own page](contact/README.md).
"""

_MINIATURE = """\
## In miniature

The same statements asked of models below the paper's sizes or data, mostly of ten to forty thousand
parameters, and judged by the same regions and intervals
([0056](../decisions/0056-margins-of-claims.md)), each by itself, run by run. A miniature *agrees*
with a statement, *differs* from it, or leaves it *open*; it decides nothing about the paper's
sizes.

- R is in bits per parameter, and a ratio has an x. Of several models the lowest and the highest.
- A peak is over two shapes or more, of which the highest is limited by its parameters and not by
  its data (R_max of 1.5 times what is needed); whatever is as high as needed counts.
- Runs at *other exposures* than the paper's stand here where there are none at the paper's, and say
  nothing of the statement.
- What int8 and int4 cost scatters from model to model: there *seeds* are models.
- LLaMA and Mistral have tied weights, and most mixtures 8 experts instead of 32: a second
  embedding, or 32 experts, would be most of so small a model.
- The paper trains by AdamW. What says *muon* was trained by it on both sides.
- Claim 7 replaces LLaMA's gated MLP; with gelu in the same step as well, where a run has only that.
- *To decide* says how many seeds in all would do with a probability of 0.8, if the numbers stay
  where they are, and how many hours more they train, on the machine of the run. With one seed it is
  a guess from the scatter of other runs.
- Some runs got more seeds where this column said that few would do. Their intervals do not pay for
  the second look; which they are is in [the list of runs](README.md#the-runs).
"""

_PRICES = """\
## What it takes to decide them

The smallest part of the paper's sweeps that can decide each claim at the paper's sizes, planned by
`kcap plan` and good to a factor of two (`python benchmarks/claim_prices.py`): two numbers of people
where the claim is about each of them, and three seeds of each cell, the fewest for a verdict.
Whether three are enough depends on how much seeds scatter at these sizes, which nobody has
published.
"""


def page_of(directories: Sequence[Path], prices: Path | None = None) -> str:
    """The page in Markdown, with the prices of that file. Raises `ResultsError` where a run cannot
    be read.
    """
    findings = judge_claims(load_results(directories).used)
    counts = {verdict: sum(one.verdict is verdict for one in findings) for verdict in Verdict}
    summary = ", ".join(f"{n} {verdict}" for verdict, n in counts.items() if n)
    rows = [_claim_row(one) for one in findings]
    runs = list(_run_rows(directories))
    total = sum(hours for _, _, hours, _ in runs)
    spent = [(name, cells, hours_words(hours), command) for name, cells, hours, command in runs]
    columns = {"": "---", "claim": "---", "verdict": "---", "what there is": "---"}
    return "\n".join(
        [
            f"{_INTRODUCTION}\n{summary}.\n",
            markdown_table(rows, columns),
            miniature_section(read_answers(directories)),
            *([] if prices is None else [price_section(prices)]),
            "## What they cost\n",
            f"{total:.1f} hours of training, of all trials and fresh seeds, on the machines that"
            " ran them (which often had other work). Cells taken over from another run count in"
            " both:\n",
            markdown_table(
                spent, {"run": "---", "cells": "--:", "hours": "--:", "command": "---"}
            ).rstrip("\n"),
            "",
        ]
    )


def digest_of(directories: Sequence[Path], prices: Path) -> str:
    """A line for each claim: its verdict, how many statements miniatures agree with, what it takes.
    Raises `ResultsError` where a run cannot be read.
    """
    findings, answers = judge_claims(load_results(directories).used), read_answers(directories)
    tests = json.loads(prices.read_text(encoding="utf-8"))["tests"]
    rows = []
    for one in findings:
        own = [answer.word for answer in answers if one.claim in answer.claim.split(", ")]
        words = ", ".join(f"{own.count(word)} {word}" for word in _WORDS if word in own)
        price = [_price_of(t) for t in tests if one.claim in t["claims"].split(", ")]
        statement = one.statement.replace("|", "\\|")
        found = words or ("other exposures" if own else "nothing")
        rows.append((one.claim, statement, str(one.verdict), found, *(price or [""])))
    columns = {
        "": "---",
        "the paper's claim": "---",
        "at its sizes": "---",
        "in miniature": "---",
        "to decide": "--:",
    }
    return markdown_table(rows, columns)


def write_page(directories: Sequence[Path], out: Path) -> None:
    """Write the page, and its digest between the two marks of README.md beside it, if it has them;
    with the prices of claim_prices.json there. Raises `ResultsError` where a run cannot be read.
    """
    prices, readme = out.with_name("claim_prices.json"), out.with_name("README.md")
    known = prices if prices.is_file() else None
    write_atomically(out, page_of(directories, known))
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if known is not None and DIGEST_START in text and DIGEST_END in text:
        write_atomically(readme, with_digest(text, digest_of(directories, known)))


def with_digest(page: str, digest: str) -> str:
    """The page with the digest between its two marks."""
    before, _, rest = page.partition(DIGEST_START)
    _, _, after = rest.partition(DIGEST_END)
    return f"{before}{DIGEST_START}\n\n{digest}\n{DIGEST_END}{after}"


def _price_of(test: Mapping[str, Any]) -> str:
    """More where something is needed that cannot be planned."""
    return f"{'more than ' if test['also'] else ''}${test['dollars']:,.0f}"


def miniature_section(answers: Sequence[Answer]) -> str:
    """What runs in miniature say, statement by statement."""
    counts = {word: sum(one.word is word for one in answers) for word in _WORDS}
    summary = ", ".join(f"{n} {word}" for word, n in counts.items())
    columns = {
        "claim": "---",
        "in miniature": "---",
        "needed": "---",
        "found, 95%": "---",
        "seeds": "--:",
        "": "---",
        "to decide": "---",
        "exposures": "--:",
        "people": "--:",
        "parameters": "--:",
        "run": "---",
    }
    return f"{_MINIATURE}\n{summary}.\n\n{markdown_table([*map(_answer_row, answers)], columns)}"


def _answer_row(answer: Answer) -> tuple[str, ...]:
    """The lowest and the highest number, where there are several."""
    part = answer.part
    ordered = sorted(part.units, key=lambda unit: unit.peaks.value)
    ends = ordered if len(ordered) < 2 else [ordered[0], ordered[-1]]
    word = str(answer.word)
    return (
        answer.claim,
        part.name,
        part.region.criterion.partition(":")[0].removesuffix(" bits per parameter"),
        " to ".join(_number(unit, part) for unit in ends),
        str(answer.n_seeds),
        f"**{word}**" if answer.word in (Word.AGREES, Word.DIFFERS) else word,
        _price(answer) if answer.word is Word.OPEN else "",
        f"{answer.exposures:g}",
        _range(answer.n_people),
        _range(answer.n_params),
        f"`{answer.run}`",
    )


def _number(unit: Unit, part: Part) -> str:
    found = unit.peaks.interval()
    value = f"{found.value:.2f}{part.unit_of_number}"
    return value if found.low is None else f"{value} [{found.low:.2f}, {found.high:.2f}]"


def _price(answer: Answer) -> str:
    if answer.n_needed > MAX_SEEDS:
        return "too close to the bound"
    return f"{answer.n_needed:,} seeds, {hours_words(answer.hours_needed)} hours"


def _range(ends: tuple[int, int]) -> str:
    return " to ".join(dict.fromkeys(f"{end:,}" for end in ends))


def price_section(file: Path) -> str:
    """The smallest tests of the claims at the paper's sizes, from `benchmarks/claim_prices.py`."""
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = [
        (
            one["claims"],
            f"{one['n_cells']:,}",
            f"{one['device_hours']:,.0f}",
            f"${one['dollars']:,.0f}",
            "<br>".join(
                [*(f"`{command}`" for command in one["commands"]), *filter(None, [one["also"]])]
            ),
        )
        for one in found["tests"]
    ]
    hours, dollars = (
        sum(one[key] for one in found["tests"]) for key in ("device_hours", "dollars")
    )
    columns = {"claims": "---", "cells": "--:", "hours": "--:", "price": "--:", "command": "---"}
    return (
        f"{_PRICES}\nAll of them: {hours:,.0f} A100-hours, ${dollars:,.0f}, at {found['price']}."
        f"\n\n{markdown_table(rows, columns)}"
    )


def _claim_row(finding: Finding) -> tuple[str, ...]:
    parts = [finding.reason]
    if finding.verdict is Verdict.UNDECIDED:
        parts.append(f"Would be decided by {finding.outcome.decided_by}")
    if finding.contradiction:
        parts.append(f"*Beside it: {finding.contradiction}*")
    cells = (finding.claim, finding.statement, str(finding.verdict), ". ".join(parts))
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _run_rows(directories: Iterable[Path]) -> Iterable[tuple[str, str, float, str]]:
    """Name, cells, hours and command of each run that has a finished cell."""
    for directory in directories:
        used = load_results([directory]).used
        if not used.empty:
            hours = sum(hours_of(used).values())
            yield (
                f"`{directory.name}`",
                str(used["cell_id"].nunique()),
                hours,
                f"`{command_of(directory)}`",
            )
