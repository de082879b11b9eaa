"""No verb takes a URL for a path: a run is opened where it is kept, anything else is refused."""

import inspect
import typing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from kcap_ray.api.results import read_results
from kcap_ray.api.run import run
from kcap_ray.cli.analysis import VERBS
from kcap_ray.cli.main import app
from kcap_ray.cli.places import RUNS, WHOLE
from kcap_ray.config.errors import UserError
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.store import Store, StoreError

URL = "s3://bucket/x"


def path_parameters() -> list[tuple[Any, str, str]]:
    """Verb, its name and the name of every parameter that is a path or several."""
    found = []
    for command in app.registered_commands:
        verb = command.callback
        assert verb is not None
        name = command.name or verb.__name__
        if name in VERBS:
            continue
        for parameter, kind in typing.get_type_hints(inspect.unwrap(verb)).items():
            if Path in (kind, *typing.get_args(kind)):
                found.append((verb, name, parameter))
    return found


PATHS = path_parameters()


@pytest.mark.parametrize(
    ("verb", "name", "parameter"),
    PATHS,
    ids=[f"{name} {parameter}" for _, name, parameter in PATHS],
)
def test_a_verb_opens_a_url_or_refuses_it(
    verb: Any, name: str, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, and without a folder of that name."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kcap_ray.cli.places.opened", opened_by_test)
    expected = RefusedByTest if parameter in (RUNS.get(name), WHOLE.get(name)) else UserError
    with pytest.raises(expected, match=URL):
        verb(**{parameter: Path(URL)})
    assert not list(tmp_path.iterdir())


class RefusedByTest(Exception):
    """The URL has been opened."""


def opened_by_test(place: object, **_: object) -> None:
    """What is called to open a URL."""
    raise RefusedByTest(str(place).replace("s3:/b", "s3://b"))


def test_each_verb_that_takes_runs_is_known() -> None:
    """Under its name and that of its parameter."""
    known = {(name, parameter) for _, name, parameter in PATHS}
    assert {*RUNS.items(), *WHOLE.items()} <= known


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "memory://kcap-none/run", "--json", URL],
        ["fit", f"--json={URL}"],
        ["plot", "--figure", "ratio", "--out", f"{URL}.pdf"],
        ["table", "--table", "sites", "--out", f"{URL}.csv"],
    ],
)
def test_the_analysis_writes_no_files_to_a_url(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it reads may be anywhere."""
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "is a URL; write a path of this machine there" in result.output
    assert not list(tmp_path.iterdir())


def test_a_run_by_url_is_read_and_named_by_it(tmp_path: Path) -> None:
    """From the command line and from Python."""
    url = "memory://kcap-places/run"
    sweep = tmp_path / "small.yaml"
    sweep.write_text("name: small\nbase: {model: nothing-1-1}\n")
    with pytest.raises(UserError):
        run(load_sweep(sweep), out=url)
    with pytest.raises(UserError, match="no results"):
        read_results(url)
    result = CliRunner().invoke(app, ["status", url])
    assert (result.exit_code, result.output) == (
        2,
        f"kcap: {url}: not a run directory (no readable cells.json in it)\n",
    )


def test_a_report_into_a_store_that_cannot_be_written_is_refused_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one line, before any figure is drawn, and not after minutes of tries."""

    def refuse(self: Store, probe: str) -> None:
        raise StoreError(5, "AWS Error ACCESS_DENIED", f"{self.url}/{probe}")

    monkeypatch.setattr(Store, "check_writable", refuse)
    url = "memory://readonly/run"
    done = CliRunner().invoke(app, ["report", url])
    assert done.exit_code == 2
    assert f"{url}: cannot write there (AWS Error ACCESS_DENIED)" in done.stderr
