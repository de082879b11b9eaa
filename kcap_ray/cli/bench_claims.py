"""The benchmarks beside the package: what each of them claims, read from its docstring, and what
its committed results say.

A benchmark is a script in benchmarks/ with a `__main__`. Nothing is registered anywhere: the first
words of its docstring name its claim (`P3: ...`, or `P1, memory: ...` for a part of one), and lines
that begin with `Peer:`, `Goal:` and `Needs:` say the rest. No script is imported to learn this.
"""

import ast
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError, did_you_mean

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

_FIELDS = ("Peer", "Goal", "Needs")
_SHOWN_VERSIONS = ("python", "torch", "transformers", "ray")

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """What a script says of itself."""

    path: Path
    claim: str
    """`P3`, or `P1-memory` for a part of a claim; empty for a script that claims nothing."""
    what: str
    """What is compared."""
    peer: str
    goal: str
    needs: str

    @property
    def name(self) -> str:
        """By which it is called: the file's name without `.py`."""
        return self.path.stem


def read_benchmarks(directory: Path) -> list[Benchmark]:
    """All benchmarks, in the order of their claims; those without one last.

    Raises `UserError` where there is no such directory, as in an installed package.
    """
    if not directory.is_dir():
        raise UserError(
            f"bench: {directory} does not exist; benchmarks are not installed with kcap, run them "
            "in its source tree (pip install -e .)"
        )
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in directory.glob("*.py")}
    found = [
        _benchmark(path, ast.get_docstring(tree) or "")
        for path, tree in trees.items()
        if _is_script(tree)
    ]
    return sorted(found, key=lambda one: (_order(one.claim), one.name))


def _is_script(tree: ast.Module) -> bool:
    """Whether it has `if __name__ == "__main__":`."""
    return any(
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        for node in tree.body
    )


def _benchmark(path: Path, docstring: str) -> Benchmark:
    first = docstring.split("\n\n")[0]
    match = re.match(r"(P\d+)(?:, ([\w ]+))?: ", first)
    claim = "" if match is None else "-".join(filter(None, [match[1], match[2]]))
    what = first if match is None else first[match.end() :]
    fields = {name: _field(docstring, name) for name in _FIELDS}
    return Benchmark(
        path=path,
        claim=claim.replace(" ", "-"),
        what=" ".join(what.split()).rstrip("."),
        peer=fields["Peer"],
        goal=fields["Goal"],
        needs=fields["Needs"],
    )


def _field(docstring: str, name: str) -> str:
    """What stands behind `name:` at the beginning of a line, up to an empty line or the next field;
    empty if it does not stand there.
    """
    ends = "|".join(f"{field}:" for field in _FIELDS)
    match = re.search(rf"^{name}:(.*?)(?=^(?:{ends})|^\s*$|\Z)", docstring, re.M | re.S)
    return " ".join(match[1].split()) if match else ""


def _order(claim: str) -> tuple[float, str]:
    """P2 comes before P10, and what claims nothing at the end."""
    match = re.match(r"P(\d+)", claim)
    return (float(match[1]) if match else float("inf"), claim)


def find_benchmark(name: str, benchmarks: Sequence[Benchmark]) -> Benchmark:
    """The benchmark with that file name or claim, in any case.

    Raises `UserError` with the nearest name if there is none.
    """
    wanted = name.lower().removesuffix(".py")
    for one in benchmarks:
        if wanted in (one.name, one.claim.lower()):
            return one
    names = [one.name for one in benchmarks] + [one.claim for one in benchmarks if one.claim]
    hint = did_you_mean(wanted, names)
    raise UserError(f"bench: there is no benchmark {name!r}{hint}; one of {', '.join(names)}")


def read_results(directory: Path) -> list[Record]:
    """The records in its results/ that claim something, in the order of their claims, of equal
    claims the newest last; dry runs are none.
    """
    records: list[Record] = []
    for path in sorted(directory.glob("results/*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        records += content if isinstance(content, list) else [content]
    claims = [
        record
        for record in records
        if re.match(r"P\d", str(record.get("claim"))) and not record.get("dry_run")
    ]
    return sorted(claims, key=lambda record: (_order(record["claim"]), record["date"]))


def results_of(benchmark: Benchmark, records: Sequence[Record]) -> list[Record]:
    """Of the records those that the newest run of the benchmark on each machine has made."""
    own = [record for record in records if f"benchmarks/{benchmark.path.name}" in record["command"]]
    newest = {machine_of(record): record["date"] for record in own}
    for record in own:
        newest[machine_of(record)] = max(newest[machine_of(record)], record["date"])
    return [record for record in own if record["date"] == newest[machine_of(record)]]


def machine_of(record: Record) -> str:
    """The GPU that was measured, or the processor and its number of logical CPUs."""
    machine = record["machine"]
    if "gpu" in machine:
        return machine["gpu"]["name"]
    return f"{machine['processor']}, {machine['cpus']} CPUs"


def is_met(record: Record) -> bool | None:
    """Whether the record reaches its goal; None if it has none."""
    if record.get("goal") is None:
        return None
    value = record[record.get("goal_for", "ours")]
    if record.get("goal_is", "at least") == "at most":
        return value <= record["goal"]
    return value >= record["goal"]


def rounded(value: float) -> str:
    """Three digits that count: 101467897.4 -> 101M, 20869 -> 20.9k, 0.0032561 -> 0.00326."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def results_table(records: Sequence[Record]) -> str:
    """The records as tables in Markdown, one for each machine, day and set of versions."""
    titles = ("claim", "what", "ours", "peer", "ratio", "goal", "")
    by_place: dict[str, list[Record]] = {}
    for record in records:
        by_place.setdefault(_place(record), []).append(record)
    return "\n\n".join(
        "\n".join(
            [f"{place}:", ""]
            + [f"| {' | '.join(line)} |" for line in (titles, _RULE, *map(_row, own))]
        )
        for place, own in by_place.items()
    )


_RULE = ("---",) * 7


def _place(record: Record) -> str:
    versions = record["versions"]
    shown = [f"{name} {versions[name]}" for name in _SHOWN_VERSIONS if name in versions]
    return f"**{machine_of(record)}**, {record['date'][:10]}, {', '.join(shown)}"


def _row(record: Record) -> tuple[str, ...]:
    sign = {"at least": ">=", "at most": "<="}[record.get("goal_is", "at least")]
    goal = "" if record.get("goal") is None else f"{sign} {rounded(record['goal'])}"
    if goal and record.get("goal_for") == "ratio":
        goal += " x"
    peer_is = record.get("peer_is")
    return (
        record["claim"],
        record.get("what") or record.get("data") or record.get("cell") or "",
        f"{rounded(record['ours'])} {record['unit']}",
        rounded(record["peer"]) + (f" ({peer_is})" if peer_is else ""),
        rounded(record["ratio"]),
        goal,
        {True: "met", False: "missed", None: ""}[is_met(record)],
    )
