"""A random sample of small wrong changes of the analysis, drawn with a fixed seed: the fast tests
of the module notice them.

Libraries are loaded once; each mutant is a fork in which the changed module is imported instead.
"""

import ast
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
N_MUTANTS = 20
LONGEST_S = 60
"""Time of the processor that the tests of a mutant may take: one may loop for ever, and no signal
of Python ends that in a library. Such a mutant is noticed.
"""
MAX_SURVIVORS = 3
"""Some changes change nothing: a tie that is broken otherwise, a bound that no data reach."""

TESTS = {
    "estimate": ("test_estimate.py",),
    "groups": ("test_groups.py",),
    "moderation": ("test_moderation.py",),
    "peak_table": ("test_groups.py", "test_fresh_seeds.py"),
    "power": ("test_power.py", "test_fresh_seeds.py"),
    "quantized": ("test_quantization.py", "test_fresh_seeds.py"),
    "runs": ("test_fresh_seeds.py", "test_comparison.py", "test_compare_runs.py"),
    "seeds": ("test_power.py",),
}
"""Modules that are fast to test, and their tests."""

COMPARISONS = {
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}


class Mutator(ast.NodeTransformer):
    """Changes the `wanted`-th place that can be changed; counts them all."""

    def __init__(self, wanted: int | None = None) -> None:
        self.wanted, self.n_places, self.what = wanted, 0, ""

    def _is_wanted(self, node: ast.AST, what: str) -> bool:
        is_wanted = self.n_places == self.wanted
        self.n_places += 1
        if is_wanted:
            self.what = f"line {getattr(node, 'lineno', 0)}: {what}"
        return is_wanted

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """`<` for `>=`, and so on."""
        self.generic_visit(node)
        other = COMPARISONS.get(type(node.ops[0]))
        if other is not None and self._is_wanted(node, other.__name__):
            node.ops[0] = other()
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        """`+` for `-`, `*` for `/`; not the `|` of types."""
        self.generic_visit(node)
        other = OPERATORS.get(type(node.op))
        if other is not None and self._is_wanted(node, other.__name__):
            node.op = other()
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        """`and` for `or`."""
        self.generic_visit(node)
        other = ast.Or if isinstance(node.op, ast.And) else ast.And
        if self._is_wanted(node, other.__name__):
            node.op = other()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        """A number that is one larger or twice as large."""
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return node
        if self._is_wanted(node, f"{value} changed"):
            return ast.Constant(value + 1 if isinstance(value, int) else 2 * value)
        return node


def mutated(module: str, wanted: int | None = None) -> tuple[str, Mutator]:
    """Source of the module with one change, and what was changed."""
    tree = ast.parse((ROOT / "analysis" / f"{module}.py").read_text(encoding="utf-8"))
    mutator = Mutator(wanted)
    return ast.unparse(ast.fix_missing_locations(mutator.visit(tree))), mutator


def sample() -> list[tuple[str, int]]:
    """Modules and places, each place of each module as likely as any other."""
    places = [(module, place) for module in TESTS for place in range(mutated(module)[1].n_places)]
    return random.Random(0).sample(places, N_MUTANTS)


def run_mutants() -> None:
    """In a process of its own: fork for each mutant, and print which of them survive as JSON."""
    import matplotlib.figure  # noqa: F401  (loaded once, for all forks)
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401

    survivors = []
    for module, place in [(None, 0), *sample()]:
        source, mutator = mutated(module, place) if module else ("", Mutator())
        tests = TESTS[module] if module else [one for own in TESTS.values() for one in own]
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (LONGEST_S, LONGEST_S))
            os._exit(_tests_fail(module, source, sorted(set(tests))))
        _, state = os.waitpid(child, 0)
        is_killed = os.waitstatus_to_exitcode(state) != 0
        if module is None and is_killed:
            raise SystemExit("the tests fail without any mutant")
        if module and not is_killed:
            survivors.append(f"{module}.py {mutator.what}")
    print(json.dumps(survivors))


def _tests_fail(module: str | None, source: str, tests: list[str]) -> int:
    """Exit status of the tests with this source in place of the module's."""
    import importlib.util
    from importlib.machinery import ModuleSpec

    class Finder:
        """Finds the mutant where the module is asked for."""

        def find_spec(self, name: str, path: object, target: object = None) -> ModuleSpec | None:
            if name != f"analysis.{module}":
                return None
            file = str(ROOT / "analysis" / f"{module}.py")
            spec = importlib.util.spec_from_loader(name, self, origin=file)  # type: ignore[arg-type]
            assert spec is not None
            spec.has_location = True
            return spec

        def create_module(self, spec: ModuleSpec) -> None:
            return None

        def exec_module(self, found: object) -> None:
            exec(compile(source, f"{module}.py", "exec"), vars(found))

    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    paths = [str(ROOT / "tests" / "analysis" / name) for name in tests]
    return int(
        pytest.main(["-q", "-x", "-p", "no:cacheprovider", "-m", "not slow", "--tb=no", *paths])
    )


@pytest.mark.slow
def test_a_random_sample_of_mutants_dies():
    """All but a few, and the tests pass without a mutant: 20 changes of comparisons, operators and
    numbers in modules that are fast to test.
    """
    code = "from tests.analysis import test_random_mutants as own; own.run_mutants()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    survivors = json.loads(done.stdout.splitlines()[-1])
    assert len(survivors) <= MAX_SURVIVORS, survivors
