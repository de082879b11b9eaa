"""YAML as a careful reader expects it: `1e-3` is a number, `on`, `010` and `1:30` are words, and no
key may be given twice.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from kcap_ray.config.errors import UserError

_BOOL = "tag:yaml.org,2002:bool"
_FLOAT = "tag:yaml.org,2002:float"
_INT = "tag:yaml.org,2002:int"


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the numbers and booleans of YAML 1.2, and without repeated keys."""

    # PyYAML follows YAML 1.1, where 1e-3 is a text, on, off, yes and no are booleans, 010 is eight
    # and 1:30 ninety.
    yaml_implicit_resolvers = {  # noqa: RUF012 - the name and the form are PyYAML's
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (_BOOL, _FLOAT, _INT)]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            problem = None
            if not isinstance(key, yaml.ScalarNode):
                problem = "a key must be a single word"
            elif key.value in seen:
                problem = f"{key.value} is given twice"
            if problem:
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


_Loader.add_implicit_resolver(_BOOL, re.compile(r"(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver(_INT, re.compile(r"[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT,
    re.compile(
        r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*[eE][-+]?[0-9]+|[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*(?:[eE][-+]?[0-9]+)?"
        r"|\.(?:inf|Inf|INF))$|\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def parse_yaml(text: str, *, origin: str) -> Any:
    """The value that `text` writes; None for an empty text.

    Raises `UserError` that names `origin` (a file, or `--set`) and the line where the text is not
    YAML.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = "" if mark is None else f", line {mark.line + 1}"
        raise UserError(f"{origin}{line}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{origin}: not YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise UserError(f"{origin}: nested too deep; a sweep has three levels") from None
    except ValueError as error:  # a number or date that Python does not take
        raise UserError(f"{origin}: a value cannot be read ({str(error).split(';')[0]})") from None


def read_yaml(path: Path) -> tuple[str, Any]:
    """Text and value of the file.

    Raises `UserError` if the file cannot be read or is not YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    return text, parse_yaml(text, origin=str(path))
