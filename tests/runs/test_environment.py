import importlib.metadata
import subprocess
from pathlib import Path

import pytest
import torch

import kcap_ray.runs.environment
from kcap_ray.runs.environment import describe, git_commit, provenance, versions


@pytest.fixture
def package_in_other_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as it lies in a virtual environment inside of somebody's own repository."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y.z"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "mine"], check=True)
    file = tmp_path / ".venv" / "kcap_ray" / "environment.py"
    file.parent.mkdir(parents=True)
    file.write_text("")
    monkeypatch.setattr(kcap_ray.runs.environment, "__file__", str(file))
    return file


def test_the_commit_is_that_of_the_code_and_of_no_other_repository(
    package_in_other_checkout: Path,
) -> None:
    """A package that is installed inside of another checkout has no commit to tell."""
    assert git_commit.__wrapped__() == ""
    git = ["git", "-C", str(package_in_other_checkout.parent)]
    subprocess.run([*git, "add", "environment.py"], check=True)
    commit = git_commit.__wrapped__()
    assert commit.endswith("-dirty")
    assert len(commit) == len("-dirty") + 12


def test_without_git_there_is_no_commit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without git, or code outside of a checkout, is not an error."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_commit.__wrapped__() == ""
    monkeypatch.undo()
    monkeypatch.setattr(kcap_ray.runs.environment, "__file__", str(tmp_path / "environment.py"))
    assert git_commit.__wrapped__() == ""


def test_code_that_is_not_installed_still_gives_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that was handed the code as a directory has no version of it, and goes on."""
    found = importlib.metadata.version

    def version(package: str) -> str:
        if package == "kcap":
            raise importlib.metadata.PackageNotFoundError(package)
        return found(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert "kcap" not in versions()
    made = provenance.__wrapped__(torch.device("cpu"))
    assert made.kcap_version == ""
    assert made.torch_version == torch.__version__


def test_the_environment_says_what_made_a_result() -> None:
    """Versions and machine, as plain values."""
    environment = describe()
    # A wheel of the package index does not say in its metadata which CUDA it was built for.
    assert environment["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert environment["machine"]["cpus"] >= 1
    assert environment["command"][0] == "kcap"
