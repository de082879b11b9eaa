"""Imports run one way: every module of the packages and of the benchmarks is held to it."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What the modules of each package of kcap_ray may import of the other packages, from the ground up.
BELOW: dict[str, tuple[str, ...]] = {
    "config": (),
    "recipes": ("config",),
    "runs": ("config",),
    "tracking": ("config", "runs"),
    "knowledge": ("config", "runs"),
    "text": ("knowledge", "config", "runs"),
    "rewriting": ("text", "knowledge", "config", "runs"),
    "models": ("config", "runs"),
    "planning": ("recipes", "models", "text", "config", "runs"),
    # Gets windows, and never sees people or texts.
    "training": ("models", "config", "runs"),
    "measure": ("models", "text", "knowledge", "config", "runs"),
    "quantize": ("training", "measure", "models", "text", "knowledge", "config", "runs"),
}
BELOW["extract"] = BELOW["quantize"]
BELOW["execution"] = (*BELOW["quantize"], "quantize", "rewriting", "planning", "tracking")
BELOW["engine"] = (*BELOW["execution"], "execution")
BELOW["api"] = (*BELOW["engine"], "engine", "recipes")
BELOW["cli"] = (*BELOW["api"], "api", "extract")

# Of these packages only so much.
ONLY = {
    ("planning", "models"): {
        "kcap_ray.models.counts",
        "kcap_ray.models.own_spec",
        "kcap_ray.models.spec",
    },
    ("planning", "text"): {"kcap_ray.text.stream.corpus"},
}

EXCEPTIONS = {
    # Fine-tuning is as long as a share of the cell's own training.
    ("kcap_ray.quantize.finetune", "kcap_ray.planning.run_length"),
}

FOR_TYPES_ALONE = {
    # The formulas read a spec, whose properties call them.
    ("kcap_ray.models.counts", "kcap_ray.models.spec"),
    ("kcap_ray.models.variants", "kcap_ray.models.spec"),
}
"""The only imports that lead back to the module they are in."""

COLUMNS = {
    f"kcap_ray.runs.{name}"
    for name in ("columns", "columns_json", "learnt", "record", "schema", "versions")
}
"""What results files are made of."""

TO_WRITE = {f"kcap_ray.runs.{name}" for name in ("files", "text_table", "tracked")}
"""How files are written whole, and tables shown; and where trackers have them."""

WITHOUT_TORCH_OR_RAY = [
    "kcap_ray/config",
    "kcap_ray/recipes",
    "kcap_ray/planning",
    "kcap_ray/runs",
    "kcap_ray/api",
    "kcap_ray/cli",
    "kcap_ray/measure/bits.py",
    "kcap_ray/quantize/cell.py",
    "kcap_ray/extract/cell.py",
    "kcap_ray/extract/config.py",
    "kcap_ray/execution/cell.py",
    "kcap_ray/engine/program.py",
    "kcap_ray/engine/queue.py",
    "analysis",
]


PRINTING = {"kcap_ray.runs.log", "kcap_ray.runs.columns_page", "kcap_ray.engine.guard"}
"""The log itself, a program that prints its page, and why a process ends that cannot raise."""


def files_of(place: str) -> list[Path]:
    """The Python files in a folder of the repository, or the one file of that name."""
    path = ROOT / place
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def module_name(path: Path) -> str:
    """The name by which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(path): path for place in ("kcap_ray", "analysis") for path in files_of(place)
}
BENCHMARKS = {path.stem: path for path in files_of("benchmarks")}


@cache
def imported_modules(path: Path) -> tuple[str, ...]:
    """Every module that the file imports, anywhere in it, for types alone too."""
    return tuple(_imported_modules(path))


def _imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, f"{path}: write the whole name of the module"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module


def package_of(module: str) -> str:
    """`text` of `kcap_ray.text.stream.batches`; `analysis` of its modules."""
    first, *rest = module.split(".")
    return rest[0] if first == "kcap_ray" and rest else first


def test_every_package_has_its_place() -> None:
    """A new package is entered here, nothing lies beside the packages, and no way leads back."""
    folders = {module_name(path).split(".")[1] for path in (ROOT / "kcap_ray").glob("*/*.py")}
    assert folders == set(BELOW)
    assert [path.name for path in (ROOT / "kcap_ray").glob("*.py")] == ["__init__.py"]
    tuple(TopologicalSorter(BELOW).static_order())


def test_packages_import_nothing_by_themselves() -> None:
    """Who imports a module loads that module, and not what lies beside it."""
    full = [
        name for name, path in MODULES.items() if path.name == "__init__.py" and path.stat().st_size
    ]
    # The Python interface, one of whose names is also that of a package.
    assert full == ["kcap_ray", "kcap_ray.measure"]
    code = (
        "import sys, kcap_ray, kcap_ray.measure; "
        "loaded = {name for name in sys.modules if name.startswith(('kcap_ray', 'analysis'))}; "
        "assert loaded == {'kcap_ray', 'kcap_ray.measure'}, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("package", BELOW)
def test_imports_run_one_way(package: str) -> None:
    """A package imports only the packages below it; those that users call also the analysis."""
    allowed = {package, *BELOW[package], *(["analysis"] if package in ("api", "cli") else [])}
    for path in files_of(f"kcap_ray/{package}"):
        for module in imported_modules(path):
            if module.split(".")[0] not in ("kcap_ray", "analysis", "benchmarks", "tests"):
                continue
            if (module_name(path), module) in EXCEPTIONS:
                continue
            below = package_of(module)
            assert below in allowed, f"{path} imports {module}"
            assert module in ONLY.get((package, below), {module}), f"{path} imports {module}"


def test_every_exception_is_needed() -> None:
    """An import that has gone is no longer excused."""
    assert {
        (name, module)
        for name in {name for name, _ in EXCEPTIONS}
        for module in imported_modules(MODULES[name])
        if (name, module) in EXCEPTIONS
    } == EXCEPTIONS


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Each can be read with what it imports, and without what imports it."""
    graph = {
        name: {
            module
            for module in imported_modules(path)
            if module in MODULES and (name, module) not in FOR_TYPES_ALONE
        }
        for name, path in MODULES.items()
    }
    assert len(tuple(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_only_the_engine_imports_ray() -> None:
    """Everything else runs on a machine without Ray; the doctor asks whether it is there."""
    for name, path in MODULES.items():
        if package_of(name) == "engine":
            continue
        imported = [m for m in imported_modules(path) if m.split(".")[0] == "ray"]
        assert not imported, f"{path} imports {imported}"


@pytest.mark.parametrize(
    ("library", "known_by"),
    [
        ("optuna", {"kcap_ray.execution.search", "kcap_ray.execution.studies"}),
        ("filelock", {"kcap_ray.runs.files"}),
        ("hashlib", {"kcap_ray.config.digest"}),
        ("difflib", {"kcap_ray.config.errors"}),
    ],
)
def test_one_module_knows_each_of_these(library: str, known_by: set[str]) -> None:
    """The search, locks, digests and the nearest name are made in one place; finished searches are
    written for Optuna's dashboard in another.
    """
    users = {
        name
        for name, path in MODULES.items()
        if any(m.split(".")[0] == library for m in imported_modules(path))
    }
    assert users == known_by


def test_only_the_command_line_prints() -> None:
    """All else logs, or returns what is to be shown."""
    for name, path in MODULES.items():
        if package_of(name) in ("cli", "analysis") or name in PRINTING:
            continue
        printing = [
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
        ]
        assert not printing, f"{path} prints"


def test_analysis_reads_files_and_imports_nothing_of_the_engine() -> None:
    """The analysis works wherever the results are; of kcap_ray it knows what columns mean, and how
    to write.
    """
    foreign_names = {"kcap_ray", "ray", "torch", "benchmarks", "tests", *BENCHMARKS}
    for path in files_of("analysis"):
        foreign = [
            module
            for module in imported_modules(path)
            if module.split(".")[0] in foreign_names and module not in COLUMNS | TO_WRITE
        ]
        assert not foreign, f"{path} imports {foreign}"


def test_benchmarks_stand_above_the_packages() -> None:
    """They measure what is below the command line, which they run as users do, and nothing below
    knows them.
    """
    for path in BENCHMARKS.values():
        above = [m for m in imported_modules(path) if m.split(".")[0] == "tests"]
        above += [m for m in imported_modules(path) if m.startswith("kcap_ray.cli")]
        assert not above, f"{path} imports {above}"
    for path in MODULES.values():
        assert not BENCHMARKS.keys() & set(imported_modules(path)), path


@pytest.mark.slow
def test_modules_load_without_torch_or_ray() -> None:
    """What plans, counts or reads results starts at once. One process loads all of them; the first
    that loads more is named.
    """
    names = [module_name(path) for place in WITHOUT_TORCH_OR_RAY for path in files_of(place)]
    code = (
        "import importlib, sys\n"
        f"for name in {names}:\n"
        "    importlib.import_module(name)\n"
        "    heavy = {'torch', 'ray', 'transformers', 'optuna'} & set(sys.modules)\n"
        "    assert not heavy, (name, heavy)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_no_code_of_a_model_directory_is_run() -> None:
    """Wherever something is read by Hugging Face's ways, its own code stays unread."""
    calls = [
        call
        for path in files_of("kcap_ray")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        and call.func.attr == "from_pretrained"
    ]
    assert len(calls) >= 4
    for call in calls:
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert keywords.get("trust_remote_code") == "False", ast.unparse(call)
        assert keywords.get("local_files_only") == "True", ast.unparse(call)
