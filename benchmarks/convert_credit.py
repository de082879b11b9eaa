"""Tables of bioD that were made with the credit of the T symbols of the alphabet, converted in
place to that of the U symbols that the diversity sets use (docs/decisions/0062-what-is-counted.md).

    python -m benchmarks.convert_credit docs/results/laptop ...

What is stored and what is demanded fall by K D L log2(T/U) bits a table of bioD; R by that over the
parameters. Losses, hyperparameters and all else stay as measured. A converted table says so in the
metadata of its file and is left alone the second time.
"""

import argparse
import json
import re
from collections.abc import Callable, Mapping
from math import log2
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kcap_ray.config.data import DataConfig
from kcap_ray.knowledge.diversity import n_symbols_drawn

MARK = b"kcap.converted"
"""Key of the metadata of a file whose rows were converted."""
_NOTE = b"bioD credited by the symbols used: docs/decisions/0062-what-is-counted.md"
_BIOD = re.compile(r"bioD-K(\d+)-C(\d+)-D(\d+)-L(\d+)-T(\d+)")

Row = dict[str, Any]


def uncredited_bits(label: str, seed: int) -> float:
    """Bits by which the credits differ, K D L log2(T/U), over the tables that the label names."""
    bits = 0.0
    for match in _BIOD.finditer(label.split("-junk")[0]):
        K, C, D, L, T = map(int, match.groups())
        data = DataConfig(kind="bioD", n_people=1, seed=seed, K=K, C=C, D=D, L=L, T=T)
        bits += K * D * L * log2(T / n_symbols_drawn(data))
    return bits


def converted_result(row: Row) -> Row:
    """A row of `results.parquet`."""
    less = uncredited_bits(row["dataset"], row["data_seed"])
    if not less or row["vocab"] != "compact":
        return row
    stored = row["stored_bits"]
    new = {
        **_less(row, less, "demand_bits", "diversity_bits", "stored_bits"),
        **_less(row, less / row["n_params"], "capacity_ratio", "max_capacity_ratio"),
        **_less(row, less / row["n_params_non_embedding"], "capacity_ratio_non_embedding"),
        **_groups(row, less),
    }
    per_bit = row.get("knowledge_per_stored_bit")
    if per_bit is not None and stored:
        new["knowledge_per_stored_bit"] = per_bit * (stored - less) / stored
    return {**row, **new}


def converted_trial(row: Row, results: Mapping[str, Row]) -> Row:
    """A row of `trials.parquet`; `results` are those of the run by cell, in either credit."""
    cell = results[row["cell_id"]]
    less = uncredited_bits(cell["dataset"], cell["data_seed"])
    if not less or cell["vocab"] != "compact":
        return row
    new = _less(row, less, "bits", "diversity_bits")
    new |= _less(row, less / cell["n_params"], "capacity_ratio")
    return {**row, **new, **_groups(row, less)}


def _less(row: Row, amount: float, *names: str) -> Row:
    return {name: row[name] - amount for name in names if row.get(name) is not None}


def _groups(row: Row, less: float) -> Row:
    """The bands of a table share its strings by their people."""
    if row.get("groups") is None:
        return {}
    groups = json.loads(row["groups"])
    of_biod = [group for group in groups if _BIOD.match(group["table"])]
    n_people = sum(group["n_people"] for group in of_biod)
    for group in of_biod:
        share = less * group["n_people"] / n_people
        group.update(_less(group, share, "demand_bits", "stored_bits", "diversity_bits"))
    return {"groups": json.dumps(groups)}


def is_converted(path: Path) -> bool:
    return MARK in (pq.read_schema(path).metadata or {})


def convert_run(directory: Path) -> bool:
    """Convert the tables of a run in compact form; False if they were converted before. One that
    was stopped in between goes on: each file has its own mark.
    """
    path = directory / "results.parquet"
    if is_converted(path):
        return False
    results = {row["cell_id"]: row for row in pq.read_table(path).to_pylist()}
    trials = directory / "trials.parquet"
    if trials.exists() and not is_converted(trials):
        _rewrite(trials, lambda row: converted_trial(row, results))
    _rewrite(path, converted_result)
    return True


def _rewrite(path: Path, convert: Callable[[Row], Row]) -> None:
    table = pq.read_table(path)
    rows = [convert(row) for row in table.to_pylist()]
    schema = table.schema.with_metadata({**(table.schema.metadata or {}), MARK: _NOTE})
    written = path.with_suffix(".new")
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), written, compression="zstd")
    written.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    for directory in parser.parse_args().runs:
        print(f"{directory}: {'converted' if convert_run(directory) else 'was converted before'}")


if __name__ == "__main__":
    main()
