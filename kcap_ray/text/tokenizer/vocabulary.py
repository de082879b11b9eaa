"""The vocabulary of a data set: which of GPT-2's tokens it can produce, and their numbers."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kcap_ray.text.tokenizer import bpe

MARKER_ID = bpe.VOCAB_SIZE
"""Number of the token in front of useful biographies, beside GPT-2's ids 0..50,256."""
MARKER_TEXT = "<|useful|>"


@dataclass(frozen=True, kw_only=True)
class CompactVocabulary:
    """Tokens 0..size-1 of a model, and the GPT-2 id that each stands for.

    For instance with gpt2_ids [262, 995, 50256], GPT-2's token 995 (` world`) is token 1 of the
    model.
    """

    gpt2_ids: NDArray[np.int32]
    """GPT-2 id of each token, ascending; the end of text is always among them. Behind it may come
    `MARKER_ID`, which GPT-2 does not have.
    """

    @property
    def size(self) -> int:
        """Number of tokens."""
        return len(self.gpt2_ids)

    @property
    def eos(self) -> int:
        """Token of the end of text, which has the largest of GPT-2's ids."""
        return self.size - (1 if self.marker is None else 2)

    @property
    def marker(self) -> int | None:
        """Token that marks useful biographies; None where nothing is marked."""
        return self.size - 1 if self.gpt2_ids[-1] == MARKER_ID else None

    @property
    def token_of_gpt2_id(self) -> NDArray[np.uint16]:
        """Token of every GPT-2 id; 0 where the vocabulary does not have it [50,257]."""
        tokens = np.zeros(bpe.VOCAB_SIZE + 1, np.uint16)
        tokens[self.gpt2_ids] = np.arange(self.size)
        return tokens[: bpe.VOCAB_SIZE]

    def encode(self, gpt2_ids: ArrayLike) -> NDArray[np.uint16]:
        """Tokens of GPT-2 ids; ValueError if one is not in the vocabulary."""
        ids = np.asarray(gpt2_ids)
        tokens = np.searchsorted(self.gpt2_ids, ids).clip(max=self.size - 1)
        missing = self.gpt2_ids[tokens] != ids
        if missing.any():
            raise ValueError(f"GPT-2 id {ids[missing].flat[0]} is not in this vocabulary")
        return tokens.astype(np.uint16)

    def decode(self, tokens: ArrayLike) -> str:
        """Text of tokens."""
        ids = self.gpt2_ids[np.asarray(tokens, dtype=np.int64)]
        return bpe.decode(ids[ids != MARKER_ID].tolist())


def vocabulary_of(
    used: Iterable[ArrayLike], kind: Literal["compact", "full"], *, with_marker: bool = False
) -> CompactVocabulary:
    """Vocabulary of the ids in use, the end of text and, if asked for, the marker; `full` keeps all
    50,257 ids of GPT-2 as they are.
    """
    is_used = np.zeros(bpe.VOCAB_SIZE + 1, np.bool_)
    is_used[: bpe.VOCAB_SIZE] = kind == "full"
    for ids in used:
        is_used[np.asarray(ids)] = True
    is_used[bpe.EOS] = True
    is_used[MARKER_ID] = with_marker
    return CompactVocabulary(gpt2_ids=np.flatnonzero(is_used).astype(np.int32))


@cache
def alphabet() -> NDArray[np.int64]:
    """GPT-2 ids that can be symbols of bioD: a space and two or more ASCII letters, ascending.

    Each is what GPT-2 itself makes of its text, so a row of symbols encodes to exactly these
    tokens.
    """
    space = chr(288)
    symbols = enumerate(bpe.symbols())
    return np.array([i for i, s in symbols if len(s) >= 3 and s[0] == space and _is_word(s[1:])])


def _is_word(text: str) -> bool:
    return text.isascii() and text.isalpha()
