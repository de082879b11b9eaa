"""Which rows belong together: one law, one panel, one peak."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

# Entropy of bioS with the paper's pools (arXiv 2404.05405, section 2.2): 400 * 400 * 1000 names;
# the values of a person are 2 genders, 12*28*200 birth dates, 200 cities, 300 universities, 100
# majors, 263 employers.
FULL_NAME_SPACE = 400 * 400 * 1000
FULL_VALUE_BITS = float(np.log2(2.0 * (12 * 28 * 200) * 200 * 300 * 100 * 263))
# Share of R_max from which a model counts as limited by its data: on a corner of the usual
# sharpness (s about 5), a model at 90% of R_max is at 84% of c.
DEMAND_LIMITED_SHARE = 0.9
# In the name of a data set: junk, other tables, frequencies that differ between people.
AROUND = re.compile(r"-junk[\d.]|\+|-zipf|-by_")

CELL_COLUMNS = ("dataset", "n_people", "exposures", "family", "model", "n_params", "seed")
"""What names a cell in a table of several rows per cell."""


@dataclass(frozen=True, kw_only=True)
class GroupKey:
    """Rows that one capacity law describes."""

    dataset: str
    """Data set without its number of people, for instance bioS or bioS-mini."""
    family: str
    """Architecture and variant without the size, for instance gpt2 or llama-standard; with the
    optimizer where it is not AdamW, for instance gpt2 (muon).
    """
    exposures: float
    """Times that each person was seen in training."""
    quantization: str
    """`none`, or how the weights were quantized after training."""

    @property
    def order(self) -> tuple[str, str, bool, str, float]:
        """Sorts groups: unquantized before quantized, then by exposures."""
        is_quantized = self.quantization != "none"
        return self.dataset, self.family, is_quantized, self.quantization, self.exposures

    @property
    def label(self) -> str:
        """One line for tables and titles."""
        return f"{self.label_without_exposures}, {self.exposures:g} exposures"

    @property
    def label_without_exposures(self) -> str:
        quantization = "" if self.quantization == "none" else f", {self.quantization}"
        return f"{self.dataset}, {self.family}{quantization}"

    def to_json(self) -> dict[str, object]:
        return asdict(self)


MODEL_NAME = re.compile(r"[A-Za-z0-9_]+-(\d+-\d+)(-.+)?")


def family_of(arch: str, model: str, optimizer: str = "adamw") -> str:
    """Architecture and variant of a model name `<arch>-<layers>-<heads>[-variant]`, and optimizer.

    `llama-4-4-standard` -> `llama-standard`, `gpt2-2-2` by Muon -> `gpt2 (muon)`. Of models
    that are brought along `hf-qwen3-wide` -> `hf-qwen3` and, of a file, `MyLM-03fa2c` -> `MyLM`; a
    name of another form counts as its own architecture.
    """
    match = MODEL_NAME.fullmatch(model)
    if arch == "own":
        family = model.partition("-")[0]
    elif model.startswith(f"hf-{arch}-"):
        family = f"hf-{arch}"
    else:
        family = arch + (match[2] or "") if match else arch
    return family if optimizer == "adamw" else f"{family} ({optimizer})"


def optimizer_of(family: str) -> str:
    """The optimizer in the name of a family: `gpt2 (muon)` -> `muon`, `gpt2` -> `adamw`."""
    match = re.search(r" \((\w+)\)$", family)
    return match[1] if match else "adamw"


def size_of(model: str) -> str:
    """Layers and heads of a model name: `llama-4-2-standard` -> `4-2`; other names as they are."""
    match = MODEL_NAME.fullmatch(model)
    return match[1] if match else model


def families_of(rows: pd.DataFrame) -> pd.Series:
    """`family_of` for every row."""
    names = zip(rows["arch"], rows["model"], rows["optimizer"], strict=True)
    return pd.Series([family_of(*name) for name in names], index=rows.index, dtype=object)


def with_keys(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a column `group` of GroupKey."""
    keys = [
        GroupKey(
            dataset=str(row["dataset"]),
            family=family_of(str(row["arch"]), str(row["model"]), str(row["optimizer"])),
            exposures=float(row["exposures"]),
            quantization=str(row["quantization"]),
        )
        for row in rows.to_dict("records")
    ]
    return rows.assign(group=pd.Series(keys, index=rows.index, dtype=object))


def split_groups(rows: pd.DataFrame) -> list[tuple[GroupKey, pd.DataFrame]]:
    """Rows of each group, in the order of `GroupKey.order`."""
    keyed = with_keys(rows)
    keys = sorted(set(keyed["group"]), key=lambda key: key.order)
    return [(key, keyed[keyed["group"] == key]) for key in keys]


def cluster_labels(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    """Which rows of one group may be off together: `cell`, `people` and `shape`, labels per row.

    Rows of one cell (people and shape) differ by seed only and count as one cell. Seeds are not
    a cluster across cells: in the committed sweeps a seed's cells have nothing in common
    (docs/decisions.md).
    """
    people, shape = rows["n_people"].to_numpy(float), _shapes(rows)
    cell = np.array([f"{n:g} {size}" for n, size in zip(people, shape, strict=True)], dtype=object)
    return {"cell": cell, "people": people.astype(int), "shape": shape}


def _shapes(rows: pd.DataFrame) -> np.ndarray:
    """Layers, heads and width of each row; parameters where the name does not tell them."""
    names = []
    for row in rows.to_dict("records"):
        width = "" if row["d_model"] != row["d_model"] else f" d{row['d_model']:g}"
        is_told = MODEL_NAME.fullmatch(str(row["model"])) is not None
        size = size_of(str(row["model"])) if is_told else f"{row['n_params']:.4g} parameters"
        names.append(size + width)
    return np.array(names, dtype=object)


def split_by(rows: pd.DataFrame, column: str) -> dict[Any, pd.DataFrame]:
    """The rows of each value of a column, in increasing order of the values."""
    return dict(list(rows.groupby(column)))


def rows_of_largest_mean(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows of the model, which differ by seed, whose mean is largest in this column: of noisy
    rows the largest would be too large.
    """
    models = [own for _, own in rows.groupby("model", sort=False)]
    return max(models, key=lambda own: own[column].mean())


def full_pool_bits(n_people: np.ndarray | pd.Series) -> np.ndarray:
    """Entropy of bioS(n_people) with the paper's pools, in bits: N log2(N0/N) + N log2 S0."""
    people = np.asarray(n_people, dtype=float)
    return people * (np.log2(FULL_NAME_SPACE / people) + FULL_VALUE_BITS)


def has_full_pools(rows: pd.DataFrame) -> pd.Series:
    """Which rows know as much per person as the paper's bioS, to 0.1%; told by their demand."""
    pairs = zip(rows["n_people"], rows["demand_bits"], strict=True)
    return pd.Series([is_full_pool_demand(*pair) for pair in pairs], index=rows.index, dtype=bool)


def is_full_pool_demand(n_people: float, demand_bits: float) -> bool:
    """Whether so many people of the paper's bioS demand so many bits, to 0.1%."""
    expected = full_pool_bits(np.array([n_people]))[0]
    return bool(np.isclose(demand_bits, expected, rtol=1e-3))
