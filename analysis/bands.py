"""What is stored of frequent and of rare people."""

from collections import Counter
from collections.abc import Iterator, Sequence

import pandas as pd

from analysis.groups import CELL_COLUMNS, families_of
from kcap_ray.runs.columns_json import GroupRecord, read_list


def find_bands(rows: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """One row per cell, table and band of frequency, and notes on what could not be read.

    Columns: those of the cell (`dataset, n_people, exposures, family, model, n_params, seed`), then
    `table, band, band_people, times` (how often a person of the band appears, on average),
    `demand_bits, stored_bits, share` (of the demand that is stored; below 0 if the model does
    worse than chance). Empty where no cell has bands.
    """
    plain = rows[rows["quantization"] == "none"]
    plain = plain.assign(family=families_of(plain))
    found, broken = [], []
    for row in plain.to_dict("records"):
        bands = _read(row["groups"])
        if bands is None:
            broken.append(str(row["cell_id"]))
            continue
        cell = {column: row[column] for column in CELL_COLUMNS}
        found += [{**cell, **band} for band in _bands(bands)]
    table = pd.DataFrame(found)
    if len(table):
        table["share"] = table["stored_bits"] / table["demand_bits"]
    notes = [f"Not drawn: {len(broken)} cell(s) whose groups cannot be read."] if broken else []
    return table, tuple(notes)


def _read(text: object) -> list[GroupRecord] | None:
    """Bands of one row; empty where it has none; None where they cannot be read."""
    if not isinstance(text, str) or not text:
        return []
    try:
        bands = read_list(GroupRecord, text)
    except ValueError:
        return None
    return bands if all(band.demand_bits for band in bands) else None


def _bands(bands: Sequence[GroupRecord]) -> Iterator[dict[str, object]]:
    """The bands in their order; of two tables of the same name the second is `name (2)`.

    Bands of a table stand together in ascending order, so one that does not go up begins another.
    """
    seen: Counter[str] = Counter()
    before: tuple[str, int] | None = None
    for band in bands:
        name, number = band.table, band.band
        if before is None or before[0] != name or number <= before[1]:
            seen[name] += 1
        before = name, number
        yield {
            "table": name if seen[name] == 1 else f"{name} ({seen[name]})",
            "band": number,
            "band_people": band.n_people,
            "times": float(band.exposures),
            "demand_bits": float(band.demand_bits),
            "stored_bits": float(band.stored_bits),
        }
