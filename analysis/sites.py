"""Where knowledge is: by attribute, by token of a value, and by layer."""

import json
from typing import Any

import pandas as pd

from analysis.groups import families_of

CELL_COLUMNS = ("dataset", "n_people", "exposures", "family", "model", "n_params", "seed")


def find_sites(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell, table and attribute, names first.

    Columns: those of the cell, then `table, attribute, demand_bits, stored_bits, share` (stored of
    the demand; missing where it is not known), `loss_nats`, and `token_1_nats`, ...: the loss on
    each token of the value. Empty where no cell says it.
    """
    found = []
    for cell, record in _records(rows, "sites"):
        tokens = {f"token_{i}_nats": nats for i, nats in enumerate(record.pop("token_nats"), 1)}
        demand, stored = record["demand_bits"], record["stored_bits"]
        share = stored / demand if demand and stored is not None else None
        found.append({**cell, **record, "share": share, **tokens})
    return pd.DataFrame(found)


def find_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and layer: R of the model as it is (of everybody), and without the layer (of
    the first people), `without`; the two differ where those people are known better or worse.
    """
    found = []
    for row in _plain(rows).to_dict("records"):
        for layer, ratio in enumerate(_read(row.get("layers")), 1):
            cell = {column: row[column] for column in CELL_COLUMNS}
            found.append({**cell, "layer": layer, "whole": row["capacity_ratio"], "without": ratio})
    return pd.DataFrame(found)


def _records(rows: pd.DataFrame, column: str):
    for row in _plain(rows).to_dict("records"):
        for record in _read(row.get(column)):
            yield {name: row[name] for name in CELL_COLUMNS}, dict(record)


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    plain = rows[rows["quantization"] == "none"]
    return plain.assign(family=families_of(plain))


def _read(text: object) -> list[Any]:
    """What a column of JSON holds; nothing where it is empty."""
    return json.loads(text) if isinstance(text, str) and text else []
