"""The Python interface: what README shows, and what is said of a mistake."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import kcap_ray
from kcap_ray.measure import bits  # the package of this name stays one

ROOT = Path(__file__).parents[2]


def test_importing_loads_nothing_and_every_name_is_there() -> None:
    code = (
        "import sys, kcap_ray; assert not {'torch', 'ray', 'pandas', 'numpy'} & set(sys.modules); "
        "assert all(callable(getattr(kcap_ray, name)) for name in kcap_ray.__all__); "
        "assert not {'torch', 'ray'} & set(sys.modules); "
        "assert set(kcap_ray.__all__) <= set(dir(kcap_ray))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'runn'"):
        kcap_ray.runn  # noqa: B018  # pyright: ignore[reportAttributeAccessIssue]
    assert bits.stored_bits


@pytest.mark.slow
def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is printed."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (example,) = (e for e in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "kcap_ray" in e)
    assert len(example.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(example, names)
    assert "bits per parameter" in capsys.readouterr().out
    for table in ("planned", "again"):
        assert list(names[table]["cell_id"]) == list(names["rows"]["cell_id"])


def test_a_mistake_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(kcap_ray.UserError, match=r"results\.parquet"):
        kcap_ray.read_results(tmp_path)
    sweep = kcap_ray.load_sweep("quickstart")
    with pytest.raises(kcap_ray.UserError, match="different data sets"):
        kcap_ray.measure(tmp_path, sweep)
    with pytest.raises(kcap_ray.UserError, match="device"):
        kcap_ray.plan(sweep, device="a1000")


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell; what it plans is what it shows, and its last one measures what was trained."""
    notebook = json.loads((ROOT / "docs" / "python.ipynb").read_text(encoding="utf-8"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    found = []
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for cell in cells:
        *statements, last = ast.parse("".join(cell["source"])).body
        assert isinstance(last, ast.Expr)
        exec(compile(ast.Module(statements, []), "<notebook>", "exec"), names)
        found.append(eval(compile(ast.Expression(last.value), "<notebook>", "eval"), names))
    shown = "".join(cells[0]["outputs"][0]["data"]["text/plain"])
    assert found[0].to_string() == shown
    assert found[-1] == pytest.approx(1.0, abs=0.01)
