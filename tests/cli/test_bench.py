"""`kcap bench` as a stranger uses it."""

import pytest
from typer.testing import CliRunner

from kcap_ray.cli import bench as cli_bench
from kcap_ray.cli.bench_claims import BENCHMARKS, read_benchmarks
from kcap_ray.cli.main import app

ECHO = '''"""P3: what it was called with."""

import sys

if __name__ == "__main__":
    print("called with", sys.argv[1:])
    sys.exit(3 if "fail" in sys.argv else 0)
'''


def run(*arguments):
    """The verb's result: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, ["bench", *arguments])


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory with one benchmark in the place of the project's."""
    (tmp_path / "echo.py").write_text(ECHO)
    monkeypatch.setattr(cli_bench, "BENCHMARKS", tmp_path)
    return tmp_path


def test_list_names_every_benchmark():
    """With its claim, and runs none."""
    done = run()
    assert done.exit_code == 0, done.output
    for one in read_benchmarks(BENCHMARKS):
        assert f"{one.claim or '-':10} {one.name}: " in done.stdout


def test_table_of_results_is_markdown():
    """Tables, each under a line that says what machine it is of."""
    done = run("--table")
    assert done.exit_code == 0, done.output
    lines = [line for line in done.stdout.splitlines() if line]
    assert {line[:2] for line in lines} == {"**", "| "}
    assert all(line.endswith((":", " |")) for line in lines)


@pytest.mark.parametrize("name", ["echo", "p3"])
def test_benchmark_runs_with_its_arguments(own, capfd, name):
    """What stands behind `--` goes to the script, and its output comes through."""
    done = run(name, "--json", "there.json", "--", "--rounds", "2")
    assert done.exit_code == 0, done.output
    assert capfd.readouterr().out == "called with ['--json', 'there.json', '--rounds', '2']\n"


def test_status_of_the_script_is_the_verbs(own, capfd):
    """So that a script may tell whether a benchmark has failed."""
    assert run("echo", "fail").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["P33"], ["P33", "did you mean P3?"]),
        (["training_stap"], ["training_stap", "did you mean training_step?"]),
        (["--json", "there.json"], ["there.json", "kcap bench P1"]),
        (["P3", "--table"], ["--table"]),
        (["--colour"], ["--colour"]),
    ],
)
def test_mistake_is_explained(arguments, words):
    """In one or two lines, with exit status 2."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    for word in words:
        assert word in done.stderr


def test_installed_package_has_no_benchmarks(tmp_path, monkeypatch):
    """Where the source tree is not, the verb says so."""
    monkeypatch.setattr(cli_bench, "BENCHMARKS", tmp_path / "nowhere")
    done = run()
    assert done.exit_code == 2
    assert "source tree" in done.stderr
