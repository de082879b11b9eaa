"""A sweep on real raylets: queue, Ray Tune and ledger are real, programs sleep."""

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow


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


def test_two_raylets_work_at_once_and_give_the_table_of_one(raylets: Any, tmp_path: Path) -> None:
    """How much shorter the makespan is takes a machine with nothing else to do: that is
    `benchmarks/raylets.py`.
    """
    seconds, steps = 0.5, [100]
    sweep, _ = raylets.inputs(tmp_path, seconds=seconds, steps=steps)
    one, two = (raylets.run(tmp_path, n, seconds=seconds, steps=steps) for n in (1, 2))
    assert one["rows"] == two["rows"] and one["trials"] == two["trials"]
    assert len(one["programs"]) == len(two["programs"]) == 6 * len(sweep.cells)
    assert _n_overlaps(one["programs"]) == 0
    assert _n_overlaps(two["programs"]) > 0


def _n_overlaps(programs: list[list[float]]) -> int:
    """How many programs began before the one that began before them had ended."""
    return sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(sorted(programs)))
