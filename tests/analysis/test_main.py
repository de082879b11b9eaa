"""The command line: exit status, one or two lines on mistakes, files that programs can read."""

import json
import subprocess
import sys

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app


@pytest.fixture(name="folder")
def folder_fixture(make_rows, write_run, tmp_path):
    sizes = ((2, 2), (4, 2), (4, 3), (6, 4))
    rows = make_rows(exposures=(100,), n_people=(50_000,), sizes=sizes)
    return write_run(tmp_path / "run", rows, with_cells=False)


def run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize("verb", ["fit", "claims"])
def test_results_are_printed_and_written_as_json(verb, folder, tmp_path):
    """--json writes a list; the folder is made."""
    path = tmp_path / "new" / "out.json"
    result = run(verb, folder, "--json", path)
    assert result.exit_code == 0
    assert result.stdout
    assert json.loads(path.read_text())


def test_plot_writes_the_figure_it_names(folder, tmp_path):
    """The path is printed, so that a script can use it."""
    path = tmp_path / "capacity.svg"
    result = run("plot", folder, "--figure", "capacity", "--out", path)
    assert result.exit_code == 0
    assert str(path) in result.stdout
    assert path.stat().st_size > 0


@pytest.fixture(name="families")
def families_fixture(make_cells, write_run, tmp_path):
    rows = make_cells({"gpt2": 1.0, "llama": 0.8, "gpt2 (muon)": 1.2})
    return write_run(tmp_path / "families", rows, with_cells=False)


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_table_holds_one_line_per_comparison(families, tmp_path, ending):
    """The same numbers in both formats; the path is printed."""
    path = tmp_path / "new" / f"table.{ending}"
    result = run("table", families, "--table", "architectures", "--out", path)
    assert result.exit_code == 0
    assert str(path) in result.stdout
    read = pd.read_csv if ending == "csv" else pd.read_json
    table = read(path).set_index("subject")
    assert set(table.index) == {"llama", "gpt2 (muon)"}
    assert table["low"]["llama"] < 0.8 < table["high"]["llama"]


def test_a_table_without_a_file_is_shown(families):
    """As text, one line per comparison under the headings."""
    result = run("table", families, "--table", "architectures")
    assert result.exit_code == 0
    assert len(result.stdout.strip().splitlines()) == 3


def test_report_prints_where_it_is(make_rows, write_run, tmp_path):
    """The last line is the report's path; a run without a result has a report too."""
    rows = make_rows(exposures=(100,), n_people=(50_000,)).assign(status="failed")
    result = run("report", write_run(tmp_path / "run", rows, with_cells=False))
    assert result.exit_code == 0
    assert result.stdout.strip().endswith("report.html")


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "nowhere"),
        ("claims", "nowhere"),
        ("report", "nowhere"),
        ("plot", "nowhere", "--figure", "capacity", "--out", "a.pdf"),
        ("plot", "nowhere", "--figure", "pie", "--out", "a.pdf"),
        ("table", "nowhere", "--table", "architectures"),
        ("table", "nowhere", "--table", "architectures", "--out", "a.docx"),
    ],
)
def test_a_users_mistake_is_told_in_two_lines_with_status_2(arguments):
    """No traceback; the message names what was given."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.strip().splitlines()) <= 2
    assert "Traceback" not in result.output


@pytest.mark.parametrize("name", ["ladder", "junk", "pie"])
def test_a_table_with_nothing_in_it_is_refused(name, families):
    """Status 2 and a line, not an empty file."""
    result = run("table", families, "--table", name)
    assert result.exit_code == 2
    assert name in result.stderr


def test_fit_of_a_run_without_results_is_refused(make_rows, write_run, tmp_path):
    """Nothing finished is a status 2, not an empty success."""
    rows = make_rows(exposures=(100,), n_people=(50_000,)).assign(status="failed")
    result = run("fit", write_run(tmp_path / "run", rows, with_cells=False))
    assert result.exit_code == 2


@pytest.mark.slow
def test_analysis_loads_neither_torch_nor_ray_nor_the_engine():
    """Reading results works on a machine that cannot train; of kcap it needs what a column means
    (`runs`), and how a mistake is told (`config`).
    """
    code = (
        "import sys, analysis.report, analysis.__main__; "
        "loaded = {tuple(m.split('.')[:2]) for m in sys.modules}; "
        "known = {('kcap_ray',), ('kcap_ray', 'runs'), ('kcap_ray', 'config')}; "
        "print({m for m in loaded if m[0] in ('torch', 'ray', 'kcap_ray')} - known)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "set()"


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("fit",),
        ("claims",),
        ("table", "--table", "architectures"),
        ("power",),
        ("predict", "--params", "20000", "--people", "800", "--exposures", "100"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_json_to_standard_output_is_alone_there(arguments, families):
    """`--json -`: a program reads what is printed, and nothing else is."""
    result = run(arguments[0], families, *arguments[1:], "--json", "-")
    assert result.exit_code == 0
    assert json.loads(result.stdout)


def test_a_plot_says_in_json_what_it_drew(folder, tmp_path):
    """File and caption, for who builds pages."""
    path, said = tmp_path / "ratio.svg", tmp_path / "ratio.json"
    assert run("plot", folder, "--figure", "ratio", "--out", path, "--json", said).exit_code == 0
    (found,) = json.loads(said.read_text())
    assert found["file"] == str(path)
    assert found["caption"]


def test_reports_of_several_runs_are_written(make_rows, write_run, tmp_path):
    """One for each, and JSON names them."""
    rows = make_rows(exposures=(100,), n_people=(50_000,)).assign(status="failed")
    folders = [write_run(tmp_path / name, rows, with_cells=False) for name in ("a", "b")]
    result = run("report", *folders, "--json", "-")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == [{"report": str(f / "report.html")} for f in folders]
