"""Functions say what they need in few words; what belongs together comes as one object."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MOST = 6

MORE = {
    # The loop is also used alone, without a run directory.
    ("kcap_ray/training/loop.py", "train"),
    ("kcap_ray/engine/rewrite.py", "write_parts"),
    ("kcap_ray/quantize/gptq.py", "_round_block"),
    ("kcap_ray/text/evaluation.py", "evaluation_documents"),
}
"""Functions that still take more; none may be added."""


def n_arguments(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Arguments by place and by name, without self and cls."""
    places = [argument.arg for argument in (*function.args.posonlyargs, *function.args.args)]
    is_method = bool(places) and places[0] in ("self", "cls")
    return len(places) - is_method + len(function.args.kwonlyargs)


def test_no_function_outside_of_the_command_line_takes_more_than_six_arguments() -> None:
    """Verbs have as many as they have options."""
    found = set()
    for path in sorted((ROOT / "kcap_ray").rglob("*.py")):
        file = path.relative_to(ROOT).as_posix()
        if file.startswith("kcap_ray/cli/"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and n_arguments(node) > MOST:
                found.add((file, node.name))
    assert found == MORE
