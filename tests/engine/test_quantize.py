"""Quantizing on real Ray: the same rows as in one process, and failures that stay alone."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from kcap_ray.results import RunDirectory

# A busy machine takes several times as long as an idle one.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DIFFERS = ["quantize_time_s", "git_commit"]


def test_ray_gives_the_rows_of_one_process(undisturbed, tmp_path: Path, kcap) -> None:
    """Whatever it runs side by side; a model without weights is a row, and exit status 1."""
    sweep, out = undisturbed
    assert sweep.process.returncode == 0, sweep.stderr
    tables = []
    for name, options in (("ray", []), ("alone", ["--in-process"])):
        copy = tmp_path / name
        shutil.copytree(out, copy)
        command = kcap("quantize", copy, "--bits", 4, "--bits", 3, "--group-size", 16, *options)
        assert command.finish() == 0, command.stderr
        assert command.stderr == ""
        tables.append(pd.read_parquet(copy / "results.parquet").drop(columns=DIFFERS))
    assert list(tables[0]["quantization"]) == ["none", "gptq-int3-g16", "gptq-int4-g16"] * 2
    pd.testing.assert_frame_equal(*tables)

    copy = tmp_path / "ray"
    first = RunDirectory(copy).cell(tables[0]["cell_id"][0])
    (first.checkpoint / "model.safetensors").write_bytes(b"broken")
    command = kcap("quantize", copy, "--method", "rtn", "--bits", 8)
    assert command.finish() == 1, command.stderr
    rows = pd.read_parquet(copy / "results.parquet")
    new = rows[rows["quantization"] == "rtn-int8-g128"]
    assert list(new["status"]) == ["failed", "ok"]
    assert "cannot be read" in new["reason"].iloc[0]
