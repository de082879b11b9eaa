"""Biographies as text, with the places of the values."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.text.stream.corpus import Corpus
from kcap_ray.text.stream.source import Source
from kcap_ray.text.tokenizer.vocabulary import MARKER_ID, MARKER_TEXT


def biography_records(
    source: Source,
    people: ArrayLike,
    exposure: int,
    split: Literal["train", "eval"] = "train",
    *,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """One record for each person: text, GPT-2's ids without the end of text, spans of the values.

    `train` says it as in the given exposure; `eval` as it is said for measurement, whatever
    the exposure. Spans are characters of the text; the pronoun's is its first occurrence. Useful
    biographies among junk begin with `MARKER_TEXT` where they have a token of their own.
    """
    people_P = np.atleast_1d(np.asarray(people, dtype=np.int64))
    tellings = (
        source.evaluation(people_P, seed=seed)
        if split == "eval"
        else source.told_once(people_P, exposure, seed=seed)
    )
    mark = "" if source.marker is None else MARKER_TEXT
    for person, spoken in zip(tellings.people_P.tolist(), source.spoken(tellings), strict=True):
        yield {
            "person_id": person,
            "exposure": exposure,
            "text": mark + spoken.text,
            "token_ids": [MARKER_ID] * bool(mark) + spoken.gpt2_ids,
            "spans": [
                {
                    "attribute": span.attribute,
                    "start": len(mark) + span.start,
                    "end": len(mark) + span.end,
                }
                for span in spoken.spans
            ],
        }


def source_of(corpus: Corpus, *, part: int, is_junk: bool) -> Source:
    """Junk, or the table of this number; UserError where the data set has none."""
    if is_junk:
        if corpus.junk is None:
            raise UserError("--junk: this cell has no junk; write data.junk in the sweep")
        return corpus.junk
    if part >= len(corpus.sources):
        raise UserError(f"--part {part}: this cell has {len(corpus.sources) - 1} parts")
    return corpus.sources[part]


def first_people(corpus: Corpus, source: Source, n_people: int) -> NDArray[np.int64]:
    """Numbers of the first people of a source; those of junk follow those of the main table."""
    if source is corpus.junk:
        assert corpus.data.junk is not None
        first = corpus.data.n_people
        return np.arange(first, first + min(n_people, corpus.data.junk.n_people))
    return np.arange(min(n_people, source.n_people))
