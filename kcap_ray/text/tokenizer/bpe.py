"""GPT-2's byte-pair encoding, built from its merges; nothing is downloaded."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

VOCAB_SIZE = 50_257
EOS = 50_256
"""Id of `<|endoftext|>`, which ends every biography."""
_EOS_TEXT = "<|endoftext|>"


@cache
def merges() -> list[tuple[str, str]]:
    """The pairs of symbols that are merged, first things first."""
    path = Path(__file__).parent / "gpt2" / "merges.bpe"
    _version, _, text = path.read_text(encoding="utf-8").partition("\n")
    halves = text.split()
    return list(zip(halves[::2], halves[1::2], strict=True))


@cache
def symbols() -> tuple[str, ...]:
    """GPT-2's vocabulary in the order of its ids, one character per byte.

    Printable bytes stand for themselves and come first; the others follow as the characters from
    256 on. A space, for instance, is chr(288). Merge i has the id 256 + i, and the end of text has
    the last id.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = range(256, 256 + 256 - len(printable))
    merged = [left + right for left, right in merges()]
    return (*map(chr, printable), *map(chr, others), *merged, _EOS_TEXT)


@cache
def tokenizer() -> Tokenizer:
    """GPT-2's tokenizer; `tokenizer().encode("Hello world").ids` is [15496, 995]."""
    ids = dict(zip(symbols(), range(VOCAB_SIZE), strict=True))
    bpe = Tokenizer(models.BPE(vocab=ids, merges=merges()))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    bpe.decoder = decoders.ByteLevel()  # pyright: ignore
    return bpe


@cache
def bytes_per_token() -> NDArray[np.int64]:
    """Bytes of text that each token stands for; 0 for the end of text."""
    return np.array([*map(len, symbols()[:-1]), 0])


def encode(text: str) -> list[int]:
    """GPT-2 ids of a text."""
    return tokenizer().encode(text).ids


def decode(ids: list[int]) -> str:
    """Inverse of `encode`."""
    return tokenizer().decode(ids, skip_special_tokens=False)
