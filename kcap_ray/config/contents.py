"""What the files of a table of facts, and of a model, hold, as a digest: two files of one name are
two tables.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from kcap_ray.config.data import BUILT_IN_POOLS, PATHS, DataConfig, KnowledgeConfig
from kcap_ray.config.digest import file_digest, text_digest
from kcap_ray.config.errors import UserError
from kcap_ray.config.model import ModelConfig

NAME_POOLS = ("first_names.txt", "middle_names.txt", "last_names.txt")
VALUE_POOLS = ("dates.txt", "cities.txt", "universities.txt", "majors.txt", "employers.txt")

_Table = TypeVar("_Table", bound=KnowledgeConfig)


def with_contents(data: DataConfig) -> DataConfig:
    """The same with the digests of what its files hold now, those of its parts too."""
    parts = tuple(_with_contents(part) for part in data.parts)
    return replace(_with_contents(data), parts=parts)


def _with_contents(table: _Table) -> _Table:
    return replace(table, contents=contents_of(table))


def with_source(model: ModelConfig) -> ModelConfig:
    """The same with the digest of what its file holds now; `UserError` where it cannot be read."""
    if model.file is None:
        return model
    digest = path_digest(model.file)
    if digest is None or not Path(model.file).is_file():
        raise UserError(f"model.file: {model.file}: no such file, or it cannot be read")
    return replace(model, contents=digest)


def contents_of(table: KnowledgeConfig) -> str | None:
    """SHA-256 of all that the table reads; None if it reads no file, or one cannot be read."""
    digests: dict[str, str] = {}
    for field in PATHS:
        path = getattr(table, field)
        if path is None or (field == "pools" and not _reads_pools(table)):
            continue
        digest = pools_digest(path, table) if field == "pools" else path_digest(path)
        if digest is None:
            return None
        digests[field] = digest
    return combined(digests)


def combined(digests: dict[str, str]) -> str | None:
    """One digest of those of all fields; None without any."""
    lines = "".join(f"{field} {digest}\n" for field, digest in sorted(digests.items()))
    return text_digest(lines) if digests else None


def _reads_pools(table: KnowledgeConfig) -> bool:
    return table.pools not in BUILT_IN_POOLS and table.kind not in ("tuples", "random")


def pools_digest(folder: str, table: KnowledgeConfig) -> str | None:
    """Digest of the pools that a table of this kind draws from."""
    names = NAME_POOLS if table.kind == "bioD" else (*NAME_POOLS, *VALUE_POOLS)
    digests = {name: path_digest(str(Path(folder).expanduser() / name)) for name in names}
    found = {name: digest for name, digest in digests.items() if digest is not None}
    return combined(found) if len(found) == len(names) else None


FileState = tuple[tuple[str, int, int], ...]
"""Name, time of the last change and size of files."""


def text_files_state(folder: str) -> FileState:
    """What changes with the contents of the text files of a directory; empty where there is none.

    Cheaper than a digest: for what is asked again and again.
    """
    files = sorted(Path(folder).expanduser().glob("*.txt"))
    states = [(file.name, file.stat()) for file in files]
    return tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)


def check_unchanged(data: DataConfig) -> None:
    """UserError if what a file of these data, or of their parts, holds is not what it held when the
    sweep was read, by which its cells are named.
    """
    for table in (data, *data.parts):
        found = None if table.contents is None else contents_of(table)
        if found is not None and found != table.contents:
            paths = [getattr(table, field) for field in PATHS]
            named = ", ".join(path for path in paths if path and path not in BUILT_IN_POOLS)
            raise UserError(
                f"data: {named}: not what it was when the sweep was read; give the same command "
                "again, or put the files back that this cell is of and add --retry-failed"
            )


def path_digest(path: str) -> str | None:
    """SHA-256 of a file, or of all Parquet files of a directory, or else of its text files (of
    templates); None if it cannot be read.
    """
    place = Path(path)
    try:
        files = [place]
        if place.is_dir():
            files = sorted(place.rglob("*.parquet")) or sorted(place.glob("*.txt"))
        digests = []
        for file in files:
            state = file.stat()
            digests.append(_digest(file, state.st_mtime_ns, state.st_size, state.st_ino))
    except OSError:
        return None
    return text_digest("".join(digests))


@lru_cache(maxsize=1_000)
def _digest(file: Path, *state: int) -> str:
    # A sweep asks for the same files for each of its cells: `state` tells one that has changed.
    del state
    return file_digest(file)
