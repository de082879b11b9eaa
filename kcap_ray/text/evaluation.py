"""Documents that knowledge is measured on, and what each of their tokens counts for.

Shape letters: P people, T tokens, S slots.
"""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from kcap_ray.text.corpus import Corpus
from kcap_ray.text.wording import FIRST_ATTRIBUTE_CODE

Scalar = TypeVar("Scalar", bound=np.generic)


class EvaluationDocuments(NamedTuple):
    """A block of documents, padded to the longest with the end of text."""

    tokens_PT: NDArray[np.uint16]
    """End of text, biography, end of text."""
    target_PT: NDArray[np.int8]
    """What the prediction of token t from the tokens before it counts for: 0 nothing, 1 the name,
    2 + i attribute i of the corpus."""
    first_chunk_PT: NDArray[np.bool_]
    """Whether the token belongs to the first chunk of a value; never for bioS."""


def evaluation_documents(corpus: Corpus, start: int, stop: int, seed: int) -> EvaluationDocuments:
    """Documents of people start..stop-1, in the order of the table.

    Wording and order are random and those of no training exposure, except that the employer comes
    before the work city, which gives it away (arXiv 2404.05405, lemma F.1: a value may be predicted
    only from what is independent of it). The work city counts nothing, and of the pronouns the
    first alone counts. bioS_simple says everything in one way only, and is measured on it (with the
    two sentences swapped where the work city came first).
    """
    wording, pieces = corpus.wording, corpus.wording.pieces
    people_P = np.arange(start, stop)
    key = corpus.wording_key(seed, None)
    chosen = wording.choose(corpus.table_PC[start:stop], people_P, key, employer_first=True)
    places = pieces.token_places(chosen.piece_PS)
    lengths_PS = pieces.lengths[chosen.piece_PS]
    slot = np.repeat(chosen.slot_PS.ravel(), lengths_PS.ravel())

    n_counted = FIRST_ATTRIBUTE_CODE + len(wording.attributes)
    counted_S = np.where(wording.slot_code_S < n_counted, wording.slot_code_S, 0)
    is_value = pieces.is_value[places]
    target = np.where(is_value, counted_S[slot], 0)
    first_chunk = is_value & wording.slot_is_first_chunk_S[slot]

    is_token_PT = _mask(lengths_PS.sum(axis=1))
    target_PT = _padded(is_token_PT, target.astype(np.int8), 0)
    if "pronoun" in wording.attributes:
        _keep_first(target_PT, FIRST_ATTRIBUTE_CODE + wording.attributes.index("pronoun"))
    return EvaluationDocuments(
        tokens_PT=_padded(is_token_PT, pieces.tokens[places], corpus.vocab.eos),
        target_PT=target_PT,
        first_chunk_PT=_padded(is_token_PT, first_chunk, False),
    )


def _mask(length_P: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Places of the rendered tokens: from 1 on, because the end of text comes first."""
    place_T = np.arange(length_P.max(initial=0) + 1)
    return (place_T >= 1) & (place_T <= length_P[:, None])


def _padded(
    is_token_PT: NDArray[np.bool_], values: NDArray[Scalar], padding: int
) -> NDArray[Scalar]:
    padded_PT = np.full(is_token_PT.shape, padding, values.dtype)
    padded_PT[is_token_PT] = values
    return padded_PT


def _keep_first(target_PT: NDArray[np.int8], code: int) -> None:
    """Clear all but the first `code` of each row, in place."""
    is_code_PT = target_PT == code
    target_PT[is_code_PT & (np.cumsum(is_code_PT, axis=1) > 1)] = 0
