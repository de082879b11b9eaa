"""`kcap doctor`: what is wrong is named, with what to do about it."""

import json

import pytest
from typer.testing import CliRunner

import kcap_ray.cli.doctor
from kcap_ray.cli.doctor import (
    Asked,
    PriceFile,
    _run_directory,
    _witness,
    run_checks,
    sweep_check,
)
from kcap_ray.cli.main import app
from kcap_ray.engine.capacity import ClusterCapacity
from kcap_ray.planning.plan import dollars_text, hours_text
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.store import Store, StoreError

NOWHERE = "127.0.0.1:1"
"""An address at which no cluster is: port 1 is nobody's."""


@pytest.fixture
def checks(tmp_path, monkeypatch):
    """Runs the checks without starting Ray; name to check."""

    def run(out=tmp_path / "run", **limits):
        for name, limit in limits.items():
            monkeypatch.setattr(kcap_ray.cli.doctor, name, limit)
        return {check.name: check for check in run_checks(Asked(address=NOWHERE, out=str(out)))}

    return run


def test_every_check_answers(checks):
    """Each of them says what it found; only the cluster that is not there is a problem."""
    found = checks(MIN_MEMORY_GIB=0, MIN_DISK_GIB=0, MIN_SHM_GIB=0)
    assert all(check.finding for check in found.values())
    assert [name for name, check in found.items() if check.remedy is not None] == ["ray"]
    assert NOWHERE in found["ray"].finding


@pytest.mark.parametrize(
    ("limit", "name"),
    [
        ("MIN_MEMORY_GIB", "memory"),
        ("MIN_SHM_GIB", "shared memory"),
        ("MIN_DISK_GIB", "run directory"),
    ],
)
def test_shortage_is_a_problem(checks, limit, name):
    """Too little of something is named, with a remedy."""
    assert checks(**{limit: 1e9})[name].remedy


def test_directory_that_cannot_be_written_is_a_problem(checks, tmp_path):
    """A path below a file is no directory, even for root."""
    (tmp_path / "file").touch()
    check = checks(out=tmp_path / "file" / "run")["run directory"]
    assert check.remedy and str(tmp_path / "file") in check.finding


def test_command_fails_when_there_is_a_problem(tmp_path):
    """One line per check, the remedies below, and exit status 1."""
    done = CliRunner().invoke(app, ["doctor", "--address", NOWHERE, "--out", str(tmp_path)])
    assert done.exit_code == 1
    assert "problem  ray:" in done.output
    assert done.output.startswith("ok       python:")


def test_checks_are_json_too(tmp_path):
    """For programs: one object per check; the exit status is the same."""
    command = ["doctor", "--address", NOWHERE, "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    found = {check["name"]: check for check in json.loads(done.stdout)}
    assert found["python"]["is_ok"] and not found["ray"]["is_ok"]


def test_without_out_it_is_the_sweeps_directory(monkeypatch):
    """What the sweep would write to, and not its parent."""
    asked = []
    monkeypatch.setattr(kcap_ray.cli.doctor, "run_checks", lambda one: asked.append(one) or [])
    for options in ([], ["--sweep", "quickstart"], ["--sweep", "quickstart", "--out", "s3://b/r"]):
        assert CliRunner().invoke(app, ["doctor", *options]).exit_code == 0
    assert [one.out for one in asked] == ["runs", "runs/quickstart", "s3://b/r"]


def test_sweep_has_price_and_duration_on_the_devices_of_the_cluster():
    """On eight A100s as `kcap plan --devices 8` has them; without devices it is a problem."""
    sweep = load_sweep("exposure100", {"data.n_people": "50000"})
    found = ClusterCapacity(cpus=96, gpus=8, node_cpus=96, node_gpus=8, accelerator="a100")
    check = sweep_check(sweep, found, PriceFile())
    planned = CliRunner().invoke(
        app, ["plan", "exposure100", "--set", "data.n_people=50000", "--devices", "8", "--json"]
    )
    totals = json.loads(planned.stdout)["totals"]
    assert hours_text(totals["makespan_hours"]) in check.finding
    assert dollars_text(totals["price"]) in check.finding
    assert check.remedy is None
    assert sweep_check(sweep, ClusterCapacity(cpus=0, gpus=0), PriceFile()).remedy is not None


def test_a_store_that_cannot_be_written_is_a_problem_with_its_remedy(monkeypatch):
    """One line that names it, by this machine, before any node is asked."""

    def refuse(self: Store, probe: str) -> None:
        raise StoreError(5, "AWS Error NO_SUCH_BUCKET", f"{self.url}/{probe}")

    monkeypatch.setattr(Store, "check_writable", refuse)
    monkeypatch.setattr(kcap_ray.cli.doctor, "_cluster", lambda _: [])
    found = {check.name: check for check in run_checks(Asked(out="s3://none/run"))}
    assert found["run directory"].finding == "s3://none/run: AWS Error NO_SUCH_BUCKET"
    assert found["run directory"].remedy


def test_a_url_of_this_machine_is_its_path(tmp_path):
    """And not a folder of that name, looked for in the working directory."""
    found = _run_directory(f"file://{tmp_path}/run")
    assert found.finding.startswith(f"file://{tmp_path}/run can be written")
    with _witness(f"file://{tmp_path}/run") as (place, name):
        assert (place, (tmp_path / name).is_file()) == (str(tmp_path), True)


def test_a_store_without_rights_still_has_the_nodes_looked_at(monkeypatch):
    """Each says of itself that it cannot write there."""

    def refuse(self: Store, name: str, *_: object, **__: object) -> None:
        raise StoreError(13, "AWS Error ACCESS_DENIED", f"{self.url}/{name}")

    monkeypatch.setattr(Store, "put", refuse)
    with _witness("memory://doctor/refused") as (place, name):
        assert place == "memory://doctor/refused" and name.startswith(".kcap-doctor-")
