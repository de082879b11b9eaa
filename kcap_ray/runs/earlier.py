"""Which cells a run directory holds, and under which names: of this version's runs, and of earlier
versions', whose ids hashed every setting, those of where and how fast too.

An earlier id is a function of the settings as its version wrote them, so it is made again from them
and compared with the names that are there. Nothing here writes but `adopt`.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

from kcap_ray.config import identity
from kcap_ray.config.cell import Cell
from kcap_ray.config.contents import combined
from kcap_ray.config.data import BUILT_IN_POOLS, PATHS
from kcap_ray.config.digest import json_digest
from kcap_ray.config.errors import UserError
from kcap_ray.runs.checked import checked, with_checksum
from kcap_ray.runs.files import move, write_atomically

MANIFEST = "cells.json"
TABLE = "results.parquet"
VERSION = 2
"""Of the manifest: from 2 on cells are kept under ids of their science."""

# Settings of training that some earlier versions left out of their ids.
_LEFT_OUT = ((), ("micro_windows",), ("micro_windows", "probe_exposures", "probe_people"))


@dataclass(frozen=True, kw_only=True)
class StoredCell:
    """A cell of a run directory."""

    cell: Cell
    name: str
    """Name of its directory; the cell's id, but in runs of earlier versions."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a run directory says that it is of."""

    sweep: str
    question: str
    cells: list[StoredCell]


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of the run at `path`, or what a run that is kept as a table alone says of
    itself; None if there is neither.

    Raises `UserError` if it cannot be read.
    """
    if (path / MANIFEST).exists():
        with _reading(path, MANIFEST):
            content = checked((path / MANIFEST).read_text(encoding="utf-8"))
            if content is None:
                raise ValueError("no object, or not as it was written")
            cells = _cells_of(content, path / "cells")
            return Manifest(sweep=content["sweep"], question=content["question"], cells=cells)
    if (path / TABLE).exists():
        with _reading(path, TABLE):
            rows = table_rows(path)
            cells = [StoredCell(cell=cell, name=row["cell_id"]) for cell, row in rows]
            sweep = rows[0][1]["sweep"] if rows else ""
            return Manifest(sweep=sweep, question="", cells=cells)
    return None


@contextmanager
def _reading(path: Path, name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a run directory (no readable {name} in it)") from error


def _cells_of(content: Mapping[str, Any], folder: Path) -> list[StoredCell]:
    is_earlier = content.get("version", 1) < VERSION
    stored = []
    for settings in content["cells"]:
        cell = _cell(settings, content.get("files", {}))
        name = _name_in(folder, cell, settings) if is_earlier else cell.cell_id
        stored.append(StoredCell(cell=cell, name=name))
    return stored


def _name_in(folder: Path, cell: Cell, settings: Mapping[str, Any]) -> str:
    names = (cell.cell_id, *earlier_ids(settings))
    return next((name for name in names if (folder / name).is_dir()), cell.cell_id)


def _cell(settings: Mapping[str, Any], digests: Mapping[str, str]) -> Cell:
    """The cell with these settings; `digests` of its files by path, where its version wrote them
    there.
    """
    data = _with_contents(settings["data"], digests)
    parts = [_with_contents(part, digests) for part in data.get("parts", ())]
    return Cell.from_dict({**settings, "data": {**data, "parts": parts}})


def _with_contents(table: Mapping[str, Any], digests: Mapping[str, str]) -> dict[str, Any]:
    paths = {field: table[field] for field in PATHS if table.get(field) is not None}
    if paths.get("pools") in BUILT_IN_POOLS or table.get("kind") == "tuples":
        paths.pop("pools", None)
    if table.get("contents") is not None or not all(path in digests for path in paths.values()):
        return dict(table)
    return {**table, "contents": combined({field: digests[path] for field, path in paths.items()})}


def earlier_ids(settings: Mapping[str, Any]) -> list[str]:
    """The ids that earlier versions would give a cell that they wrote with these settings."""
    data, train = settings["data"], settings["train"]
    ids = []
    for written in (_with_names(data), data):
        for left_out in _LEFT_OUT:
            kept = {name: value for name, value in train.items() if name not in left_out}
            digest = json_digest({**settings, "data": written, "train": kept})
            ids.append(f"{identity.readable(settings)}-{digest[:8]}")
    return list(dict.fromkeys(ids))


def _with_names(table: Mapping[str, Any]) -> dict[str, Any]:
    """A table with the names of its files in place of their paths."""
    named: dict[str, Any] = {
        field: PurePath(table[field]).name
        for field in PATHS
        if table.get(field) not in (None, *BUILT_IN_POOLS)
    }
    if table.get("parts"):
        named["parts"] = [_with_names(part) for part in table["parts"]]
    return {**table, **named}


def table_rows(path: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """Cells and rows of the table at `path`, without those of quantized models, and without rows of
    versions that did not write the whole cell into them.
    """
    import pyarrow.parquet as pq

    rows = pq.read_table(path / TABLE).to_pylist()
    return [
        (_cell(json.loads(row["config"]), {}), row)
        for row in rows
        if row.get("config") and row["quantization"] == "none"
    ]


def rows_of_table(path: Path) -> dict[str, dict[str, Any]]:
    """Rows by the cell's id of a run that is kept as a table alone; none of any other."""
    if (path / MANIFEST).exists() or not (path / TABLE).exists():
        return {}
    return {cell.cell_id: row for cell, row in table_rows(path)}


def name_of(path: Path, cell_id: str) -> str:
    """Name of the directory in `path`/cells that holds the cell, or will."""
    if (path / "cells" / cell_id).is_dir():
        return cell_id
    try:
        state = (path / MANIFEST).stat()
    except OSError:
        return cell_id
    return _earlier_names(path, state.st_mtime_ns, state.st_size).get(cell_id, cell_id)


@lru_cache(maxsize=8)
def _earlier_names(path: Path, *state: int) -> dict[str, str]:
    del state  # tells another manifest at the same place
    try:
        manifest = read_manifest(path)
    except UserError:
        return {}
    cells = [] if manifest is None else manifest.cells
    return {one.cell.cell_id: one.name for one in cells if one.name != one.cell.cell_id}


def orphans(path: Path, manifest: Manifest | None) -> list[StoredCell]:
    """Finished cells that the manifest does not name: an earlier version forgot them when the same
    directory was given other settings.
    """
    known = set() if manifest is None else {one.name for one in manifest.cells}
    found = []
    for place in sorted((path / "cells").iterdir()) if (path / "cells").is_dir() else ():
        if place.name in known:
            continue
        try:
            row = checked((place / "result.json").read_text(encoding="utf-8")) or {}
            settings = json.loads(row["config"])
            cell = _cell(settings, {})
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            continue
        if place.name in (cell.cell_id, *earlier_ids(settings)):
            found.append(StoredCell(cell=cell, name=place.name))
    return found


def adopt(path: Path, stored: StoredCell) -> None:
    """Give a cell of an earlier version the name that it has now, in its rows and of its directory;
    what was interrupted is done when it is called again.
    """
    cell_id, folder = stored.cell.cell_id, path / "cells"
    place = folder / stored.name
    if stored.name == cell_id or not place.is_dir() or (folder / cell_id).exists():
        return
    for file in (place / "result.json", *place.glob("quantized/*/result.json")):
        try:
            row = checked(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            row = None
        if row is None:  # then it counts as none under any name
            continue
        row = with_checksum(row | {"cell_id": cell_id})
        write_atomically(file, json.dumps(row, indent=1) + "\n")
    move(place, folder / cell_id)
