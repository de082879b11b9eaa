"""The JSON schema of sweep files, by which an editor completes keys, shows what they mean and marks
mistakes, without a network.

It is made of the dataclasses of a `Cell`, as the check of a sweep file is, and knows what that
check knows of a single value: keys, types and choices. What several values must fulfil together,
and limits of numbers, `kcap plan` says.

Draft 7, which editors' YAML servers read. They read YAML 1.2, where `50_000` is a text; so texts
that are such numbers pass for numbers.
"""

import dataclasses
import re
from typing import Any, Literal, get_args, get_origin, get_type_hints

from kcap_ray.config.cell import Cell
from kcap_ray.config.field_texts import field_texts, first_paragraph
from kcap_ray.config.model import Settings
from kcap_ray.config.schema import field_types, fields_of, item_of, optional_parts, words_of

TITLE = "kcap sweep file"

Schema = dict[str, Any]

_KEY, _AXIS, _FREE, _FREE_AXIS = "key:", "axis:", "free", "free_axis"
_PLAIN = {int: "integer", float: "number", bool: "boolean", str: "string"}
_UNDERSCORED = {int: r"^[-+]?[0-9]+(_[0-9]+)+$", float: r"^[-+]?[0-9]+(_[0-9]+)+(\.[0-9]*)?$"}


def sweep_schema() -> Schema:
    """The schema, as JSON can hold it."""
    hints = field_types()
    definitions: dict[str, Schema] = {
        _FREE: _free_value(),
        _FREE_AXIS: {"anyOf": [_list_of(_ref("", _FREE)), _free_axes()]},
    }
    for key, hint in hints.items():
        definitions[_KEY + key] = _key_schema(key, hint) | _explained(key)
        definitions[_AXIS + key] = _axis_schema(key, hint)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": TITLE,
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "Name of the sweep, as in the results."},
            "base": _or_null(
                _mapping("", _KEY) | {"description": "What all cells have in common, by key."}
            ),
            "grid": _or_null(
                _mapping("", _AXIS)
                | {"description": "Lists of values: a cell for each combination."}
            ),
            "tune": _or_null(_mapping("tune.", _KEY) | _explained("tune")),
            "where": _or_null(_where()),
        },
        "additionalProperties": False,
        "definitions": definitions,
    }


def _ref(kind: str, key: str) -> Schema:
    return {"$ref": f"#/definitions/{kind}{key}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _where() -> Schema:
    ends = {"low": _plain(float), "high": _plain(float)}
    limits = {
        "type": "object",
        "properties": ends,
        "additionalProperties": False,
        "minProperties": 1,
        "description": "Bits to know per parameter; cells outside of the range are left out.",
    }
    return {
        "type": "object",
        "properties": {"max_capacity_ratio": limits},
        "required": ["max_capacity_ratio"],
        "additionalProperties": False,
    }


def _mapping(prefix: str, kind: str) -> Schema:
    """A mapping whose keys are those that begin with `prefix`, without it: dotted or nested."""
    inside = {key.removeprefix(prefix): key for key in field_types() if key.startswith(prefix)}
    schema: Schema = {
        "type": "object",
        "properties": {name: _ref(kind, key) for name, key in inside.items()},
        "additionalProperties": False,
    }
    free = [name for name, key in inside.items() if _is_free(field_types()[key])]
    if free:
        names = "|".join(name.replace(".", r"\.") for name in free)
        value = _ref("", _FREE)
        value = value if kind == _KEY else _ref("", _FREE_AXIS)
        schema["patternProperties"] = {rf"^({names})\.[^.]+(\.[^.]+)*$": value}
    return schema


def _is_free(hint: Any) -> bool:
    return optional_parts(hint)[0] is Settings


def _key_schema(key: str, hint: Any) -> Schema:
    """What `key: value` may have as its value."""
    kind, is_optional = optional_parts(hint)
    item = item_of(kind)
    if item is not None:
        return {"type": "array", "items": _row(item)}
    if dataclasses.is_dataclass(kind):
        schema = _mapping(f"{key}.", _KEY)
        if key == "model":
            return {"anyOf": [{"type": "string"}, schema]}
    elif kind is Settings:
        schema = {"type": "object", **_free_mapping()}
    else:
        schema = _plain(kind)
    if words := words_of(hint):
        schema = {"anyOf": [schema, {"enum": list(words)}]}
    return _or_null(schema) if is_optional else schema


def _axis_schema(key: str, hint: Any) -> Schema:
    """What `key:` may have as its value under `grid:`: a list of values, or mappings down to it."""
    kind, _ = optional_parts(hint)
    value: Schema = _ref(_KEY, key)
    if dataclasses.is_dataclass(kind):
        value = {"allOf": [value, {"not": {"type": "object", "maxProperties": 0}}]}
        return {"anyOf": [_list_of(value), {**_mapping(f"{key}.", _AXIS), "minProperties": 1}]}
    if kind is Settings:
        return {"anyOf": [_list_of(value), _free_axes()]}
    return _list_of(value)


def _list_of(value: Schema) -> Schema:
    return {"type": "array", "items": value, "minItems": 1}


def _plain(kind: Any) -> Schema:
    if get_origin(kind) is Literal:
        return {"enum": list(get_args(kind))}
    if kind in _UNDERSCORED:
        number = {"type": "string", "pattern": _UNDERSCORED[kind]}
        return {"anyOf": [{"type": _PLAIN[kind]}, number]}
    return {"type": _PLAIN[kind]}


def _free_mapping() -> Schema:
    return {"propertyNames": {"pattern": r"^[^.]*$"}, "additionalProperties": _ref("", _FREE)}


def _free_axes() -> Schema:
    """Mappings down to lists of free values."""
    inside = {**_free_mapping(), "additionalProperties": _ref("", _FREE_AXIS)}
    return {"type": "object", "minProperties": 1, **inside}


def _free_value() -> Schema:
    plain = ["string", "number", "boolean", "null", "array"]
    return {"anyOf": [{"type": plain}, {"type": "object", **_free_mapping()}]}


def _row(item: type) -> Schema:
    """One of a list of mappings, such as `data.parts`; its groups may be nested or dotted."""
    keys = fields_of(item)
    return _row_mapping(item, "", keys) | {"description": first_paragraph(item)}


def _row_mapping(item: type, prefix: str, keys: dict[str, Any]) -> Schema:
    inside = {key.removeprefix(prefix): key for key in keys if key.startswith(prefix)}
    texts = field_texts(item)
    properties: dict[str, Schema] = {}
    for name, key in inside.items():
        kind, is_optional = optional_parts(keys[key])
        if dataclasses.is_dataclass(kind):
            assert isinstance(kind, type)
            found = _row_mapping(kind, f"{key}.", keys)
            properties[name] = _or_null(found) if is_optional else found
        else:
            properties[name] = _key_schema(key, keys[key])
        if "." not in name and name in texts:
            properties[name] |= {"description": texts[name]}
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if not prefix:
        schema["required"] = [
            field.name
            for field in dataclasses.fields(item)
            if field.default is field.default_factory is dataclasses.MISSING
        ]
    return schema


def _explained(key: str) -> Schema:
    """What a key means, and what it is without being written."""
    owner: Any = Cell
    *groups, name = key.split(".")
    for group in groups:
        owner, _ = optional_parts(get_type_hints(owner)[group])
    found: Schema = {}
    kind, _ = optional_parts(field_types()[key])
    text = field_texts(owner).get(name, "")
    if not text and dataclasses.is_dataclass(kind):
        assert isinstance(kind, type)
        text = first_paragraph(kind)
    if text:
        found["description"] = re.sub(r"\bNone\b", "null", text)  # as YAML has it
    (field,) = (field for field in dataclasses.fields(owner) if field.name == name)
    if isinstance(field.default, str | int | float):
        found["default"] = field.default
    return found
