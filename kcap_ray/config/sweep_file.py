"""The sections of a sweep file, checked key by key, and changed by overrides."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.config.model import ModelConfig
from kcap_ray.config.schema import (
    checked,
    closest,
    display,
    field_types,
    is_row_of_values,
    leaves,
    overlaps,
)

_SECTIONS = ("name", "base", "grid", "tune", "where")

Values = dict[str, Any]
"""Single fields of a cell by dotted key."""


@dataclass(frozen=True, kw_only=True)
class CapacityRange:
    """Range of R_max (demand bits per parameter) that a cell must lie in to be kept."""

    low: float = 0.0
    high: float = math.inf


@dataclass
class SweepFile:
    """A sweep file while it is being read and overridden."""

    name: Any
    base: Values
    grid: dict[str, list[Values]]
    """Key of an axis -> the fields that each of its values sets."""
    where: Any


def read_sections(content: Any, *, default_name: str) -> SweepFile:
    """The draft of the sweep whose YAML value is `content`.

    Raises `UserError` for an unknown key, a value of the wrong type, an axis that is no list or
    empty, and a key given twice.
    """
    if not isinstance(content, Mapping):
        raise UserError(f"a sweep is a mapping with the keys {', '.join(_SECTIONS)}")
    for key in map(str, content):
        if key not in _SECTIONS:
            if key in field_types():
                raise UserError(f"{key}: this key goes under `base:` or `grid:`")
            raise UserError(f"{key}: unknown section{closest(key, _SECTIONS)}")
    draft = SweepFile(content.get("name", default_name), {}, {}, content.get("where"))
    for key, value in _mapping(content, "base").items():
        _add(draft, leaves(str(key), value))
    _add(draft, leaves("tune", _mapping(content, "tune")))
    for key, values in _flat_axes(_mapping(content, "grid")).items():
        axis = _axis(key, values)
        _refuse_twice(draft, _leaves_of(axis))
        draft.grid[display(key)] = axis
    return draft


def _mapping(content: Mapping[str, Any], section: str) -> Mapping[str, Any]:
    value = content.get(section)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{section}: got {value!r}; write `key: value` lines below it")
    return value


def _flat_axes(grid: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Axes by dotted key: {"data": {"n_people": [1, 2]}} -> {"data.n_people": [1, 2]}."""
    axes: dict[str, Any] = {}
    for name, value in grid.items():
        key = f"{prefix}{name}"
        is_inner = isinstance(value, Mapping) and value
        axes |= _flat_axes(value, key + ".") if is_inner else {key: value}
    return axes


def _axis(key: str, values: Any) -> list[Values]:
    if not isinstance(values, list):
        raise UserError(
            f"{key}: an axis of the grid is a list, got {values!r}; "
            f"write [{values}], or move it to `base:`"
        )
    if not values:
        raise UserError(f"{key}: the axis has no values; write at least one")
    axis = [leaves(key, value) for value in values]
    if not all(axis):
        raise UserError(f"{key}: a value of the axis sets nothing; write its keys")
    return axis


def _leaves_of(axis: list[Values]) -> set[str]:
    return {leaf for values in axis for leaf in values}


def _refuse_twice(draft: SweepFile, added: Iterable[str]) -> None:
    given = set(draft.base).union(*map(_leaves_of, draft.grid.values()))
    for key in added:
        if any(overlaps(key, other) for other in given):
            raise UserError(f"{display(key)} is given twice; leave one of them out")


def _add(draft: SweepFile, values: Values) -> None:
    _refuse_twice(draft, values)
    draft.base |= values


def override(draft: SweepFile, key: str, value: Any) -> None:
    """Sets `key`: as an axis where the grid has it or `value` is a list, else as a base value.
    Where an axis sets it together with others, it is set in each value of the axis.

    Raises `UserError` as reading a file does.
    """
    key = display(key)
    if key == "name":
        draft.name = value if isinstance(value, str) else str(value)
        return
    if key.split(".")[0] == "where":
        draft.where = _with_item(draft.where, key.split(".")[1:], value)
        return
    is_axis = isinstance(value, list) and not is_row_of_values(key, value)
    axis = _axis(key, value) if is_axis else [leaves(key, value)]
    if key in draft.grid:
        draft.grid[key] = axis
        return
    added = _leaves_of(axis)
    if key == "model":  # another model: nothing of what named the one before stays
        added |= {f"model.{name}" for name in ModelConfig.NAMING}
    inside: set[str] = set()
    for name, other in list(draft.grid.items()):
        known = _leaves_of(other)
        replaced = {one for one in known if any(overlaps(leaf, one) for leaf in added)}
        if replaced == known or (replaced and key == "model"):
            del draft.grid[name]
        elif replaced:
            own = {leaf for leaf in added if any(overlaps(leaf, one) for one in known)}
            draft.grid[name] = _with_inside(
                name,
                other,
                key,
                [{leaf: value for leaf, value in values.items() if leaf in own} for values in axis],
            )
            inside |= own
    added -= inside
    axis = [{leaf: v for leaf, v in values.items() if leaf in added} for values in axis]
    if not any(axis):
        return
    for known in [name for name in draft.base if any(overlaps(leaf, name) for leaf in added)]:
        del draft.base[known]
    if is_axis:
        draft.grid[key] = axis
    else:
        draft.base |= axis[0]


def _with_inside(name: str, other: list[Values], key: str, axis: list[Values]) -> list[Values]:
    """An axis of the grid with `key`, which is a part of its values, set in each of them."""
    if len(axis) > 1:
        raise UserError(
            f"{key}: the axis {name} of the grid sets it together with other keys; give one value, "
            f"or write all of {name}"
        )
    found = [_with_leaves(values, axis[0]) for values in other]
    if any(one in found[:place] for place, one in enumerate(found)):
        raise UserError(
            f"{key}: with one value for all of them two values of the axis {name} are the same; "
            f"write all of {name}"
        )
    return found


def _with_leaves(values: Values, added: Values) -> Values:
    """A value of an axis with these leaves in place of its own; without those of something that it
    says is not there, as `data.junk: null` does.
    """
    added = {
        leaf: value
        for leaf, value in added.items()
        if not any(leaf.startswith(f"{known}.") for known in values)
    }
    kept = {
        known: value
        for known, value in values.items()
        if not any(overlaps(leaf, known) for leaf in added)
    }
    return kept | added


def _with_item(value: Any, path: list[str], item: Any) -> Any:
    if not path:
        return item
    inside = dict(value) if isinstance(value, Mapping) else {}
    return inside | {path[0]: _with_item(inside.get(path[0]), path[1:], item)}


def read_where(value: Any) -> CapacityRange | None:
    """`{max_capacity_ratio: {low: .., high: ..}}`, both ends optional."""
    if value is None:
        return None
    form = "write `max_capacity_ratio: {low: 0.5, high: 5}`, one or both ends"
    if not isinstance(value, Mapping) or list(value) != ["max_capacity_ratio"]:
        raise UserError(f"where: got {value!r}; {form}")
    ends = value["max_capacity_ratio"]
    if not isinstance(ends, Mapping) or not ends or set(ends) - {"low", "high"}:
        raise UserError(f"where.max_capacity_ratio: got {ends!r}; {form}")
    where = CapacityRange(
        **{end: checked(f"where.max_capacity_ratio.{end}", ends[end], float) for end in ends}
    )
    if where.low > where.high:
        raise UserError(f"where.max_capacity_ratio: low {where.low} is above high {where.high}")
    return where
