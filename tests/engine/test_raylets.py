"""The simulator against real raylets: queue, Ray Tune and ledger are real, programs sleep."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def raylets() -> Any:
    """The benchmark's module, which has the stand-ins."""
    file = ROOT / "benchmarks" / "raylets.py"
    spec = importlib.util.spec_from_file_location("raylets_benchmark", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_makespan_is_as_simulated_and_the_table_that_of_one_raylet(
    raylets: Any, tmp_path: Path
) -> None:
    """Ray's own times are measured on one raylet; two are then predicted within 10%."""
    seconds, steps = 0.5, [100, 200]
    sweep, device = raylets.inputs(tmp_path, seconds=seconds, steps=steps)
    one, two = (raylets.run(tmp_path, n, seconds=seconds, steps=steps) for n in (1, 2))
    assert one["rows"] == two["rows"] and one["trials"] == two["trials"]
    assert len(one["programs"]) == len(two["programs"]) == 6 * len(sweep.cells)
    predicted = raylets.predicted_s(sweep, device, 2, raylets.overheads(one))
    assert predicted == pytest.approx(two["makespan_s"], rel=raylets.GOAL)
    assert two["makespan_s"] < 0.75 * one["makespan_s"]
