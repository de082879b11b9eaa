"""`kcap init` and `kcap schema`: a sweep file to begin with, and what editors know of one."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from kcap_ray.cli.starter import (
    Machine,
    long_rows,
    path_from,
    read_facts,
    starter_text,
)
from kcap_ray.config.errors import UserError

SCHEMA_FILE = "kcap.schema.json"
"""What `kcap init` writes beside a sweep file, whose first line names it to editors."""

_NEXT = {
    "laptop": "--device cpu",
    "gpu": "--device a100",
    "cluster": "--device a100 --devices 8",
}


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the sweep: NAME.yaml.")],
    machine: Annotated[
        Machine, typer.Option("--for", help="What it is to run on, which decides its size.")
    ] = "laptop",
    facts: Annotated[
        Path | None,
        typer.Option(
            "--facts",
            metavar="F",
            help="Facts of your own (CSV, JSON lines, Parquet): columns name, attribute, value; or "
            "a CSV with a row a thing, its name first, which is written in that form beside it.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="F:NAME",
            help="A model of your own: a Python file, and the class or function in it that builds "
            "one, such as my_model.py:MyLM.",
        ),
    ] = None,
) -> None:
    """Write a sweep file to begin with, commented, and say what comes next."""
    from kcap_ray.planning.sweep import load_sweep

    path = _path_of(name)
    text, written = "", []
    try:
        own = None if model is None else _own_model(model, path.parent)
        file = None
        if facts is not None:
            file, rows = _in_long_form(facts, path)
            if rows is not None:
                _write_new(file, rows)
                written.append(file)
        found = None if file is None else read_facts(file, path.parent)
        text = _schema_line(path) + starter_text(path, machine, facts=found, model=own)
        _write_new(path, text)
        written.append(path)
        # What cannot be planned is not left behind.
        load_sweep(path)
    except UserError:
        for one in written:
            one.unlink()
        raise
    for one in written:
        typer.echo(f"wrote {one}")
    if text.startswith("# yaml"):
        typer.echo(f"wrote {path.with_name(SCHEMA_FILE)} (editors complete and check keys by it)")
    typer.echo(f"next:  kcap plan {path} {_NEXT[machine]}")


def schema() -> None:
    """Print the JSON schema of sweep files, by which editors complete and check them."""
    typer.echo(_schema_text())


def _schema_text() -> str:
    from kcap_ray.config.json_schema import sweep_schema

    return json.dumps(sweep_schema(), indent=1)


def _path_of(name: str) -> Path:
    """The file to be written; UserError where it is there, or the name is none of a sweep."""
    from kcap_ray.planning.shipped import shipped_sweeps

    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        path = path.with_name(path.name + ".yaml")
    if not re.fullmatch(r"[\w-][\w.-]*", path.stem):
        raise UserError(f"{path.stem!r} names no sweep; write letters, digits, `-`, `_` and `.`")
    if path.stem in shipped_sweeps():
        raise UserError(f"{path.stem}: a sweep of this name comes with kcap; write another name")
    if path.exists():
        raise _there(path)
    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: there is no such directory")
    return path


def _own_model(model: str, folder: Path) -> tuple[str, str]:
    file, colon, build = model.rpartition(":")
    if not colon or not file or not build.isidentifier():
        raise UserError(f"--model {model}: write a file and a name in it, such as my_model.py:MyLM")
    if not Path(file).is_file():
        raise UserError(f"--model {model}: {file}: there is no such file")
    return path_from(Path(file), folder), build


def _in_long_form(facts: Path, path: Path) -> tuple[Path, str | None]:
    """The file with columns name, attribute and value, and its text if it has to be written."""
    rows = long_rows(facts)
    if rows is None:
        return facts, None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([("name", "attribute", "value"), *rows])
    return path.with_name(f"{path.stem}_facts.csv"), text.getvalue()


def _write_new(file: Path, text: str) -> None:
    """Write a file that is not there; UserError where it is, or cannot be written."""
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise _there(file) from None
    except OSError as error:
        raise UserError(f"{file}: cannot be written ({error.strerror})") from None


def _there(file: Path) -> UserError:
    return UserError(f"{file} is there already, and stays as it is; write another name")


def _schema_line(path: Path) -> str:
    """The line by which editors find the schema, which is then beside the sweep file; none where
    another file has its place.
    """
    from kcap_ray.config.json_schema import TITLE
    from kcap_ray.runs.files import write_atomically

    file, text = path.with_name(SCHEMA_FILE), _schema_text() + "\n"
    if file.exists():
        try:
            found: Any = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or found.get("title") != TITLE:
            return ""
    if not file.exists() or file.read_text(encoding="utf-8") != text:
        write_atomically(file, text)
    return f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
