"""Synthetic runs: rows that follow a known law, written as a run directory."""

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis.columns import with_optional_columns
from analysis.groups import full_pool_bits
from analysis.law import CapacityLaw, ExposureLaw

EXPOSURE_LAW = ExposureLaw(limit=2.25, half_exposures=65.0)
SHARPNESS = 5.0
# GPT2 l(12d^2+13d)+2d+Vd, d = 64h, V = 3275.
SIZES = ((2, 2), (4, 2), (8, 2), (4, 3), (4, 4), (6, 4), (4, 6), (8, 6), (8, 8), (12, 12))


def gpt2_params(n_layer: int, n_head: int, head_dim: int = 64, vocab: int = 3275) -> int:
    """Parameters of GPT2 with tied embedding and no position table."""
    d = head_dim * n_head
    return n_layer * (12 * d * d + 13 * d) + 2 * d + vocab * d


def mini_pool_bits(n_people: float) -> float:
    """Entropy of bioS with the miniature pools, in bits."""
    values = 2 * (12 * 28 * 10) * 40 * 40 * 20 * 30
    return n_people * (np.log2(160_000 / n_people) + np.log2(values))


def make_rows(
    *,
    n_people: Sequence[int] = (50_000, 100_000, 500_000),
    exposures: Sequence[int] = (30, 100, 300, 1000),
    sizes: Sequence[tuple[int, int]] = SIZES,
    mini: bool = False,
    log_sd: float = 0.03,
    seed: int = 0,
) -> pd.DataFrame:
    """Rows in the columns of results.parquet whose R follows `EXPOSURE_LAW` with noise."""
    rng = np.random.default_rng(seed)
    rows = []
    for seen in exposures:
        law = CapacityLaw(capacity=float(EXPOSURE_LAW.capacity(seen)), sharpness=SHARPNESS)
        for people in n_people:
            for n_layer, n_head in sizes:
                n_params = gpt2_params(n_layer, n_head, *((8, 400) if mini else (64, 3275)))
                demand = mini_pool_bits(people) if mini else float(full_pool_bits(np.array(people)))
                ratio = min(
                    float(law.sample_ratio(demand / n_params, log_sd=log_sd, rng=rng)),
                    0.998 * demand / n_params,
                )
                rows.append(_row(people, seen, n_layer, n_head, n_params, demand, ratio, mini))
    return with_optional_columns(pd.DataFrame(rows))


def make_cells(
    capacities: Mapping[str, float],
    *,
    dataset: str = "bioS-mini",
    n_people: Sequence[int] = (800,),
    exposures: Sequence[int] = (100,),
    sizes: Sequence[tuple[int, int]] = ((2, 1), (4, 1), (4, 2)),
    seeds: Sequence[int] = (0, 1, 2),
    log_sd: float = 0.03,
    common_log_sd: float = 0.05,
    rng_seed: int = 0,
    mini: bool = True,
) -> pd.DataFrame:
    """Rows of several families (`llama-standard`, `gpt2 (muon)`): bits per parameter by family.

    Noise is log-normal: `log_sd` of each cell, `common_log_sd` of what all cells of a seed share.
    Not `mini`: the paper's pools and head dimension.
    """
    rng = np.random.default_rng(rng_seed)
    rows = []
    for people, seen in itertools.product(n_people, exposures):
        common = dict(zip(seeds, rng.normal(0.0, common_log_sd, len(seeds)), strict=True))
        for family, capacity in capacities.items():
            name, _, optimizer = family.partition(" ")
            arch, _, variant = name.partition("-")
            law = CapacityLaw(capacity=capacity, sharpness=SHARPNESS)
            for (n_layer, n_head), seed in itertools.product(sizes, seeds):
                n_params = gpt2_params(n_layer, n_head, *((8, 400) if mini else (64, 3275)))
                n_params *= 11 if "moe" in variant else 1
                demand = mini_pool_bits(people) if mini else float(full_pool_bits(np.array(people)))
                noise = np.exp(common[seed] + rng.normal(0.0, log_sd))
                ratio = min(float(law.ratio(demand / n_params)) * noise, demand / n_params)
                row = _row(people, seen, n_layer, n_head, n_params, demand, ratio, mini)
                model = f"{arch}-{n_layer}-{n_head}" + (f"-{variant}" if variant else "")
                row |= {"arch": arch, "model": model, "dataset": dataset, "seed": seed}
                row["optimizer"] = optimizer.strip("()") or "adamw"
                row["n_params_active"] = n_params / (11 if "moe" in variant else 1)
                row["cell_id"] = f"{dataset}-n{people}-e{seen}-{model}-{optimizer}-s{seed}"
                rows.append(row)
    return with_optional_columns(pd.DataFrame(rows))


def _row(
    people: int,
    seen: int,
    n_layer: int,
    n_head: int,
    n_params: int,
    demand: float,
    ratio: float,
    mini: bool,
) -> dict[str, Any]:
    model = f"gpt2-{n_layer}-{n_head}"
    return {
        "sweep": "synthetic",
        "cell_id": f"bioS-n{people}-e{seen}-{model}-s0",
        "status": "ok",
        "reason": None,
        "dataset": "bioS-mini" if mini else "bioS",
        "n_people": people,
        "exposures": seen,
        "arch": "gpt2",
        "model": model,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_params": n_params,
        "lr": 1e-3,
        "weight_decay": 0.01,
        "loss_name_nats": 12.0,
        "loss_value_nats": 3.0,
        "demand_bits": demand,
        "stored_bits": ratio * n_params,
        "capacity_ratio": ratio,
        "max_capacity_ratio": demand / n_params,
        "quantization": "none",
        "train_time_s": 321.0,
        "tokens_per_s": 1.2e6,
        "device": "cpu",
    }


def spoil(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows, with one diverged, two failed and one of negative bits."""
    rows = rows.copy()
    measured = ["stored_bits", "capacity_ratio"]
    rows.loc[[3], ["status", "reason"]] = ["diverged", "loss is nan at step 812"]
    rows.loc[[7, 8], ["status", "reason"]] = ["failed", "RuntimeError: out of memory <GPU & co>"]
    rows.loc[[3, 7, 8], measured] = np.nan
    rows.loc[[12], measured] = [-1.5e5, -0.07]
    return rows


def write_run(folder: Path, rows: pd.DataFrame, *, with_cells: bool = True) -> Path:
    """A run directory with these rows, and trials and histories for its finished cells."""
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_parquet(folder / "results.parquet")
    (folder / "sweep.yaml").write_text(
        "# Question: does c grow with <exposures>?\n# Run: kcap sweep sweeps/synthetic.yaml\n"
        "name: synthetic\n"
    )
    environment = {
        "command": "kcap sweep sweeps/synthetic.yaml",
        "python": "3.11",
        "gpus": ["none"],
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    for row in rows.to_dict("records") if with_cells else ():
        if row["status"] == "ok":
            _write_cell(folder / "cells" / row["cell_id"], {str(k): v for k, v in row.items()})
    return folder


def _write_cell(folder: Path, row: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    trials = []
    for i, lr in enumerate((3e-4, 5e-4, 1e-3, 2e-3, 3e-3)):
        bits = row["stored_bits"] * (1 - 0.08 * np.log(lr / 1e-3) ** 2)
        failed = i == 4 and row["n_params"] > 8e7
        trials.append(
            {
                "lr": lr,
                "weight_decay": 0.01,
                "bits": None if failed else bits,
                "status": "diverged" if failed else "ok",
            }
        )
    text = "\n".join(json.dumps(trial) for trial in trials)
    (folder / "trials.jsonl").write_text(text + "\n")
    seen = np.linspace(row["exposures"] / 200, row["exposures"], 200)
    loss = 0.6 + 6 * np.exp(-seen / 4) + 1.2 / (1 + seen / 60) * min(row["max_capacity_ratio"], 2)
    pd.DataFrame(
        {
            "step": np.arange(200) * 10,
            "tokens": np.arange(200) * 1000,
            "exposures": seen,
            "loss": loss,
            "lr": 1e-3,
            "seconds": np.arange(200) * 1.0,
        }
    ).to_parquet(folder / "history.parquet")


@pytest.fixture(scope="session", name="make_rows")
def make_rows_fixture() -> Callable[..., pd.DataFrame]:
    return make_rows


@pytest.fixture(scope="session", name="make_cells")
def make_cells_fixture() -> Callable[..., pd.DataFrame]:
    return make_cells


@pytest.fixture(scope="session", name="spoil")
def spoil_fixture() -> Callable[[pd.DataFrame], pd.DataFrame]:
    return spoil


@pytest.fixture(scope="session", name="write_run")
def write_run_fixture() -> Callable[..., Path]:
    return write_run
