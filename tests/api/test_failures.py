"""What a command in one process makes of mistakes that show late, and of files that change."""

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kcap_ray import load_sweep, run
from kcap_ray.cli.main import app
from kcap_ray.knowledge import pools
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools

TRAINED = """
name: s
base:
  data.kind: bioS
  data.n_people: 10
  model.head_dim: 8
  train.exposures: 2
  train.batch_windows: 2
  train.window_tokens: 96
"""

FAILS_LATER = '''
import torch
from torch import nn

class Late(nn.Module):
    """Fails at the fourth batch that it trains on, long after all checks, and talks."""

    def __init__(self, vocab_size, ctx_len):
        super().__init__()
        print("building")
        self.embedding, self.n = nn.Embedding(vocab_size, 8), 0
        self.head = nn.Linear(8, vocab_size)

    def forward(self, tokens):
        self.n += self.training
        if self.n > 3:
            raise RuntimeError("it is late")
        print("reading")
        return self.head(self.embedding(tokens))

print("imported")
'''


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_an_error_in_one_cell_is_a_row_and_the_others_go_on(tmp_path: Path) -> None:
    """The traceback is kept, standard output has the rows alone, and the same command tries it
    again.
    """
    write(tmp_path / "late.py", FAILS_LATER)
    grid = "grid:\n  model: [{file: late.py, build: Late}, gpt2-1-1]\n"
    sweep = write(tmp_path / "s.yaml", f"{TRAINED}  data.pools: mini\n{grid}")
    out = tmp_path / "run"
    for _ in range(2):
        found = CliRunner().invoke(app, ["run-cell", str(sweep), "--out", str(out), "--json"])
        assert found.exit_code == 1
        late, other = json.loads(found.stdout)
        assert other["status"] == "ok"
        assert late["status"] == "failed" and "RuntimeError: it is late (see" in late["reason"]
        error = out / "cells" / late["cell_id"] / "error.txt"
        assert "it is late" in error.read_text(encoding="utf-8")
        error.write_text("", encoding="utf-8")  # written again by the second command
    planned = CliRunner().invoke(app, ["plan", str(sweep), "--device", "cpu", "--json"])
    assert len(json.loads(planned.stdout)) == 2


def test_what_diverged_is_not_said_to_be_tried_again(tmp_path: Path) -> None:
    sweep = write(tmp_path / "s.yaml", f"{TRAINED}  data.pools: mini\n  model: gpt2-1-1\n")
    command = ["run-cell", str(sweep), "--out", str(tmp_path / "run"), "--set", "train.lr=1e9"]
    found = CliRunner().invoke(app, command)
    assert found.exit_code == 1
    assert "1 diverged, and would again: write a lower train.lr" in " ".join(found.stderr.split())
    assert "--retry-failed" not in found.stderr


def pools_of(folder: Path) -> Path:
    """A directory of small pools."""
    names, values = load_name_pools("mini"), load_value_pools("mini")
    folder.mkdir()
    for part in ("first", "middle", "last"):
        write(folder / f"{part}_names.txt", "\n".join(getattr(names, part)))
    for name in ("cities", "universities", "majors"):
        write(folder / f"{name}.txt", "\n".join(getattr(values, name)))
    built_in = Path(pools.__file__).parent / "pools" / "mini"
    for name in ("dates.txt", "employers.txt"):
        write(folder / name, (built_in / name).read_text(encoding="utf-8"))
    return folder


def test_pools_that_change_between_two_runs_of_a_process_are_read_again(tmp_path: Path) -> None:
    """As a process of its own would: fewer majors demand fewer bits."""
    folder = pools_of(tmp_path / "mine")
    sweep = write(tmp_path / "s.yaml", f"{TRAINED}  data.pools: mine\n  model: gpt2-1-1\n")
    before = run(load_sweep(sweep), out=tmp_path / "run")
    write(folder / "majors.txt", "Music\nHistory\n")
    after = run(load_sweep(sweep), out=tmp_path / "run")
    old, new = before.iloc[0], after[after["cell_id"] != before.iloc[0]["cell_id"]].iloc[0]
    n_majors = len(load_value_pools("mini").majors)
    lost = 10 * (math.log2(n_majors) - 1)
    assert old["demand_bits"] - new["demand_bits"] == pytest.approx(lost)


def test_files_that_change_behind_a_sweep_are_refused(tmp_path: Path) -> None:
    """Its cells are named by what was in them."""
    folder = pools_of(tmp_path / "mine")
    text = f"{TRAINED}  data.pools: mine\n  model: gpt2-1-1\n"
    sweep = load_sweep(write(tmp_path / "s.yaml", text))
    write(folder / "majors.txt", "Music\nHistory\nLaw\n")
    (row,) = run(sweep, out=tmp_path / "run").to_dict("records")
    assert row["status"] == "failed"
    assert "mine: not what it was when the sweep was read" in row["reason"]
