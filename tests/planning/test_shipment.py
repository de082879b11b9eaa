"""What travels with a sweep: the folder gives the same cells, wherever its files lay."""

from pathlib import Path

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.shipment import SOURCE, Shipment, ship
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.environment import COMMIT_FILE, git_commit

SWEEP = """
# Question: does it arrive?
base:
  data: {kind: tuples, file: FACTS, n_people: 2}
  model: {file: my_model.py, build: MyLM}
  train: {exposures: 10, batch_windows: 1, precision: fp32, lr: 1.0e-2, weight_decay: 0.01}
"""
FACTS = "name,attribute,value\nAda,field,mathematics\nAlan,field,logic\n"
MODEL = "def MyLM(vocab_size, ctx_len):\n    raise NotImplementedError\n"


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Ships a sweep whose facts are named by that path; the sweep and what was made of it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sweeps" / "data").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    for place in ("sweeps/data", "elsewhere"):
        (tmp_path / place / "facts.csv").write_text(FACTS)
    (tmp_path / "sweeps" / "my_model.py").write_text(MODEL)

    def run(facts: str, **overrides: str) -> tuple[list[str], Shipment]:
        path = tmp_path / "sweeps" / "mine.yaml"
        path.write_text(SWEEP.replace("FACTS", facts.replace("TMP", str(tmp_path))))
        given = {key.replace("__", "."): value for key, value in overrides.items()}
        sweep = load_sweep(path, given)
        folder = tmp_path / "folder"
        return [cell.cell_id for cell in sweep.cells], ship(sweep, given, folder)

    (tmp_path / "folder").mkdir()
    return run


@pytest.mark.parametrize(
    "facts", ["data/facts.csv", "../elsewhere/facts.csv", "TMP/elsewhere/facts.csv"]
)
def test_the_folder_gives_the_same_cells_elsewhere(shipped, facts, tmp_path, monkeypatch):
    """Also where nothing of the first machine's is left."""
    ids, shipment = shipped(facts)
    for place in ("sweeps", "elsewhere"):
        (tmp_path / place).rename(tmp_path / f"gone-{place}")
    there = tmp_path / "there"
    shipment.folder.rename(there)
    monkeypatch.chdir(there)
    sweep = load_sweep(shipment.sweep_file, shipment.overrides)
    assert [cell.cell_id for cell in sweep.cells] == ids
    assert sweep.question == "does it arrive?"
    assert (there / "my_model.py").read_text() == MODEL


def test_a_path_of_an_override_travels_too(shipped, tmp_path):
    """`--set data.file=...` names a file of this machine; the job is given its new place."""
    _, shipment = shipped("data/facts.csv", data__file=str(tmp_path / "elsewhere" / "facts.csv"))
    ((key, place),) = shipment.overrides.items()
    assert (shipment.folder / place).read_text() == FACTS
    assert shipment.settings() == ["--set", f"{key}={place}"]


def test_the_source_travels_with_its_commit(shipped):
    """The cluster runs this kcap, and the rows say which."""
    _, shipment = shipped("data/facts.csv")
    assert all((shipment.folder / one).exists() for one in SOURCE)
    assert not list(shipment.folder.rglob("__pycache__"))
    assert (shipment.folder / COMMIT_FILE).read_text() == git_commit()
    assert shipment.n_bytes == sum(
        file.stat().st_size for file in shipment.folder.rglob("*") if file.is_file()
    )


def test_file_that_is_not_there_is_named(shipped):
    """A sweep may be planned before its data; it cannot be sent without them."""
    with pytest.raises(UserError, match=r"no-such\.csv: no such file"):
        shipped("no-such.csv")
