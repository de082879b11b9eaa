"""Rewritten biographies as tokens on disk, which all processes read without holding them in memory.

The texts of a file are tokenized once, into arrays beside it that are found by what is in the file.
Shape letters: R biographies, P people, A names and values, L tokens of all biographies together.
"""

import json
import logging
import os
import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.runs.files import locked, replaced_directory
from kcap_ray.text.kinds.rewritten_file import (
    TextBlock,
    content_digest,
    parquet_files,
    read_blocks,
    signature,
)
from kcap_ray.text.tokenizer.bpe import EOS, VOCAB_SIZE
from kcap_ray.text.tokenizer.pieces import Fragment, tokenize

_VERSION = "2"  # of the layout below; another one is another directory
_MAX_BYTE = 65_535  # places in a biography are kept in 16 bits
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenCache:
    """Biographies in GPT-2's tokens; those for training come first, by person and variant."""

    token_L: NDArray[np.uint16]
    """Each biography has a space in front and the end of text behind."""
    start_R: NDArray[np.int64]
    length_R: NDArray[np.int32]
    byte_RA2: NDArray[np.uint16]
    """First byte of each value in its biography, and the one behind its last; both 0 for none."""
    first_train_P: NDArray[np.int64]
    """First row for training of each person of the file, and the row behind the last person's."""
    first_eval_P: NDArray[np.int64]
    can_measure_R: NDArray[np.bool_]
    """Whether knowledge can be measured on each biography; see `rewritten_file.TextBlock`."""
    used_ids: NDArray[np.int64]
    mean_tokens: float
    """Of a biography for training: over people, and over the variants of each."""


def open_token_cache(file: Path) -> TokenCache:
    """The biographies of a file of `kcap rewrite`, tokenized now if they never were.

    The arrays are in `<file>.tokens`, or below the home directory's `.cache/kcap` if the file is in
    a place that cannot be written. UserError where the file is missing or not as it should be.
    """
    files = parquet_files(file)
    return _open(file, signature(files))


@lru_cache(maxsize=2)
def _open(file: Path, _signature: Any) -> TokenCache:
    files = parquet_files(file)
    folder = _folder(file)
    folder.mkdir(parents=True, exist_ok=True)
    ready = folder / f"{content_digest(files, folder)}-{_VERSION}"
    if not ready.is_dir():
        with locked(folder / "lock"):  # until no other process tokenizes
            if not ready.is_dir():
                _build(files, ready)
    return _load(ready)


def _folder(file: Path) -> Path:
    beside = file.with_name(file.name + ".tokens")
    if beside.is_dir() or os.access(file.parent, os.W_OK):
        return beside
    return Path.home() / ".cache" / "kcap" / f"{file.name}.tokens"


def _build(files: list[Path], ready: Path) -> None:
    """Write the arrays, all or none; those of other contents of the file are removed."""
    for stale in ready.parent.iterdir():
        if stale.is_dir():
            shutil.rmtree(stale, ignore_errors=True)
    with replaced_directory(ready) as directory:
        _write_arrays(files, directory)


def _write_arrays(files: list[Path], directory: Path) -> None:
    with (directory / "token_L.bin").open("wb") as tokens:
        is_used = np.zeros(VOCAB_SIZE, np.bool_)
        blocks = [_write_tokens(block, tokens, is_used) for block in read_blocks(files)]
    if not blocks:
        raise UserError(f"data.file: {files[0]} holds no texts; delete it and run `kcap rewrite`")
    rows = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    order_R = np.lexsort((rows["variant"], rows["person"], rows["is_evaluation"]))
    start_R = np.cumsum(rows["length"]) - rows["length"]
    length_R, person_R = rows["length"][order_R].astype(np.int32), rows["person"][order_R]
    n_train = int((~rows["is_evaluation"]).sum())
    n_people = int(person_R.max(initial=-1)) + 1
    first_train_P = np.searchsorted(person_R[:n_train], np.arange(n_people + 1))
    first_eval_P = n_train + np.searchsorted(person_R[n_train:], np.arange(n_people + 1))
    _tell_of_evaluation(files[0], first_train_P, first_eval_P)
    arrays = {
        "start_R": start_R[order_R],
        "length_R": length_R,
        "byte_RA2": rows["bytes"][order_R],
        "first_train_P": first_train_P,
        "first_eval_P": first_eval_P,
        "can_measure_R": rows["can_measure"][order_R],
        "used_ids": np.flatnonzero(is_used),
    }
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", array)
    mean = {"mean_tokens": _mean_over_people(length_R[:n_train], first_train_P)}
    (directory / "mean.json").write_text(json.dumps(mean))


def _write_tokens(
    block: TextBlock, tokens: Any, is_used: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Append the tokens of some biographies to a file and mark them as used; what is kept of each
    biography.
    """
    texts = [" " + text for text in block.texts]
    pieces = tokenize([Fragment(text) for text in texts])
    stops_R = np.cumsum(pieces.lengths)
    ids_L = np.insert(pieces.tokens, stops_R, EOS)
    ids_L.astype(np.uint16).tofile(tokens)
    is_used[ids_L] = True
    return {
        "person": block.person_R,
        "variant": block.variant_R,
        "is_evaluation": block.is_evaluation_R,
        "length": pieces.lengths + 1,
        "bytes": _bytes_of(texts, block.char_RA2),
        "can_measure": block.can_measure_R,
    }


def _bytes_of(texts: list[str], char_RA2: NDArray[np.int64]) -> NDArray[np.uint16]:
    """Bytes of spans, in texts that have one more space in front."""
    byte_RA2 = np.where(char_RA2[:, :, 1:] > 0, char_RA2 + 1, 0)
    for row, text in enumerate(texts):
        if not text.isascii():
            spans = byte_RA2[row].ravel().tolist()
            byte_RA2[row] = np.reshape([len(text[:char].encode()) for char in spans], (-1, 2))
    if byte_RA2.max(initial=0) > _MAX_BYTE:
        raise UserError(
            f"data.file: a text names a value only after {_MAX_BYTE} bytes; leave that text out"
        )
    return byte_RA2.astype(np.uint16)


def _mean_over_people(length_R: NDArray[np.int32], first_P: NDArray[np.int64]) -> float:
    """Mean of the means of the people who have any."""
    sums_P = np.diff(np.concatenate(([0], np.cumsum(length_R, dtype=np.int64)))[first_P])
    n_P = np.diff(first_P)
    has_any_P = n_P > 0
    return float((sums_P[has_any_P] / n_P[has_any_P]).mean()) if has_any_P.any() else 0.0


def _tell_of_evaluation(
    file: Path, first_train_P: NDArray[np.int64], first_eval_P: NDArray[np.int64]
) -> None:
    is_lacking_P = (np.diff(first_eval_P) == 0) & (np.diff(first_train_P) > 0)
    if is_lacking_P.any():
        _logger.warning(
            "%s: %d people have no text for evaluation; knowledge of them is measured on the first "
            "of their texts for training that will do",
            file,
            int(is_lacking_P.sum()),
        )


def _load(ready: Path) -> TokenCache:
    names = ("start_R", "length_R", "byte_RA2", "first_train_P", "first_eval_P", "used_ids")
    names += ("can_measure_R",)
    arrays: dict[str, Any] = {name: np.load(ready / f"{name}.npy", mmap_mode="r") for name in names}
    return TokenCache(
        token_L=np.memmap(ready / "token_L.bin", np.uint16, "r"),
        mean_tokens=json.loads((ready / "mean.json").read_text())["mean_tokens"],
        **arrays,
    )
