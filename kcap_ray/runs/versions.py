"""Records of earlier schema versions, converted to today's meaning of every column. The only place
that knows of them.

Version 1 (no column `schema_version`): `loss_value_nats` and `loss_value1_nats` were summed over
the attributes of a person for bioS and files of facts, but averaged over them for bioD; and some
columns came later.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.config.tuning import Range, TuneConfig, edge_text, sides_of
from kcap_ray.runs.schema import SCHEMA_VERSION, RecordError

N_BIOS_ATTRIBUTES = 6
"""Counted attributes of a person of bioS, bioS_simple and bioR."""


def version_of(values: Mapping[str, Any]) -> int:
    """The schema version of a record. Raises `UserError` for one that is not known yet."""
    version = values.get("schema_version")
    if version is None or _is_missing(version):
        return 1
    if version not in range(1, SCHEMA_VERSION + 1):
        raise UserError(
            f"schema_version is {version!r}, and this kcap knows up to {SCHEMA_VERSION}; update it"
        )
    return int(version)


def n_attributes_of(label: str) -> int | None:
    """Attributes of a person of the data or the table with this label; None where only a file of
    facts says it.
    """
    found = re.match(r"bioD-K(\d+)-", label)
    if found:
        return int(found[1])
    return N_BIOS_ATTRIBUTES if re.match(r"bio[SR]", label) else None


def upgraded(values: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The columns of a record in the current version; `label`: of its data, as in `dataset`."""
    if version_of(values) == SCHEMA_VERSION:
        return dict(values) | _edge(values)
    found = {**values, "schema_version": SCHEMA_VERSION}
    for name in ("loss_value_nats", "loss_value1_nats"):
        found |= _per_person_and_attribute(name, values.get(name), label)
    if isinstance(values.get("groups"), str):
        found["groups"] = json.dumps([_group(group) for group in json.loads(values["groups"])])
    if "n_params" in values:
        found |= _of_later(values) | _edge(values)
    return found


def _per_person_and_attribute(name: str, value: float | None, label: str) -> dict[str, Any]:
    """What version 1 called `name`, per person, and the mean over the person's attributes."""
    per_attribute, n_attributes = f"{name.removesuffix('_nats')}_attribute_nats", _known(label)
    if value is None or _is_missing(value):
        return {name: value, per_attribute: None}
    if label.startswith("bioD"):
        assert n_attributes is not None
        return {name: n_attributes * value, per_attribute: value}
    return {name: value, per_attribute: None if n_attributes is None else value / n_attributes}


def _known(label: str) -> int | None:
    n_attributes = n_attributes_of(label)
    if n_attributes is None and label.startswith("bioD"):
        raise RecordError(f"column dataset: got {label!r}; K of bioD is not in it")
    return n_attributes


def _group(group: dict[str, Any]) -> dict[str, Any]:
    if "loss_value_nats" not in group:
        return group
    both = _per_person_and_attribute("loss_value_nats", group["loss_value_nats"], group["table"])
    return {**group, "loss_value_nats": both["loss_value_nats"]}


def _of_later(values: Mapping[str, Any]) -> dict[str, Any]:
    """Columns that rows of the earliest runs lack, which had one optimizer, no experts, and kept no
    settings.
    """
    embedding = values["n_params"] - values.get("n_params_non_embedding", values["n_params"])
    then = {
        "n_params_embedding": embedding,
        "n_params_active": values["n_params"],
        "optimizer": "adamw",
        "demand_is_estimate": False,
        "quantization": "none",
        "config": "{}",
    }
    return {name: value for name, value in then.items() if _is_missing(values.get(name))}


def _edge(values: Mapping[str, Any]) -> dict[str, Any]:
    """The column `edge` of a cell's row from before it was written: from its point and settings."""
    is_cell = values.get("quantization") in (None, "", "none") and values.get("status") == "ok"
    if not is_cell or "config" not in values or not _is_missing(values.get("edge")):
        return {}
    try:
        tune = json.loads(values["config"])["tune"]
        lr, decay = (
            None if tune[name] is None else Range(**tune[name]) for name in ("lr", "weight_decay")
        )
        ranges = TuneConfig(trials=tune["trials"], lr=lr, weight_decay=decay).ranges
        point = {name: float(values[name]) for name in ranges}
        return {"edge": edge_text(sides_of(ranges, point))}
    except (ValueError, LookupError, TypeError):  # settings of an earlier form: not known
        return {}


def _is_missing(value: Any) -> bool:
    """Whether it is nothing, as a record or as a table has it."""
    return value is None or value != value
