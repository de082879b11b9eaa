"""Points of arXiv 2404.05405 Figure 1, as rows of the same columns as our own."""

from pathlib import Path

import pandas as pd

from analysis.columns import with_optional_columns
from analysis.groups import full_pool_bits
from analysis.load import Results

DIRECTORY = Path(__file__).parent / "published"
FILES = {1000: "fig1a_1000exp.csv", 100: "fig1b_100exp_approximate.csv"}


def published_rows() -> pd.DataFrame:
    """Published cells of GPT2 on bioS(N): columns of results.parquet, and `approximate`.

    1000 exposures: digitised from the vector figure. 100 exposures: read by eye, +-10%,
    `approximate` is True.
    """
    return pd.concat([_read(exposures) for exposures in FILES], ignore_index=True)


def published_results() -> Results:
    """The published cells as results to fit and draw."""
    rows = published_rows()
    plain = {"cell_id": [f"published-{i}" for i in range(len(rows))], "status": "ok", "reason": ""}
    return Results(directories=(), rows=rows.assign(**plain, excluded_because=""))


def is_published(rows: pd.DataFrame) -> pd.Series:
    """Which of the rows are published cells, and not of a run."""
    if "approximate" not in rows.columns:
        return pd.Series(False, index=rows.index)
    return rows["approximate"].notna()


def _read(exposures: int) -> pd.DataFrame:
    points = pd.read_csv(DIRECTORY / FILES[exposures], comment="#")
    n_params, demand_bits = points["P_params"].astype(float), full_pool_bits(points["N"])
    if "learned_Mbits" in points:
        stored_bits = points["learned_Mbits"] * 1e6
    else:
        stored_bits = points["R"] * n_params
    models = "gpt2-" + points["model"] if "model" in points else "gpt2"
    rows = pd.DataFrame(
        {
            "dataset": "bioS",
            "arch": "gpt2",
            "model": models,
            "quantization": "none",
            "exposures": float(exposures),
            "n_people": points["N"].astype(float),
            "n_params": n_params,
            "demand_bits": demand_bits,
            "stored_bits": stored_bits,
            "capacity_ratio": stored_bits / n_params,
            "max_capacity_ratio": demand_bits / n_params,
            "approximate": points.get("approximate", False),
        }
    )
    return with_optional_columns(rows)
