"""Sweeps that are found by name."""

from pathlib import Path

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.shipped import find_sweep, shipped_sweeps
from kcap_ray.planning.sweep import load_sweep

SWEEPS = Path(__file__).parents[2] / "sweeps"


def test_every_sweep_of_the_checkout_has_its_name() -> None:
    """Each file in sweeps/, no other, in alphabetical order."""
    shipped = shipped_sweeps()
    assert list(shipped) == sorted(path.stem for path in SWEEPS.glob("*.yaml"))
    assert all(find_sweep(Path(name)) == path for name, path in shipped.items())


def test_a_name_is_the_same_sweep_as_its_file(monkeypatch, tmp_path) -> None:
    """Cells, question and name, from any directory."""
    by_path = load_sweep(SWEEPS / "quickstart.yaml")
    monkeypatch.chdir(tmp_path)
    assert load_sweep("quickstart") == by_path


@pytest.mark.parametrize("given", ["quickstart", "quickstart.yaml", "./quickstart"])
def test_a_file_of_the_users_comes_first(monkeypatch, tmp_path, given) -> None:
    """Whatever it is called; and what looks like a path is one, though there is no such file."""
    monkeypatch.chdir(tmp_path)
    Path(given).write_text("name: mine\n")
    assert find_sweep(Path(given)) == Path(given)
    assert find_sweep(Path("quickstart.yml")) == Path("quickstart.yml")
    assert find_sweep(tmp_path / "laptop") == tmp_path / "laptop"


def test_a_folder_does_not_hide_the_sweep_of_its_name(monkeypatch, tmp_path) -> None:
    """`runs/laptop` may well be given as `laptop` to --out."""
    monkeypatch.chdir(tmp_path)
    Path("laptop").mkdir()
    assert find_sweep(Path("laptop")) == shipped_sweeps()["laptop"]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """One line."""
    with pytest.raises(UserError, match=r"^quikstart: .*\(did you mean quickstart\?\)$"):
        find_sweep(Path("quikstart"))
