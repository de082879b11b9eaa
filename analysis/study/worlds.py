"""Tables of results whose truth is known: rows without noise, and draws of them with it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.columns import with_optional_columns
from analysis.groups import families_of, full_pool_bits
from analysis.law import CapacityLaw

SHARPNESS = 5.0
"""Of the corner between R_max and capacity, as fitted to the published figure."""

COLUMNS = [
    *("run_dir", "cell_id", "dataset", "n_people", "exposures", "arch", "model", "optimizer"),
    *("n_params", "demand_bits", "quantization", "max_capacity_ratio", "data_seed", "d_model"),
]
"""What claims read, beside seeds and what is stored."""

# (layers, heads) for each number of people, so that R_max is 2 to 5.
SIZES: dict[int, tuple[tuple[int, int], ...]] = {
    200_000: ((4, 3), (5, 3), (4, 4), (6, 4)),
    1_000_000: ((6, 6), (16, 4), (9, 6), (8, 8)),
    2_000_000: ((8, 8), (10, 8), (6, 12), (16, 8)),
}


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much R scatters."""

    log_sd: float = 0.03
    """Of each cell by itself."""
    common_log_sd: float = 0.03
    """Of what all models of one seed and data set share."""
    uneven: float = 2.0
    """Families are by turns this much noisier and calmer than `log_sd`."""


@dataclass(frozen=True, kw_only=True)
class World:
    """Cells that are trained alike: what is true of them, before noise."""

    capacity: Mapping[str, float]
    """Bits per parameter of each family, for instance `llama-standard`."""
    dataset: str = "bioS"
    exposures: int = 1000
    n_people: Sequence[int] = (1_000_000, 2_000_000)
    n_alike: int = 1
    """Models of each shape, alike but for their noise: the more, the luckier the luckiest."""
    params_factor: float = 1.0
    """Parameters of families with experts over those of GPT-2 of the same layers and heads."""
    kept: Mapping[str, Sequence[float]] | None = None
    """Share of R that each quantization leaves, one for each size from the smallest on."""
    saturation: Sequence[float] = ()
    """If given, instead of the law: R / R_max of models with R_max from 1.2 to 1.75."""


def true_rows(worlds: Sequence[World]) -> pd.DataFrame:
    """Rows of one seed without noise, in the columns of results.parquet."""
    rows = [row for world in worlds for row in _rows(world)]
    return with_optional_columns(pd.DataFrame(rows))


class Table:
    """The same models in several seeds, of which noisy tables are drawn."""

    def __init__(self, truth: pd.DataFrame, n_seeds: int, noise: Noise) -> None:
        self._noise, self._n_seeds = noise, n_seeds
        self._true_N = truth["capacity_ratio"].to_numpy()
        self._max_N = truth["max_capacity_ratio"].to_numpy()
        self._quantized_N = np.where(truth["quantization"] == "none", 0.0, truth["trained_ratio"])
        self._weights_N, _ = pd.factorize(truth["cell_id"])
        setting = pd.MultiIndex.from_frame(truth[["dataset", "n_people", "exposures"]])
        self._block_N, _ = pd.factorize(setting)
        family_N, _ = pd.factorize(families_of(truth))
        uneven_N = noise.uneven ** np.where(family_N % 2 == 0, -0.5, 0.5)
        self._log_sd_N = noise.log_sd * uneven_N
        seeds = [truth[COLUMNS].assign(seed=seed) for seed in range(n_seeds)]
        rows = pd.concat(seeds, ignore_index=True)
        self._rows = rows.assign(cell_id=rows["cell_id"] + "-s" + rows["seed"].astype(str))

    def draw(self, rng: np.random.Generator) -> pd.DataFrame:
        """Rows with log-normal noise; R stays within R_max.

        Quantized rows carry the noise of their own weights and 1% of what R was before.
        """
        n, n_models, n_blocks = (
            len(self._true_N),
            self._weights_N.max() + 1,
            self._block_N.max() + 1,
        )
        common = rng.normal(0, self._noise.common_log_sd, (self._n_seeds, n_blocks))
        own = rng.normal(size=(self._n_seeds, n_models))
        log_SN = common[:, self._block_N] + own[:, self._weights_N] * self._log_sd_N
        ratio_SN = self._true_N * np.exp(log_SN)
        ratio_SN = ratio_SN + 0.01 * self._quantized_N * rng.normal(size=(self._n_seeds, n))
        ratio = np.minimum(ratio_SN, self._max_N).ravel()
        return self._rows.assign(
            capacity_ratio=ratio, stored_bits=ratio * self._rows["n_params"].to_numpy()
        )


def _rows(world: World) -> list[dict[str, object]]:
    rows = []
    for people in world.n_people:
        demand = float(full_pool_bits(np.array([people]))[0])
        for family, capacity in world.capacity.items():
            factor = world.params_factor if "moe" in family else 1.0
            law = CapacityLaw(capacity=capacity, sharpness=SHARPNESS)
            for place, (layers, heads, n_params) in enumerate(_models(world, people)):
                n_params *= factor
                max_ratio = demand / n_params
                ratio = float(law.ratio(max_ratio))
                if world.saturation:
                    ratio = world.saturation[place % len(world.saturation)] * max_ratio
                arch, _, variant = family.partition("-")
                model = f"{arch}-{layers}-{heads}" + (f"-{variant}" if variant else "")
                kept = {"none": 1.0} | {
                    name: shares[min(place, len(shares) - 1)]
                    for name, shares in (world.kept or {}).items()
                }
                rows += [
                    {
                        "run_dir": "study",
                        "cell_id": f"{world.dataset}-n{people}-e{world.exposures}-{model}",
                        "dataset": world.dataset,
                        "n_people": people,
                        "exposures": float(world.exposures),
                        "arch": arch,
                        "model": model,
                        "n_params": n_params,
                        "demand_bits": demand,
                        "quantization": name,
                        "trained_ratio": ratio,
                        "capacity_ratio": ratio * share,
                        "max_capacity_ratio": max_ratio,
                    }
                    for name, share in kept.items()
                ]
    return rows


def _models(world: World, people: int) -> list[tuple[int, int, float]]:
    """Layers, heads, parameters; for saturated worlds parameters by R_max instead."""
    if world.saturation:
        demand = float(full_pool_bits(np.array([people]))[0])
        limits = np.linspace(1.2, 1.75, len(world.saturation))
        return [(2 + i, 4, demand / limit) for i, limit in enumerate(limits)]
    return [
        (layers + 100 * copy, heads, _gpt2_params(layers, heads))
        for layers, heads in SIZES[people]
        for copy in range(world.n_alike)
    ]


def _gpt2_params(layers: int, heads: int) -> float:
    """Tied embedding over the 3275 tokens of bioS, no position table: l(12d^2+13d) + 2d + 3275d."""
    d = 64 * heads
    return float(layers * (12 * d * d + 13 * d) + 2 * d + 3275 * d)
