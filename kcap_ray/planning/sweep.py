"""A sweep file becomes a list of cells: its grid, with the paper's recipe for what is left out."""

import fnmatch
import itertools
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from kcap_ray.config.cell import Cell, ModelConfig, TrainConfig
from kcap_ray.config.contents import with_contents, with_source
from kcap_ray.config.data import DataConfig, JunkConfig
from kcap_ray.config.errors import UserError
from kcap_ray.config.identity import NOT_SCIENCE
from kcap_ray.config.schema import build_cell
from kcap_ray.config.sweep_file import SweepFile, Values, override, read_sections, read_where
from kcap_ray.config.yaml import parse_yaml, read_yaml
from kcap_ray.models.spec import model_of
from kcap_ray.planning.costly import ALL_COSTLY, marked_if_costly, note_on_cost
from kcap_ray.planning.neighbour import Before, Index, neighbours
from kcap_ray.planning.run_length import spec_of
from kcap_ray.planning.shipped import find_sweep
from kcap_ray.recipes.length import printed_length
from kcap_ray.recipes.published import nearest_recipe
from kcap_ray.text.stream.corpus import facts_of

_FROM_RECIPE = ("train.lr", "train.weight_decay", "train.batch_windows", "train.precision")

MAX_POINTS = 100_000
"""Points of a grid, which are all looked at, at up to a thousand a second."""

_LONGEST = 200  # characters of a setting that a message repeats


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The cells of one question, in the order of the grid."""

    name: str
    """Name of the sweep, as in the results."""
    question: str
    """What the sweep asks: the first comment `# Question: ...` of the file; empty without one."""
    path: Path
    """The sweep file."""
    axes: dict[str, list[Any]]
    """Values of each axis of the grid, slowest first, by key as users write it."""
    cells: list[Cell]
    """The cells, first axis slowest, without those that `where` leaves out."""
    neighbour: dict[str, Before | None]
    """cell_id -> that of the cell on the first axis whose best point it tries second, or None; of a
    costly cell those of the cells to whose trials the rule is fitted that gives its first point.
    """
    n_left_out: int
    """Points of the grid that `where` leaves out."""
    column: dict[str, int] = field(default_factory=dict)
    """cell_id -> place of the cell's value on the first axis."""
    notes: tuple[str, ...] = ()
    """What was taken for settings that the paper does not print."""

    def matching(self, pattern: str | None) -> list[Cell]:
        """The cells whose id matches the glob; all without one. `UserError` if none does."""
        if pattern is None:
            return self.cells
        found = [cell for cell in self.cells if fnmatch.fnmatchcase(cell.cell_id, pattern)]
        if not found:
            first = self.cells[0].cell_id
            raise UserError(
                f"--cell {pattern}: no such cell; the first of {len(self.cells)} is {first}"
            )
        return found


def load_sweep(path: str | Path, overrides: Mapping[str, str] | None = None) -> Sweep:
    """The sweep that the file at `path`, or the sweep of that name that comes with kcap,
    describes, after `overrides` (dotted key -> YAML text).

    An override of a key of the grid replaces that axis; a list makes an axis; anything else
    replaces the base value.

    Raises `UserError` of one or two lines that names the file, the key, what was given and what is
    allowed.
    """
    path = find_sweep(Path(path))
    text, content = read_yaml(path)
    origin = str(path)
    try:
        draft = read_sections(content, default_name=path.stem)
        for key, value in (overrides or {}).items():
            origin = f"--set {key}={value if len(value) <= _LONGEST else value[:_LONGEST] + '...'}"
            override(draft, key, parse_yaml(value, origin=origin))
        origin = str(path)
        return _resolve(draft, path=path, text=text)
    except UserError as error:
        message = str(error)
        named = message if message.startswith(origin) else f"{origin}: {message}"
        raise UserError(named) from None


def _resolve(draft: SweepFile, *, path: Path, text: str) -> Sweep:
    if not isinstance(draft.name, str) or not re.fullmatch(r"[\w-][\w.-]*", draft.name):
        raise UserError(
            f"name: got {draft.name!r}; write letters, digits, `-`, `_`, and `.` inside of it"
        )
    where = read_where(draft.where)
    n_points = math.prod(map(len, draft.grid.values()))
    if n_points > MAX_POINTS:
        raise UserError(
            f"grid: {n_points:,} points; at most {MAX_POINTS:,} are planned, so write shorter axes"
        )
    kept: dict[Index, Cell] = {}
    n_left_out = 0
    notes: dict[str, int] = {}
    for index in itertools.product(*(range(len(axis)) for axis in draft.grid.values())):
        values = dict(draft.base)
        for axis, position in zip(draft.grid.values(), index, strict=True):
            values |= axis[position]
        note = _fill_from_recipe(values)
        cell = marked_if_costly(_cell(values, folder=path.parent))
        if where is not None and not where.low <= _max_capacity_ratio(cell) <= where.high:
            n_left_out += 1
            continue
        kept[index] = cell
        for said in (note, _note_on_length(cell), _note_on_window(cell), note_on_cost(cell)):
            if said is not None:
                notes[said] = notes.get(said, 0) + 1
    if not kept:
        raise UserError(
            f"where: leaves out all {n_left_out} cells of the grid; widen max_capacity_ratio"
        )
    if all(cell.tune.is_costly for cell in kept.values()):
        notes[ALL_COSTLY] = len(kept)
    axes = {key: [_shown(value) for value in axis] for key, axis in draft.grid.items()}
    ids = {index: cell.cell_id for index, cell in kept.items()}
    _refuse_equal_cells(ids, axes)
    return Sweep(
        name=draft.name,
        question=_question(text),
        path=path,
        axes=axes,
        cells=list(kept.values()),
        neighbour=neighbours(kept),
        column={ids[index]: index[0] if index else 0 for index in ids},
        n_left_out=n_left_out,
        notes=tuple(
            f"{text} ({n_cells:,} cell{'s' * (n_cells > 1)})." for text, n_cells in notes.items()
        ),
    )


def _shown(values: Values) -> Any:
    """The value of an axis as users write it; that of a group is its fields by key."""
    return next(iter(values.values())) if len(values) == 1 else values


def _question(text: str) -> str:
    match = re.search(r"^#[ \t]*Question:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return match[1] if match else ""


def _refuse_equal_cells(ids: Mapping[Index, str], axes: Mapping[str, list[Any]]) -> None:
    first: dict[str, Index] = {}
    for index, cell_id in ids.items():
        if cell_id in first:
            points = [
                ", ".join(f"{key}={axes[key][i]}" for key, i in zip(axes, point, strict=True))
                for point in (first[cell_id], index)
            ]
            idle = [key for key in axes if key in NOT_SCIENCE]
            why = f" ({', '.join(idle)} makes no other cell)" if idle else ""
            raise UserError(
                f"grid: two points are the same cell{why}: {points[0]} and {points[1]}; "
                "leave one out"
            )
        first[cell_id] = index


def _max_capacity_ratio(cell: Cell) -> float:
    """R_max: demand bits per parameter (arXiv 2404.05405, definitions 4.1 and 4.3)."""
    return facts_of(cell.data).demand_bits / spec_of(cell).n_params


def _cell(values: Values, *, folder: Path) -> Cell:
    cell = build_cell(values)
    data = cell.data.with_paths(partial(_found, folder=folder))
    model = cell.model.with_path(lambda path: _found("file", path, folder))
    cell = replace(cell, data=with_contents(data), model=with_source(model))
    # The name is checked here, so that a wrong one stops the sweep before any cell runs. Models
    # that are brought along are built to be checked, which whoever plans or runs them does.
    if not cell.model.is_own:
        model_of(cell.model, 1)
    return cell


def _found(key: str, path: str, folder: Path) -> str:
    """Where a file or directory is, sought first beside the sweep file: relative to the working
    directory if it is inside, so that a run says the same on every machine, else absolute.

    A file that is not there yet is left to whoever reads it: a sweep may be written before its
    data. `UserError` for pools that are neither there nor `full` or `mini`.
    """
    for found in (folder / path, Path(path)):
        if found.is_dir() if key == "pools" else found.exists():
            return _from_here(found)
    if key != "pools":
        return _from_here(Path(path))
    raise UserError(
        f"data.pools: got {path!r}; allowed are full, mini, or a directory, "
        f"and {folder.resolve()} and the working directory have none of that name"
    )


def _from_here(path: Path) -> str:
    whole, here = Path(os.path.abspath(path)), Path.cwd()
    return str(whole.relative_to(here) if whole.is_relative_to(here) else whole)


def _fill_from_recipe(values: Values) -> str | None:
    """Writes the published lr, weight decay, batch and precision where `values` lacks them; returns
    what is different about the published setting, if anything.

    Raises `UserError` with the keys to write where the batch is lacking and its windows are of
    another length than the published ones.
    """
    lacking = [key for key in _FROM_RECIPE if key not in values]
    needed = ("data.n_people", "train.exposures")
    if not lacking or any(key not in values for key in needed):
        return None
    n_people, exposures = (values[key] for key in needed)
    model = values.get("model.name")
    if model is not None:
        model_of(ModelConfig(name=model), 1)
    elif "model.file" in values or "model.hf.model_type" in values:
        model = "own"  # which the paper has no setting for: GPT-2's is where a search may begin
    else:
        return None
    kind = values.get("data.kind", DataConfig.kind)
    junk = _junk(values)
    if n_people < 1 or exposures < 1:
        return None  # said when the cell is made
    recipe, difference = nearest_recipe(model, kind, n_people, exposures, junk)
    window_tokens = values.get("train.window_tokens", TrainConfig.window_tokens)
    # A batch counted in windows of another length would be another batch.
    if "train.batch_windows" not in values and window_tokens != recipe.window_tokens:
        raise UserError(
            f"no value for {', '.join(lacking)}: {recipe.source} counts its batch in windows of "
            f"{recipe.window_tokens} tokens, and these have {window_tokens}; "
            "write train.batch_windows under `base:`"
        )
    for key in lacking:
        values[key] = getattr(recipe, key.removeprefix("train."))
    if difference is None:
        return None
    names = ", ".join(key.removeprefix("train.") for key in lacking)
    return f"The paper prints no {names} here; taken from {recipe.source}: {difference}"


def _note_on_length(cell: Cell) -> str | None:
    """What is inferred about the length of a run; `UserError` where nothing can be."""
    if cell.train.length != "printed" or printed_length(cell).is_printed:
        return None
    return (
        "The paper prints no steps here; as many tokens for each exposure are taken as Param 1's "
        "printed steps come to at 1000 exposures and the nearest number of people"
    )


def _note_on_window(cell: Cell) -> str | None:
    """A warning where some biography cannot be in a window: the cell will fail."""
    if any(table.kind == "bioR" for table in (cell.data, *cell.data.parts)):
        return None  # its texts may not be written yet, and are many
    try:
        n_tokens = facts_of(cell.data).longest_biography
    except UserError:
        return None  # said by whoever reads the data: a sweep may be written before them
    window = cell.train.window_tokens
    if n_tokens <= window:
        return None
    return (
        f"A biography of {n_tokens} tokens does not fit into a window of {window}, so the cell "
        f"will fail; write train.window_tokens: {n_tokens} or more, or shorter sentences"
    )


def _junk(values: Values) -> JunkConfig | None:
    prefix = "data.junk."
    fields = {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
    # Without people the cell is refused, and the message is about them.
    return JunkConfig(**fields) if "n_people" in fields else None
