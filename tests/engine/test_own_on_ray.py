"""A model that is brought along in a file, on real Ray with two workers."""

import shutil
from pathlib import Path

import pytest

from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.results import RunDirectory
from tests.engine.test_data_parallel import assert_same_but_for_rounding

EXAMPLE = Path(__file__).parents[2] / "sweeps" / "examples" / "gru_lm.py"
SWEEP = """\
name: own
base:
  data: {kind: bioD, n_people: 20, pools: mini, K: 2, C: 1, D: 5, L: 1, T: 100, style: compact}
  train: {exposures: 20, batch_windows: 2, window_tokens: 32, precision: fp32}
  train.lr: 6.0e-3
  train.weight_decay: 0.01
grid:
  model:
    - {file: gru_lm.py, build: GruLM, kwargs: {width: 16, n_layer: 1}}
"""


@pytest.mark.slow
def test_a_model_that_is_brought_along_trains_by_ddp_as_on_one_worker(tmp_path, kcap):
    """`kcap sweep` with two workers stores the bits of `kcap run-cell` with one, to rounding."""
    shutil.copy(EXAMPLE, tmp_path)
    sweep, out = tmp_path / "own.yaml", tmp_path / "runs"
    sweep.write_text(SWEEP)
    assert kcap("run-cell", sweep, "--out", out / "one").finish() == 0
    command = kcap("sweep", sweep, "--out", out / "two", "--set", "train.workers=2")
    assert command.finish() == 0, command.stderr
    (cell,) = load_sweep(sweep).cells
    one, two = (RunDirectory(out / name).cell(cell.cell_id) for name in ("one", "two"))
    assert_same_but_for_rounding(cell, one, two)
    row = two.result()
    assert row is not None and (row.status, row.workers, row.arch) == ("ok", 2, "own")
