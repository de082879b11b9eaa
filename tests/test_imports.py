import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CELL = ("user_error", "data_config", "cell")

# What each part may import of kcap_ray, from the ground up; a part may always import itself.
LAYERS = {
    "user_error": (),
    "data_config": ("user_error",),
    "cell": CELL[:2],
    "strict_yaml": ("user_error",),
    "knowledge": (*CELL, "strict_yaml"),
    "text": (*CELL, "strict_yaml", "knowledge"),
    "models": CELL,
    "measure": (*CELL, "knowledge", "text", "models"),
    "training": (*CELL, "models"),
    "quantize": (*CELL, "budget", "knowledge", "text", "models", "training"),
}

WITHOUT_TORCH_OR_RAY = [
    "kcap_ray.cell",
    "kcap_ray.sweep",
    "kcap_ray.plan",
    "kcap_ray.results",
    "kcap_ray.run_cell",
    "kcap_ray.quantize_cell",
    "kcap_ray.measure.bits",
    "kcap_ray.engine.queue",
    "kcap_ray.cli",
    "analysis.report",
]


def imported_modules(path: Path) -> Iterator[str]:
    """Every module that the file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def files_of(part: str) -> list[Path]:
    """The module or the package of that name in kcap_ray."""
    package = ROOT / "kcap_ray" / part
    return sorted(package.rglob("*.py")) if package.is_dir() else [package.with_suffix(".py")]


@pytest.mark.parametrize("part", LAYERS)
def test_imports_run_one_way(part: str) -> None:
    """A part imports only the parts below it."""
    for path in files_of(part):
        for module in imported_modules(path):
            if module.startswith("kcap_ray."):
                below = module.split(".")[1]
                assert below in (part, *LAYERS[part]), f"{path} imports {module}"


def test_only_the_engine_imports_ray() -> None:
    """Everything else runs on a machine without Ray; the doctor asks whether it is there."""
    for path in (ROOT / "kcap_ray").rglob("*.py"):
        if path.parent.name == "engine":
            continue
        imported = [m for m in imported_modules(path) if m.split(".")[0] == "ray"]
        assert not imported, f"{path} imports {imported}"


def test_only_tuning_imports_optuna() -> None:
    """One file knows the search library."""
    users = {
        path.name
        for path in (ROOT / "kcap_ray").rglob("*.py")
        if any(m.split(".")[0] == "optuna" for m in imported_modules(path))
    }
    assert users == {"tuning.py"}


def test_analysis_reads_files_and_imports_nothing_of_the_engine() -> None:
    """The analysis works wherever the results are."""
    for path in (ROOT / "analysis").rglob("*.py"):
        foreign = [
            m for m in imported_modules(path) if m.split(".")[0] in ("kcap_ray", "ray", "torch")
        ]
        assert not foreign, f"{path} imports {foreign}"


@pytest.mark.parametrize("module", WITHOUT_TORCH_OR_RAY)
def test_module_loads_without_torch_or_ray(module: str) -> None:
    """What plans, counts or reads results starts at once."""
    code = (
        f"import sys, {module}; "
        "heavy = {'torch', 'ray', 'transformers', 'optuna'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
