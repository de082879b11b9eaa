"""The wheel: built from the checkout, installed into an environment of its own, used elsewhere."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARENTS = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without a network."""
    pytest.importorskip("hatchling", reason="a development tool: pip install -e '.[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs of a fresh environment that has the wheel; what it depends on is borrowed from this
    environment, but not this environment's kcap, which is a link to the checkout.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    install = [*pip, "install", "-q", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(install, check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "borrowed.pth").write_text("\n".join(PARENTS) + "\n")
    return folder / "bin"


def run(programs: Path, folder: Path, *command: str) -> str:
    """What the command prints; run in `folder`, with nothing of the checkout on its path."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(programs / command[0]), *command[1:]],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_all_files_of_the_packages_and_the_sweeps_and_no_others(wheel: Path):
    """Pools, templates, devices and licences too; no tests, runs or caches."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "kcap_ray", "analysis", "sweeps"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    expected = {
        f"kcap_ray/{name}" if name.startswith("sweeps/") else name
        for name in listed.stdout.splitlines()
        if (ROOT / name).is_file()
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == expected


def test_the_code_that_runs_is_that_of_the_wheel(programs: Path, tmp_path: Path):
    """Outside of the checkout, both packages; and it knows its version."""
    code = "import analysis, kcap_ray; print(analysis.__file__, kcap_ray.__file__)"
    for path in run(programs, tmp_path, "python", "-c", code).split():
        assert Path(path).is_relative_to(programs.parent)
    name, version = run(programs, tmp_path, "kcap", "--version").split()
    assert name == "kcap"
    assert version.split(".") >= ["0", "1", "0"]


@pytest.mark.parametrize("sweep", ["quickstart", "tuples_example"])
def test_a_sweep_of_kcap_is_planned_by_its_name(programs: Path, tmp_path: Path, sweep: str):
    """With the files of facts that lie beside it; and the plan is that of the checkout."""
    by_name = json.loads(run(programs, tmp_path, "kcap", "plan", sweep, "--json"))
    path = str(ROOT / "sweeps" / f"{sweep}.yaml")
    by_path = json.loads(run(programs, tmp_path, "kcap", "plan", path, "--json"))
    assert by_name == by_path
    assert len(by_name) > 0


def test_a_cell_is_trained_measured_and_reported(programs: Path, tmp_path: Path):
    """From the name of a sweep to the report."""
    settings = ("train.exposures=2", "tune.trials=1", "data.n_people=20", "model=gpt2-1-1")
    options = [word for setting in settings for word in ("--set", setting)]
    run(programs, tmp_path, "kcap", "run-cell", "quickstart", *options, "--out", "run")
    assert "gpt2-1-1" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "run" / "results.parquet").is_file()
