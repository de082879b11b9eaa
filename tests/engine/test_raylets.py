"""A sweep on real raylets: queue, Ray Tune and ledger are real, programs sleep."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def raylets(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's module, which has the stand-ins."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    file = ROOT / "benchmarks" / "raylets.py"
    spec = importlib.util.spec_from_file_location("raylets_benchmark", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_two_raylets_are_faster_and_give_the_table_of_one(raylets: Any, tmp_path: Path) -> None:
    """How well the makespan is predicted takes a machine with nothing else to do: that is
    `benchmarks/raylets.py`.
    """
    seconds, steps = 0.5, [100, 200]
    sweep, _ = raylets.inputs(tmp_path, seconds=seconds, steps=steps)
    one, two = (raylets.run(tmp_path, n, seconds=seconds, steps=steps) for n in (1, 2))
    assert one["rows"] == two["rows"] and one["trials"] == two["trials"]
    assert len(one["programs"]) == len(two["programs"]) == 6 * len(sweep.cells)
    assert two["makespan_s"] < one["makespan_s"]
