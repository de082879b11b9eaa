"""Biographies of thirty people, written by the grammar, and files of some of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kcap_ray.config.data import DataConfig
from tests.grammar_writer import write_file

N_PEOPLE = 30
PER_PERSON = 4
SEED = 5


def write_biographies(folder: Path) -> DataConfig:
    """Data from a file of varied biographies, which is written into the folder."""
    file = folder / "bior.parquet"
    data = DataConfig(kind="bioR", n_people=N_PEOPLE, pools="mini", file=str(file))
    write_file(data, file, per_person=PER_PERSON)
    return data


def rows_of(data: DataConfig) -> list[dict[str, Any]]:
    """What the file holds."""
    assert data.file
    return pq.read_table(data.file).to_pylist()


def copy_of(rows: list[dict[str, Any]], file: Path, data: DataConfig) -> DataConfig:
    """Data from a single file of these rows."""
    pq.write_table(pa.Table.from_pylist(rows), file)
    return replace(data, file=str(file))


def texts_of(rows: list[dict[str, Any]], person: int, use: str) -> list[str]:
    """Texts of a person in the file."""
    return [row["text"] for row in rows if (row["person_id"], row["use"]) == (person, use)]
