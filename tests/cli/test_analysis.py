"""The verbs of the analysis under `kcap`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.analysis import VERBS
from kcap_ray.cli.main import app

RUN = Path(__file__).parents[2] / "docs" / "results" / "laptop"


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_the_options_of_the_analysis(verb: str) -> None:
    """`--help` is that of `python -m analysis VERB`."""
    shown = CliRunner().invoke(app, [verb, "--help"])
    assert shown.exit_code == 0
    assert "--json" in shown.output
    assert f"kcap {verb}" in shown.output


@pytest.mark.slow
def test_fit_writes_what_the_analysis_writes(tmp_path: Path) -> None:
    """Options before and behind the directory reach it."""
    files = [tmp_path / "before.json", tmp_path / "behind.json"]
    for arguments in (["--json", str(files[0]), str(RUN)], [str(RUN), "--json", str(files[1])]):
        assert CliRunner().invoke(app, ["fit", *arguments]).exit_code == 0
    assert json.loads(files[0].read_text()) == json.loads(files[1].read_text())


def test_a_mistake_has_one_line_and_status_2(tmp_path: Path) -> None:
    """As for every other verb."""
    shown = CliRunner().invoke(app, ["fit", str(tmp_path / "nothing")])
    assert shown.exit_code == 2


def test_the_list_of_verbs_loads_no_pandas() -> None:
    """Planning starts at once."""
    code = "import sys, kcap_ray.cli.main; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_status_of_several_runs_is_json() -> None:
    """One object per cell of each, with its directory."""
    runs = [str(RUN), str(RUN.parent / "quickstart")]
    shown = CliRunner().invoke(app, ["status", *runs, "--json"])
    assert shown.exit_code == 0
    cells = json.loads(shown.stdout)
    assert [cell["directory"] for cell in cells] == [runs[0]] * 32 + [runs[1]] * 4
    assert {cell["state"] for cell in cells} == {"ok"}
