"""Functions say what they need in few words; what belongs together comes as one object."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 6
ROOMS = ("kcap_ray", "analysis")
VERBS = ("kcap_ray/cli/", "analysis/__main__.py")


def n_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Arguments by place and by name, without self and cls."""
    places = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    is_method = bool(places) and places[0] in ("self", "cls")
    return len(places) - is_method + len(function.args.kwonlyargs)


def test_no_function_outside_of_the_command_line_takes_more_than_six_arguments() -> None:
    """Verbs have as many as they have options."""
    found = set()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        if file.startswith(VERBS):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and n_arguments(node) > MOST:
                found.add((file, node.name))
    assert not found
