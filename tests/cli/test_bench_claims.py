"""What benchmarks say of themselves, and what their results say."""

import json

import pytest

from kcap_ray.cli.bench_claims import (
    BENCHMARKS,
    find_benchmark,
    is_met,
    machine_of,
    read_benchmarks,
    read_results,
    results_of,
    results_table,
    rounded,
)
from kcap_ray.config.errors import UserError

SCRIPT = '''"""P3{part}: how fast it is,
beside the peer.

Peer: somebody
  else
Goal: at least 2 x
Needs: a GPU

    python benchmarks/{name}.py
"""

raise RuntimeError("imported")

if __name__ == "__main__":
    pass
'''

RECORD = {
    "claim": "P3",
    "ratio": 2.0,
    "ours": 6.0,
    "peer": 3.0,
    "unit": "steps/s",
    "date": "2026-11-22T10:00:00+00:00",
    "command": "python benchmarks/step.py",
    "versions": {"python": "3.11.7", "torch": "2.13.0"},
    "machine": {"processor": "Abacus", "cpus": 2},
}


@pytest.fixture
def directory(tmp_path):
    """Two benchmarks and a module that is none."""
    (tmp_path / "results").mkdir()
    (tmp_path / "step.py").write_text(SCRIPT.format(part="", name="step"))
    (tmp_path / "memory.py").write_text(SCRIPT.format(part=", memory", name="memory"))
    (tmp_path / "shared.py").write_text('"""P3: no script."""\n')
    return tmp_path


def write_results(directory, name, *records):
    """A file of results."""
    (directory / "results" / name).write_text(json.dumps(list(records)))


def test_benchmark_is_read_without_running_it(directory):
    """Claim, words and fields come from the docstring; modules without `__main__` are none."""
    found = read_benchmarks(directory)
    assert [(one.claim, one.name) for one in found] == [("P3", "step"), ("P3-memory", "memory")]
    step = found[0]
    assert step.what == "how fast it is, beside the peer"
    assert (step.peer, step.goal, step.needs) == ("somebody else", "at least 2 x", "a GPU")


@pytest.mark.parametrize("name", ["step", "STEP", "step.py", "P3", "p3"])
def test_benchmark_is_found_by_file_or_claim(directory, name):
    """In any case of letters."""
    assert find_benchmark(name, read_benchmarks(directory)).name == "step"


@pytest.mark.parametrize(("name", "meant"), [("stp", "step"), ("p3-memry", "P3-memory")])
def test_unknown_benchmark_names_the_closest(directory, name, meant):
    """And all others."""
    with pytest.raises(UserError, match=rf"'{name}' \(did you mean {meant}\?\).*memory"):
        find_benchmark(name, read_benchmarks(directory))


def test_installed_package_says_where_benchmarks_are(tmp_path):
    """They lie beside the package, in its source tree alone."""
    with pytest.raises(UserError, match="source tree"):
        read_benchmarks(tmp_path / "nowhere")


def test_results_are_read_by_claim_without_dry_runs(directory):
    """P2 stands before P10; what claims no number of ours is left out, and so is a dry run."""
    others = [RECORD | {"claim": claim} for claim in ("P10", "P2", "statistics: length")]
    write_results(directory, "a.json", *others, RECORD | {"dry_run": True})
    assert [record["claim"] for record in read_results(directory)] == ["P2", "P10"]


def test_last_result_is_that_of_each_machine(directory):
    """An old run on another machine still says something; one on the same machine does not."""
    gpu = {"machine": {"gpu": {"name": "Abacus 200"}}, "date": "2026-10-01T10:00:00+00:00"}
    old = RECORD | {"date": "2026-11-01T10:00:00+00:00"}
    write_results(directory, "a.json", old, RECORD)
    write_results(directory, "b.json", RECORD | gpu)
    step, memory = read_benchmarks(directory)
    found = results_of(step, read_results(directory))
    assert {(machine_of(one), one["date"][:10]) for one in found} == {
        ("Abacus, 2 CPUs", "2026-11-22"),
        ("Abacus 200", "2026-10-01"),
    }
    assert results_of(memory, read_results(directory)) == []


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        ({}, None),
        ({"goal": 6.0}, True),
        ({"goal": 6.1}, False),
        ({"goal": 2.0, "goal_for": "ratio"}, True),
        ({"goal": 2.1, "goal_for": "ratio"}, False),
        ({"goal": 6.0, "goal_is": "at most"}, True),
        ({"goal": 5.9, "goal_is": "at most"}, False),
    ],
)
def test_goal_is_a_bound_on_ours_or_on_the_ratio(goal, met):
    """From below or from above; without a goal there is nothing to meet."""
    assert is_met(RECORD | goal) is met
    verdict = {True: "met", False: "missed", None: ""}[met]
    assert results_table([RECORD | goal]).splitlines()[-1].split(" | ")[6] == f"{verdict} |"


def test_table_has_as_many_columns_in_every_line():
    """So that it is one in Markdown."""
    table = results_table([RECORD, RECORD | {"goal": 2.0, "what": "small"}])
    lines = [line for line in table.splitlines() if "|" in line]
    assert len({line.count("|") for line in lines}) == 1


def test_results_of_another_day_stand_in_a_table_of_their_own():
    """Each under a line that says machine, day and versions."""
    later = RECORD | {"date": "2026-11-29T10:00:00+00:00"}
    first, second = results_table([RECORD, later]).split("\n\n**")
    assert "2026-11-22" in first.splitlines()[0]
    assert "2026-11-29" in second.splitlines()[0]


def test_tables_in_the_docs_are_those_of_the_committed_results():
    """Numbers come from files: `kcap bench --table` writes them."""
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text(encoding="utf-8")
    assert results_table(read_results(BENCHMARKS)) in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (101467897.4, "101M"),
        (20869.0, "20.9k"),
        (4096, "4096"),
        (86.0, "86"),
        (0.0032561, "0.00326"),
    ],
)
def test_number_is_shown_with_three_digits(value, shown):
    """Four where they stand before the point."""
    assert rounded(value) == shown


def test_every_claim_says_peer_goal_and_needs():
    """Of the benchmarks that there are, and no two claim the same."""
    claiming = [one for one in read_benchmarks(BENCHMARKS) if one.claim]
    unsaid = [one.name for one in claiming if "" in (one.what, one.peer, one.goal, one.needs)]
    assert not unsaid
    assert len({one.claim for one in claiming}) == len(claiming)


def test_every_committed_result_can_be_repeated():
    """It has both sides, the command, the machine and the versions, and its script exists."""
    names = {one.path.name for one in read_benchmarks(BENCHMARKS)}
    for record in read_results(BENCHMARKS):
        assert RECORD.keys() <= record.keys(), record["claim"]
        script = record["command"].split()[1]
        assert script.removeprefix("benchmarks/") in names
        assert not any(word.startswith("/") for word in record["command"].split())
