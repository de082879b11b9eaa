"""Dotted keys: how a sweep file and `--set` name the fields of a `Cell`.

A key is the path to a field, for instance `train.exposures` or `tune.lr.low`. `model` alone means
`model.name`. Values are checked against the field's type here, so that nothing of the wrong type
reaches a `Cell`.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError, did_you_mean
from kcap_ray.config.model import Settings, is_plain

_KIND = {
    int: "a whole number, for instance 100",
    float: "a number, for instance 1.0e-3",
    bool: "true or false",
    str: "a text",
}

_NO_KEYS = ("contents", "is_costly", "guide_trials")
"""Fields that are found out and not asked for."""


def optional_parts(hint: Any) -> tuple[Any, bool]:
    """The type without None and words, and whether None is allowed: `int | None` -> (int, True),
    `int | Literal["auto"]` -> (int, False).
    """
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    inner = [arg for arg in get_args(hint) if arg is not type(None)]
    inner = [arg for arg in inner if get_origin(arg) is not Literal] or inner
    assert len(inner) == 1, f"a field of a Cell has more than one type: {hint}"
    return inner[0], type(None) in get_args(hint)


def words_of(hint: Any) -> tuple[str, ...]:
    """Words that may stand for a value: `int | Literal["auto"]` -> ("auto",)."""
    if get_origin(hint) not in (Union, UnionType):
        return ()
    return tuple(w for arg in get_args(hint) if get_origin(arg) is Literal for w in get_args(arg))


def item_of(hint: Any) -> type | None:
    """The dataclass that a field is a row of: `tuple[MixturePart, ...]` -> MixturePart."""
    return get_args(hint)[0] if get_origin(hint) is tuple else None


def fields_of(owner: type, prefix: str = "") -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for name, hint in get_type_hints(owner).items():
        if name in _NO_KEYS:
            continue
        kind, _ = optional_parts(hint)
        keys[prefix + name] = hint
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            keys |= fields_of(kind, f"{prefix}{name}.")
    return keys


@functools.cache
def field_types() -> dict[str, Any]:
    """Every dotted key of a `Cell` and its type; that of a group such as `train` is a dataclass."""
    return fields_of(Cell)


def is_group(key: str) -> bool:
    """Whether `key` names a group of fields (`train`, `tune.lr`) and not a single field."""
    return dataclasses.is_dataclass(optional_parts(field_types()[key])[0])


def free_root(key: str) -> str | None:
    """The field of free settings that the key is, or is inside of: `model.hf.hidden_size` is in
    `model.hf`; None for any other key.
    """
    for root, hint in field_types().items():
        if optional_parts(hint)[0] is Settings and overlaps(key, root) and len(key) >= len(root):
            return root
    return None


def _free_leaves(key: str, root: str, value: Any) -> dict[str, Any]:
    """As `leaves`, inside of free settings: each value that is no mapping by its dotted key."""
    if isinstance(value, Mapping) and value:
        found: dict[str, Any] = {}
        for name, item in value.items():
            if not isinstance(name, str) or "." in name:
                raise UserError(f"{key}: got the key {name!r}; write names without a dot")
            found |= _free_leaves(f"{key}.{name}", root, item)
        return found
    if key == root and value is not None and not isinstance(value, Mapping):
        raise UserError(f"{key}: got {value!r}; write `name: value` lines below it")
    if not is_plain(value):
        raise UserError(f"{key}: got {value!r}; write texts, numbers, true, false or lists of them")
    return {key: value}


def is_row_of_values(key: str, value: Any) -> bool:
    """Whether `value` is one value of a field that takes a list, and not an axis of several."""
    hint = field_types().get(key)
    is_axis = isinstance(value, list) and any(isinstance(item, list) for item in value)
    return item_of(hint) is not None and not is_axis


def display(key: str) -> str:
    """The key as users write it."""
    return "model" if key == "model.name" else key


def closest(key: str, allowed: Iterable[str]) -> str:
    """` (did you mean ...?)` for the nearest allowed key, or else `; allowed are ...`.

    Last parts are compared, within the key's own group before the others: `exposures` finds
    `train.exposures`, and `tune.lr.hihg` finds `tune.lr.high`.
    """
    group, _, name = key.rpartition(".")
    allowed = list(allowed)
    inside = [known for known in allowed if known.rpartition(".")[0] == group]
    # Another group's key must be nearer, or `tune.lr.step` would find `data.style`.
    for candidates, cutoff in ((inside, 0.6), (allowed, 0.8)):
        by_name: dict[str, str] = {}
        for known in candidates:
            by_name.setdefault(known.rpartition(".")[2], display(known))
        if hint := did_you_mean(name, by_name, shown=by_name, cutoff=cutoff):
            return hint
    top = [known for known in allowed if "." not in known]
    return f"; allowed are {', '.join(map(display, inside or top))}"


def leaves(key: str, value: Any) -> dict[str, Any]:
    """The single fields that `key: value` sets, each value of its field's type.

    Worked example: `tune`, {"trials": 2, "lr": {"low": 1e-4}} -> {"tune.trials": 2, "tune.lr.low":
    0.0001}.

    Raises `UserError` for an unknown key and for a value of the wrong type.
    """
    if key == "model" and not isinstance(value, Mapping):
        key = "model.name"
    if (root := free_root(key)) is not None:
        return _free_leaves(key, root, value)
    if key not in field_types():
        raise UserError(f"{key}: unknown key{closest(key, field_types())}")
    if not is_group(key):
        return {key: checked(key, value, field_types()[key])}
    if value is None and optional_parts(field_types()[key])[1]:
        return {key: None}
    if not isinstance(value, Mapping):
        inside = ", ".join(name for name in field_types() if name.rpartition(".")[0] == key)
        raise UserError(f"{key}: got {value!r}; this is a group of keys: {inside}")
    values: dict[str, Any] = {}
    for name, item in value.items():
        values |= leaves(f"{key}.{name}", item)
    return values


def checked(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type `hint`; a whole float such as 1e5 may stand for an int.

    Raises `UserError` that names the key, what was given and what is allowed.
    """
    kind, none_allowed = optional_parts(hint)
    words = words_of(hint)
    if (value is None and none_allowed) or (isinstance(value, str) and value in words):
        return value
    if (item := item_of(kind)) is not None:
        return _rows(key, value, item)
    if get_origin(kind) is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
        allowed = ", ".join(get_args(kind))
        meant = did_you_mean(str(value), get_args(kind))
        raise UserError(f"{display(key)}: got {value!r}{meant}; allowed are {allowed}")
    if isinstance(value, list):
        raise UserError(f"{display(key)}: got a list; only under `grid:` does a key take a list")
    if kind in (int, float) and (number := _number(value, kind)) is not None:
        return number
    if kind in (bool, str) and isinstance(value, kind):
        return value
    allowed = " or ".join((_KIND[kind], *words))
    raise UserError(f"{display(key)}: got {value!r}; write {allowed}")


def _rows(key: str, value: Any, item: type) -> tuple[Any, ...]:
    """A list of mappings as a row of dataclasses.

    Raises `UserError` where it is none, and for what a mapping may not hold.
    """
    known = fields_of(item)
    is_list = isinstance(value, list | tuple) and all(isinstance(row, Mapping) for row in value)
    if not is_list:
        names = ", ".join(name for name in known if "." not in name)
        raise UserError(f"{key}: got {value!r}; write a list of mappings with keys of {names}")
    rows = []
    for row in value:
        fields = {}
        for name, inner in _flattened(row).items():
            if name not in known:
                raise UserError(f"{key}: {name}: unknown key{closest(name, known)}")
            fields[name] = checked(f"{key}.{name}", inner, known[name])
        nested = _nested(fields)
        if missing := _missing(item, "", nested):
            raise UserError(f"{key}: a part has no value for {', '.join(missing)}")
        rows.append(_build(item, f"{key}.", nested))
    return tuple(rows)


def _flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings by dotted key: {"a": {"b": 1}} -> {"a.b": 1}."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flattened(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _number(value: object, kind: type[int] | type[float]) -> int | float | None:
    """`value` as `kind` if it is a number below 2^63 that `kind` holds exactly; true is none."""
    # Compared, and not converted: an integer of 400 digits fits no float.
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 2**63:
        return None
    return kind(value) if kind(value) == value else None


def overlaps(key: str, other: str) -> bool:
    """Whether the two keys set a field in common: the same, or one is a group around the other."""
    return key == other or key.startswith(other + ".") or other.startswith(key + ".")


@functools.cache
def _parts(owner: type) -> tuple[tuple[str, type | None, bool], ...]:
    """Fields of a dataclass: name, the dataclass of a group (None for a single field), required."""
    parts = []
    hints = get_type_hints(owner)
    for field in dataclasses.fields(owner):
        kind, _ = optional_parts(hints[field.name])
        is_required = field.default is field.default_factory is dataclasses.MISSING
        parts.append((field.name, kind if dataclasses.is_dataclass(kind) else None, is_required))
    return tuple(parts)


def build_cell(values: Mapping[str, Any]) -> Cell:
    """The cell with these single fields (dotted key -> value); the others keep their defaults.

    Raises `UserError` where fields are missing, naming all of them, or contradict each other.
    """
    nested = _nested(values)
    if missing := _missing(Cell, "", nested):
        keys = ", ".join(map(display, missing))
        raise UserError(f"no value for {keys}; write them under `base:` or `grid:`")
    return _build(Cell, "", nested)


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys as nested mappings: {"a.b": 1} -> {"a": {"b": 1}}."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        inside = nested
        for group in groups:
            inside = inside.setdefault(group, {})
        inside[name] = value
    return nested


def _missing(owner: type, prefix: str, nested: Mapping[str, Any]) -> list[str]:
    missing: list[str] = []
    one_of = getattr(owner, "ONE_OF", ())
    if one_of and not any(name in nested for name in one_of):
        missing.append(prefix + one_of[0])
    for name, group, is_required in _parts(owner):
        if group is None or nested.get(name, {}) is None:
            missing += [prefix + name] if is_required and name not in nested else []
        elif is_required or name in nested:
            missing += _missing(group, f"{prefix}{name}.", nested.get(name, {}))
    return missing


def _build(owner: type, prefix: str, nested: Mapping[str, Any]) -> Any:
    groups = {name: group for name, group, _ in _parts(owner) if group is not None}
    given = {
        name: _build(groups[name], f"{prefix}{name}.", value)
        if name in groups and value is not None
        else value
        for name, value in nested.items()
    }
    try:
        return owner(**given)
    except UserError as error:
        where = prefix.rstrip(".")
        # A range does not know which key it is the value of.
        named = str(error) if not where or where in str(error) else f"{where}: {error}"
        raise UserError(named) from None
