"""What the sentences under the fields of the configuration say, for those who write sweep files."""

import ast
import functools
import inspect
import textwrap


@functools.cache
def field_texts(owner: type) -> dict[str, str]:
    """Field of a dataclass -> the sentences under it, on one line; those that it inherits too.

    They are read from the source, which is installed with the package: Python itself drops them.
    """
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("kcap_ray."):
            found |= _own_texts(base)
    return found


def _own_texts(owner: type) -> dict[str, str]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[field.target.id] = " ".join(str(below.value.value).split())
    return found


def first_paragraph(owner: type) -> str:
    """What a dataclass is, on one line."""
    return " ".join((inspect.getdoc(owner) or "").split("\n\n")[0].split())
