"""Biographies as tokens, and as text with the places of the values.

Shape letters: P people, S slots, T tokens.
"""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kcap_ray.text import bpe
from kcap_ray.text.corpus import Corpus
from kcap_ray.text.wording import FIRST_ATTRIBUTE_CODE, NAME_CODE, Chosen

# Pieces that are put together at a time: their arrays stay in the cache of a core.
_BLOCK_PIECES = 1 << 15


def blocks_of_people(corpus: Corpus, n_people: int) -> Iterator[slice]:
    """Consecutive slices of 0..n_people, small enough to be rendered in the cache of a core."""
    n_slots = len(corpus.wording.slot_code_S)
    step = max(_BLOCK_PIECES // n_slots, 1)
    for start in range(0, n_people, step):
        yield slice(start, min(start + step, n_people))


def render_tokens(corpus: Corpus, people_P: NDArray[np.integer], key: int) -> NDArray[np.uint16]:
    """Biographies of people, one after another, each with the end of text behind it [T]."""
    blocks = []
    for block in blocks_of_people(corpus, len(people_P)):
        people = people_P[block]
        chosen = corpus.wording.choose(corpus.table_PC[people], people, key)
        pieces = corpus.wording.pieces
        blocks.append(pieces.tokens[pieces.token_places(chosen.piece_PS)])
    return np.concatenate(blocks) if blocks else np.empty(0, np.uint16)


def biography_records(
    corpus: Corpus,
    people: ArrayLike,
    exposure: int,
    split: Literal["train", "eval"] = "train",
    *,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """One record for each person: text, GPT-2's ids without the end of text, spans of the values.

    `train` says it as in the given exposure; `eval` as it is said for measurement, whatever
    the exposure. Spans are characters of the text; the pronoun's is its first occurrence.
    """
    is_evaluation = split == "eval"
    key = corpus.wording_key(seed, None if is_evaluation else exposure)
    people_P = np.atleast_1d(np.asarray(people, dtype=np.int64))
    wording = corpus.wording
    labels = {NAME_CODE: "name"}
    labels |= dict(enumerate((*wording.attributes, *wording.uncounted), FIRST_ATTRIBUTE_CODE))
    for block in blocks_of_people(corpus, len(people_P)):
        people = people_P[block]
        values = corpus.table_PC[people]
        chosen = wording.choose(values, people, key, employer_first=is_evaluation)
        for person, piece_S, slot_S in zip(people.tolist(), *chosen, strict=True):
            text, ids, spans = _text_and_spans(corpus, Chosen(piece_S, slot_S), labels)
            yield {
                "person_id": person,
                "exposure": exposure,
                "text": text,
                "token_ids": ids,
                "spans": spans,
            }


def _text_and_spans(
    corpus: Corpus, chosen: Chosen, labels: dict[int, str]
) -> tuple[str, list[int], list[dict[str, Any]]]:
    """Text, GPT-2 ids and spans of one biography; its last piece, the end of text, is left out."""
    pieces, vocab = corpus.wording.pieces, corpus.vocab
    text, ids = "", []
    spans: dict[str, dict[str, Any]] = {}
    for piece, slot in zip(chosen.piece_PS[:-1].tolist(), chosen.slot_PS[:-1], strict=True):
        start = int(pieces.starts[piece])
        piece_tokens = pieces.tokens[start : start + int(pieces.lengths[piece])]
        piece_ids = vocab.gpt2_ids[piece_tokens].tolist()
        first, stop = int(pieces.value_starts[piece]), int(pieces.value_stops[piece])
        label = labels.get(int(corpus.wording.slot_code_S[slot]))
        if stop > first and label is not None:
            span = {"attribute": label, "start": len(text) + first, "end": len(text) + stop}
            if label not in spans:
                spans[label] = span
            elif label != "pronoun":
                spans[label]["end"] = span["end"]
        text += bpe.decode(piece_ids)
        ids += piece_ids
    return text, ids, list(spans.values())
