"""Columns that not every results file has, and what stands in for them."""

import math

import pandas as pd

# What the rows had before the column was written: one optimizer and one seed. NaN is "not known".
DEFAULTS: dict[str, object] = {
    "run_dir": "",
    "optimizer": "adamw",
    "seed": 0,
    "data_seed": 0,
    "d_model": math.nan,
    "name_bits": math.nan,
    "value_bits": math.nan,
    "diversity_bits": math.nan,
    "groups": None,
    "quantization_config": None,
    "bits_per_weight": math.nan,
    "selected_capacity_ratio": math.nan,
    "edge": None,
    "n_confirm_seeds": 0,
    "capacity_ratio_sd": math.nan,
    "confirmed": None,
}


def with_optional_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every column that the analysis reads; those that are there stay as they are,
    but for missing values.

    Files without `n_params_active` are from when every weight was active.
    """
    filled = {}
    for column, default in DEFAULTS.items():
        values = rows[column] if column in rows else pd.Series(None, rows.index, dtype=object)
        is_known = default is not None and default == default
        filled[column] = values.where(values.notna(), default) if is_known else values
    active = rows.get("n_params_active", rows["n_params"])
    filled["n_params_active"] = pd.to_numeric(active).fillna(rows["n_params"]).astype(float)
    for column in (name for name, value in DEFAULTS.items() if isinstance(value, float)):
        filled[column] = pd.to_numeric(filled[column]).astype(float)
    for column in ("seed", "data_seed", "n_confirm_seeds"):
        filled[column] = pd.to_numeric(filled[column]).astype(int)
    return rows.assign(**filled)
