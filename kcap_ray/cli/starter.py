"""The text of a new sweep file: for a kind of machine, with facts or a model of the user's own."""

import csv
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Literal

from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError

Machine = Literal["laptop", "gpu", "cluster"]

_FOLDER = Path(__file__).parent / "starters"
_EXPOSURES = (100, 300, 1000)


@dataclass(frozen=True, kw_only=True)
class _Size:
    """What a first sweep has on a kind of machine."""

    n_people: tuple[int, ...]
    models: tuple[str, ...]
    window_tokens: int
    batch_windows: int | None
    """None: as many as the paper's."""
    most_tokens: float
    """Of the longest run, where the number of exposures can be chosen by it."""


# By quickstart, and by `kcap plan`: minutes on two cores, about an hour of an A100, about 14 hours.
_SIZES: dict[Machine, _Size] = {
    "laptop": _Size(
        n_people=(200, 800),
        models=("gpt2-1-1", "gpt2-2-1"),
        window_tokens=128,
        batch_windows=4,
        most_tokens=5e6,
    ),
    "gpu": _Size(
        n_people=(20_000, 50_000),
        models=("gpt2-2-2", "gpt2-4-2", "gpt2-4-4"),
        window_tokens=512,
        batch_windows=None,
        most_tokens=4e8,
    ),
    "cluster": _Size(
        n_people=(50_000, 100_000, 200_000),
        models=("gpt2-2-2", "gpt2-4-2", "gpt2-4-4", "gpt2-6-6", "gpt2-8-8"),
        window_tokens=512,
        batch_windows=None,
        most_tokens=2e9,
    ),
}

_BIOD = """\
  # The facts to learn (docs/data.md): people with a name and K attributes, each one of D strings;
  # in bare words, 16 tokens a person. Your own facts: kcap init NAME --facts facts.csv
  data: {kind: bioD, pools: mini, style: compact, K: 6, C: 1, D: 50, L: 1, T: 2000}
  train.exposures: 200       # times that each fact is seen
"""
_BIOS = """\
  # The facts to learn (docs/data.md): people with a name and six attributes, in newly drawn
  # sentences at every exposure. Your own facts: kcap init NAME --facts facts.csv
  data.kind: bioS
  train.exposures: 100       # times that each fact is seen
"""
_TUPLES = """\
  # The facts to learn (docs/data.md) are those of a file. A value counts log2 of the different
  # values in the file unless `data.pool_sizes` says how many there could be; names count nothing
  # unless `data.name_space` says how many of those there could be.
  data.kind: tuples
  data.file: $facts
  data.n_people: $n_people           # all names of the file
"""
_WHERE = """
# Data far too small or far too large for a model say little and cost much (bits per parameter).
where:
  max_capacity_ratio: {low: 0.3, high: 5}
"""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """A file of the user's, as far as a first sweep depends on it."""

    path: str
    """From the sweep file's directory."""
    n_people: int
    n_tokens: float
    """Expected tokens of a biography."""
    longest: int
    """Tokens of the longest one."""


def starter_text(
    path: Path, machine: Machine, *, facts: Facts | None, model: tuple[str, str] | None
) -> str:
    """The sweep file that is to be written at `path`; `model`: file and what builds it."""
    size = _SIZES[machine]
    window, batch = size.window_tokens, size.batch_windows
    if facts is None:
        data = _BIOD if machine == "laptop" else _BIOS
        axes = {"data.n_people": _listed(f"{n:_}" for n in size.n_people)}
        question = "how many bits does a parameter store?"
    else:
        data = Template(_TUPLES).substitute(facts=facts.path, n_people=facts.n_people)
        question = f"how much of {Path(facts.path).name} does a model store?"
        axes = {"train.exposures": _listed(map(str, _exposures(facts, size)))}
        while window < facts.longest:
            window *= 2
            batch = max(1, (batch or 12) // 2)
    if model is None:
        axes["model"] = _listed(size.models)
    else:
        question = f"does {model[1]} store more than GPT-2?" if facts is None else question
        file, build = model
        own = f"{{file: {file}, build: {build}}}    # kwargs: {{...}} for {build}'s own arguments"
        lines = [*size.models[-1:], own] if machine == "laptop" else [*size.models, own]
        axes["model"] = "".join(f"\n    - {line}" for line in lines)
    length = f"  train.window_tokens: {window}   # no biography may be longer\n"
    if batch is not None:
        length += f"  train.batch_windows: {batch}     # windows a step; fewer give more steps\n"
    template = Template((_FOLDER / f"{machine}.yaml").read_text(encoding="utf-8"))
    return template.substitute(
        name=path.stem,
        file=path,
        question=question,
        data=data.rstrip("\n"),
        length=length.rstrip("\n"),
        # What the user brings along is not left out.
        where=_WHERE if facts is None and model is None else "",
        axes="".join(f"  {key}: {values}\n" for key, values in axes.items()).replace(": \n", ":\n"),
    )


def _listed(values: Iterable[str]) -> str:
    return f"[{', '.join(values)}]"


def _exposures(facts: Facts, size: _Size) -> list[int]:
    """Numbers of exposures, up to the longest run that such a machine is for."""
    tokens = facts.n_people * facts.n_tokens
    return [e for e in _EXPOSURES if tokens * e <= size.most_tokens] or [_EXPOSURES[0]]


def read_facts(file: Path, folder: Path) -> Facts:
    """What a first sweep in `folder` has to know of a file of facts.

    Raises `UserError` where it cannot be read.
    """
    from kcap_ray.knowledge.tuples import load_tuples
    from kcap_ray.text.stream.corpus import facts_of

    one = DataConfig(kind="tuples", file=str(file), n_people=1)
    n_people = load_tuples(one).n_names_in_file
    found = facts_of(DataConfig(kind="tuples", file=str(file), n_people=n_people))
    return Facts(
        path=path_from(file, folder),
        n_people=n_people,
        n_tokens=found.tokens_per_biography,
        longest=found.longest_biography,
    )


def path_from(file: Path, folder: Path) -> str:
    """The path as a sweep file in `folder` writes it; quoted where YAML would read another one."""
    path = os.path.relpath(file, folder)
    return path if re.fullmatch(r"[\w./-]+", path) else "'" + path.replace("'", "''") + "'"


def long_rows(file: Path) -> list[tuple[str, str, str]] | None:
    """A table with one row a thing, its name in the first column, as rows of name, attribute and
    value; None if the file is no CSV, or has these three columns.

    Raises `UserError` where it cannot be read, or has no second column.
    """
    if file.suffix.lower() != ".csv":
        return None
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            rows = [row for row in csv.reader(lines) if any(field.strip() for field in row)]
    except FileNotFoundError:
        raise UserError(f"--facts {file}: there is no such file") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--facts {file}: cannot be read: {error}") from None
    if not rows or {"name", "attribute", "value"} <= set(rows[0]):
        return None
    heading, *things = rows
    if len(heading) < 2:
        raise UserError(
            f"--facts {file}: one column; write the columns name, attribute, value, or a name and "
            "a column for each attribute"
        )
    for number, row in enumerate(things, start=2):
        if len(row) != len(heading):
            raise UserError(
                f"--facts {file}: row {number} has {len(row)} fields, and the first has "
                f"{len(heading)}"
            )
    attributes = [" ".join(attribute.split()) for attribute in heading]
    return [
        (" ".join(row[0].split()), attribute, " ".join(value.split()))
        for row in things
        for attribute, value in zip(attributes[1:], row[1:], strict=True)
        if value.strip()
    ]
