"""The file of rewritten biographies: its columns, and reading it block by block.

It is one Parquet file, or a directory of Parquet files. Shape letters: R rows, A names and values.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.digest import digest_of, file_digest
from kcap_ray.config.errors import UserError
from kcap_ray.runs.files import write_atomically
from kcap_ray.text.kinds.bios import ATTRIBUTES

SPAN_ATTRIBUTES = ("name", *ATTRIBUTES, "work_city")
"""Attributes with spans, in the order of the codes from NAME_CODE on (`text/kinds/renderer.py`)."""

_COLUMNS = ("person_id", "variant", "use", "text", "spans")
USES = ("train", "eval")
"""What a text is for."""
_DOUBT = "doubt"
"""Column that there may be: why knowledge cannot be measured on a text."""
_N_COUNTED = 1 + len(ATTRIBUTES)
_BLOCK_ROWS = 8192
HOW_TO_ANNOTATE = "`kcap rewrite SWEEP --texts FILE --out DIR` finds the values in texts"
_MEMO = "digests.json"


class TextBlock(NamedTuple):
    """Consecutive rows of the file."""

    person_R: NDArray[np.int64]
    variant_R: NDArray[np.int64]
    is_evaluation_R: NDArray[np.bool_]
    texts: list[str]
    """Biographies in single spaces, without one in front."""
    char_RA2: NDArray[np.int64]
    """First character, and the one behind the last, of the first mention of each of
    `SPAN_ATTRIBUTES`; both 0 where there is none.
    """
    can_measure_R: NDArray[np.bool_]
    """Whether knowledge can be measured on the text: it has a span of the name and of every counted
    value, of the employer before the work city, and nothing is noted that speaks against it.
    """


def parquet_files(file: Path) -> list[Path]:
    """The Parquet files that `file` is or holds, in order; UserError if there are none."""
    if file.is_file():
        return [file]
    parts = sorted(file.glob("*.parquet")) if file.is_dir() else []
    if not parts:
        what = "holds no Parquet files" if file.is_dir() else "is not there"
        raise UserError(
            f"data.file: {file} {what}; make it with `kcap rewrite SWEEP --model DIR --out {file}`"
        )
    return parts


def signature(files: list[Path]) -> tuple[tuple[str, int, int], ...]:
    """Name, bytes and time of change of each file: equal for files that were left alone."""
    stats = [(file.name, file.stat()) for file in files]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)


def content_digest(files: list[Path], memo_folder: Path) -> str:
    """Digest of what is in the files; those that were left alone are not read again.

    `memo_folder` keeps what was found, by signature; it may be one that cannot be written.
    """
    memo = memo_folder / _MEMO
    signed = json.dumps(signature(files))
    try:
        known = json.loads(memo.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get("signature") != signed:
        digest = digest_of(bytes.fromhex(file_digest(file)) for file in files)
        known = {"signature": signed, "digest": digest[:16]}
        with contextlib.suppress(OSError):
            write_atomically(memo, json.dumps(known))
    return known["digest"]


def read_blocks(files: list[Path]) -> Iterator[TextBlock]:
    """The rows of the files, in their order; UserError where they are not as they should be."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            opened = pq.ParquetFile(file)
            missing = set(_COLUMNS) - set(opened.schema_arrow.names)
            if missing:
                raise UserError(
                    f"data.file: {file} has no column {sorted(missing)[0]}; "
                    f"`kcap rewrite` writes {', '.join(_COLUMNS)}; {HOW_TO_ANNOTATE}"
                )
            has_doubt = _DOUBT in opened.schema_arrow.names
            columns = [*_COLUMNS, *[_DOUBT] * has_doubt]
            for batch in opened.iter_batches(_BLOCK_ROWS, columns=columns):
                yield _block(batch, file)
        except pa.ArrowInvalid as error:
            raise UserError(f"data.file: {file} is not a Parquet file ({error})") from None


def _block(batch: Any, file: Path) -> TextBlock:
    texts = batch["text"].to_pylist()
    for text in texts:
        if not text or text != " ".join(text.split()):
            raise UserError(
                f"data.file: {file}: a text is empty or has two spaces or a line break in a row: "
                f"{text!r:.60}; write texts in single spaces"
            )
    uses = batch["use"].to_pylist()
    for use in uses:
        if use not in USES:
            raise UserError(f"data.file: {file}: use {use!r} of a text; write train or eval")
    char_RA2 = _spans(batch["spans"], texts, file)
    can_measure_R = _holds_all(char_RA2)
    if _DOUBT in batch.schema.names:
        can_measure_R &= np.array([doubt is None for doubt in batch[_DOUBT].to_pylist()], np.bool_)
    return TextBlock(
        person_R=batch["person_id"].to_numpy().astype(np.int64),
        variant_R=batch["variant"].to_numpy().astype(np.int64),
        is_evaluation_R=np.array([use == "eval" for use in uses], np.bool_),
        texts=texts,
        char_RA2=char_RA2,
        can_measure_R=can_measure_R,
    )


def _holds_all(char_RA2: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each text has all that counts, and no work city that gives the employer away."""
    has_all_R = (char_RA2[:, :_N_COUNTED, 1] > 0).all(axis=1)
    employer, city = (SPAN_ATTRIBUTES.index(name) for name in ("employer", "work_city"))
    has_city_R = char_RA2[:, city, 1] > 0
    is_before_R = has_city_R & (char_RA2[:, city, 0] < char_RA2[:, employer, 0])
    return has_all_R & ~is_before_R


def _spans(column: Any, texts: list[str], file: Path) -> NDArray[np.int64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    spans = column.flatten()
    lengths: Any = column.value_lengths().fill_null(0)
    row_S = np.repeat(np.arange(len(column)), lengths.to_numpy())
    found: Any = pc
    number_S = found.index_in(spans.field("attribute"), pa.array(SPAN_ATTRIBUTES))
    if number_S.null_count:
        raise UserError(
            f"data.file: {file}: a span is of none of {', '.join(SPAN_ATTRIBUTES)}; "
            "leave it out of the file"
        )
    char_RA2 = np.zeros((len(column), len(SPAN_ATTRIBUTES), 2), np.int64)
    for side, end in enumerate(("start", "end")):
        char_RA2[row_S, number_S.to_numpy(), side] = spans.field(end).to_numpy()
    start_RA, end_RA = char_RA2[:, :, 0], char_RA2[:, :, 1]
    length_R1 = np.array([[len(text)] for text in texts], np.int64)
    is_none_RA = (start_RA == 0) & (end_RA == 0)
    is_wrong_RA = ~is_none_RA & ((start_RA < 0) | (end_RA <= start_RA) | (end_RA > length_R1))
    if is_wrong_RA.any():
        row, number = np.argwhere(is_wrong_RA)[0]
        raise UserError(
            f"data.file: {file}: characters {start_RA[row, number]} to {end_RA[row, number]} of "
            f"{SPAN_ATTRIBUTES[number]} are not in a text of {length_R1[row, 0]}: "
            f"{texts[row]!r:.60}; {HOW_TO_ANNOTATE}"
        )
    return char_RA2
