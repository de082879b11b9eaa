"""What is quoted from docs/simulated is what `kcap simulate` says today."""

import json
from typing import Any

import pytest

from tests.planning.simulated import COMMANDS, FOLDER, output


def close(value: Any) -> Any:
    """The value, equal to another one of it up to rounding, which differs by machine."""
    if isinstance(value, dict):
        return {key: close(one) for key, one in value.items()}
    if isinstance(value, list):
        return [close(one) for one in value]
    return pytest.approx(value, rel=1e-9) if isinstance(value, float) else value


SLOW = {"exposure100_spot"}


@pytest.mark.parametrize(
    "name", [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in COMMANDS]
)
def test_a_committed_simulation_is_that_of_todays_code(name):
    """`python -m tests.planning.simulated` makes them again; then look at the documents."""
    committed = json.loads((FOLDER / f"{name}.json").read_text())
    assert json.loads(output(name)) == close(committed)


def test_every_committed_simulation_is_held():
    """The requests to AWS are held by tests/engine/test_aws.py."""
    names = {path.stem for path in FOLDER.glob("*.json")}
    assert names == {*COMMANDS, "aws_requests"}


@pytest.mark.parametrize("name", COMMANDS)
def test_documents_quote_the_committed_simulations(name):
    """Hours and price of every size that a document names a file for."""
    plans = json.loads((FOLDER / f"{name}.json").read_text())["plans"]
    pages = [page for page in FOLDER.parent.rglob("*.md") if name in page.read_text()]
    assert pages
    table = (FOLDER.parent / "cluster.md").read_text()
    for plan in plans:
        figures = [f"{plan['makespan_hours']:,.0f}", f"${plan['price']:,.0f}"]
        if name == "exposure100_spot":
            runs = plan["runs"]
            figures = [f"{runs['makespan_hours']['mean']:,.0f} (", f"${runs['price']['mean']:,.0f}"]
        if name in ("exposure100_calm", "exposure100_spot"):
            assert any(all(part in line for part in figures) for line in table.splitlines())
        elif plan["n_devices"] == 64:
            text = (FOLDER.parent / "decisions" / "0084-costly-cells.md").read_text()
            assert all(part in text for part in figures)
