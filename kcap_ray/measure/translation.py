"""Biographies in the tokens of a model that has a vocabulary of its own.

What a token holds follows from the text: a token that touches a character of a value holds the
value. Shape letters: L tokens of all biographies together, C characters of one.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from transformers import PreTrainedTokenizerBase

from kcap_ray.config.errors import UserError
from kcap_ray.text.kinds.renderer import Rendered
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import MARKER_TEXT, CompactVocabulary


@dataclass(frozen=True)
class Renumbering:
    """The same tokens under other numbers."""

    id_of_token: NDArray[np.int64]

    def __call__(self, rendered: Rendered) -> Rendered:
        return rendered._replace(
            tokens_L=self.id_of_token[rendered.tokens_L],
            continuations=tuple(self.id_of_token[ids] for ids in rendered.continuations),
        )


def renumbering(vocab: CompactVocabulary, gpt2_ids: ArrayLike) -> Renumbering:
    """From `vocab` to a model whose token i stands for GPT-2's `gpt2_ids[i]`.

    Raises `UserError` if the model has no token for something that the data can say.
    """
    ids = np.asarray(gpt2_ids, dtype=np.int64)
    missing = np.setdiff1d(vocab.gpt2_ids, ids)
    if len(missing):
        raise UserError(
            f"the vocabulary lacks {len(missing)} of the {vocab.size} tokens of this cell's data, "
            f"GPT-2's {missing[0]} for one; name the sweep and --cell that the model was trained on"
        )
    order = np.argsort(ids, kind="stable")
    return Renumbering(order[np.searchsorted(ids, vocab.gpt2_ids, sorter=order)])


@dataclass(frozen=True)
class _Characters:
    """A biography without its end of text."""

    text: str
    code_C: NDArray[np.int8]
    """What each character holds, as `Rendered.code_L`; 0 for a space."""
    first_chunk_C: NDArray[np.bool_]


class Retokenizing:
    """The same text as a tokenizer cuts it.

    Which tokens would go on with a longer value is not known of it: where a value begins a longer
    one, the whole loss on the token behind it counts, a little more than its end.
    """

    def __init__(
        self,
        vocab: CompactVocabulary,
        tokenizer: PreTrainedTokenizerBase,
        *,
        eos: int,
        vocab_size: int,
    ) -> None:
        """`eos`: the tokenizer's end of text; `vocab_size`: tokens that the model has."""
        self._vocab, self._eos, self._vocab_size = vocab, eos, vocab_size
        self._unknown = getattr(tokenizer, "unk_token_id", None)
        self.used = {eos}
        """Tokens that were met so far."""
        self._encode = partial(tokenizer, add_special_tokens=False, return_offsets_mapping=True)
        n_bytes = np.append(bpe.bytes_per_token(), len(MARKER_TEXT))
        self._bytes_of_token = n_bytes[vocab.gpt2_ids]

    def __call__(self, rendered: Rendered) -> Rendered:
        stops_P = np.cumsum(rendered.length_P)
        characters = [
            self._characters(rendered, slice(stop - length, stop - 1))
            for stop, length in zip(stops_P.tolist(), rendered.length_P.tolist(), strict=True)
        ]
        encoded = self._encode([one.text for one in characters])
        codes, first_chunks, tokens = [], [], []
        for one, ids, offsets in zip(
            characters, encoded["input_ids"], encoded["offset_mapping"], strict=True
        ):
            start_T, stop_T = np.asarray(offsets, dtype=np.int64).reshape(-1, 2).T
            codes.append([*_first_inside(one.code_C, start_T, stop_T), 0])
            self._check_known(one.text, ids, offsets, codes[-1])
            first_chunks.append([*_first_inside(one.first_chunk_C, start_T, stop_T), False])
            tokens.append([*ids, self._eos])
            self.used.update(ids)
        if max(self.used) >= self._vocab_size:
            raise UserError(
                f"its tokenizer gives token {max(self.used)} for this text, and the model has "
                f"{self._vocab_size}; they do not belong together"
            )
        return Rendered(
            length_P=np.array([len(ids) for ids in tokens], dtype=np.int64),
            tokens_L=np.concatenate(tokens).astype(np.int64),
            code_L=np.concatenate(codes).astype(np.int8),
            first_chunk_L=np.concatenate(first_chunks).astype(np.bool_),
        )

    def _check_known(self, text: str, ids: list[int], offsets: list, codes: list[int]) -> None:
        """UserError if a token of a name or value stands for whatever it does not know: to say it
        takes no knowledge.
        """
        for token, (start, stop), code in zip(ids, offsets, codes[:-1], strict=True):
            if code and token == self._unknown:
                raise UserError(
                    f"its tokenizer has no token for {text[start:stop]!r}, of a name or value; "
                    "what it knows of these people cannot be measured"
                )

    def _characters(self, rendered: Rendered, place: slice) -> _Characters:
        tokens_T = rendered.tokens_L[place]
        is_marked = self._vocab.marker is not None and self._vocab.marker in tokens_T
        text = MARKER_TEXT * is_marked + self._vocab.decode(tokens_T)
        bytes_of_text = np.frombuffer(text.encode(), dtype=np.uint8)
        # UTF-8: bytes 10xxxxxx go on with a character that an earlier one began.
        is_start = (bytes_of_text & 0xC0) != 0x80
        is_space_C = np.array([character.isspace() for character in text], dtype=np.bool_)
        n_bytes_T = self._bytes_of_token[tokens_T]

        def by_character(values_T: NDArray) -> NDArray:
            return np.where(is_space_C, 0, np.repeat(values_T, n_bytes_T)[is_start])

        return _Characters(
            text=text,
            code_C=by_character(rendered.code_L[place]),
            first_chunk_C=by_character(rendered.first_chunk_L[place]),
        )


def _first_inside(values_C: NDArray, start_T: NDArray, stop_T: NDArray) -> NDArray:
    """The first value other than 0 in each stretch of characters; 0 where there is none.

    For instance of [0, 7, 7, 0, 3] it is 7 from 0 to 2, and 0 from 3 to 4.
    """
    n_characters = len(values_C)
    nonzero = np.flatnonzero(values_C)
    next_C = np.append(nonzero, n_characters)[np.searchsorted(nonzero, start_T)]
    return np.where(next_C < stop_T, np.append(values_C, 0)[next_C], 0)
