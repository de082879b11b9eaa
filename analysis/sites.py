"""Where knowledge is: by attribute, by token of a value, and by layer."""

import json

import pandas as pd

from analysis.groups import CELL_COLUMNS, families_of
from kcap_ray.runs.columns_json import SiteRecord, read_list


def find_sites(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell, table and attribute, names first.

    Columns: those of the cell, then `table, attribute, demand_bits, stored_bits, share` (stored of
    the demand; missing where it is not known), `loss_nats`, and `token_1_nats`, ...: the loss on
    each token of the value. Empty where no cell says it.
    """
    found = []
    for row in _plain(rows).to_dict("records"):
        text = row.get("sites")
        for site in read_list(SiteRecord, text) if isinstance(text, str) and text else ():
            demand, stored = site.demand_bits, site.stored_bits
            found.append(
                {column: row[column] for column in CELL_COLUMNS}
                | {name: value for name, value in site.to_dict().items() if name != "token_nats"}
                | {"share": stored / demand if demand and stored is not None else None}
                | {f"token_{i}_nats": nats for i, nats in enumerate(site.token_nats, 1)}
            )
    return pd.DataFrame(found)


def find_layers(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and layer: R of the model as it is (of everybody), and without the layer (of
    the first people), `without`; the two differ where those people are known better or worse.
    """
    found = []
    for row in _plain(rows).to_dict("records"):
        for layer, ratio in enumerate(_ratios(row.get("layers")), 1):
            cell = {column: row[column] for column in CELL_COLUMNS}
            found.append({**cell, "layer": layer, "whole": row["capacity_ratio"], "without": ratio})
    return pd.DataFrame(found)


def _plain(rows: pd.DataFrame) -> pd.DataFrame:
    plain = rows[rows["quantization"] == "none"]
    return plain.assign(family=families_of(plain))


def _ratios(text: object) -> list[float | None]:
    """R without each layer, from the column `layers`; none where it is empty."""
    return json.loads(text) if isinstance(text, str) and text else []
