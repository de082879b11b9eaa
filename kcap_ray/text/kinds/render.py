"""Biographies as text, with the places of the values."""

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.text.kinds.renderer import Rendered
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
    """One record for each person: text, GPT-2's ids without the end of text, spans of the values,
    and for each id what its loss counts for: `name`, an attribute, or None.

    `train` renders as in the given exposure; `eval` as for measurement, whatever the exposure.
    Spans are characters of the text; the pronoun's is its first occurrence. Useful
    biographies among junk begin with `MARKER_TEXT` where they have a token of their own.
    """
    people_P = np.atleast_1d(np.asarray(people, dtype=np.int64))
    samples = (
        source.evaluation(people_P, seed=seed)
        if split == "eval"
        else source.once_each(people_P, exposure, seed=seed)
    )
    mark = "" if source.marker is None else MARKER_TEXT
    numbers = samples.people_P.tolist()
    counted = counted_labels(source.rendered(samples), source.attributes)
    for person, biography, labels in zip(numbers, source.as_text(samples), counted, strict=True):
        yield {
            "person_id": person,
            "exposure": exposure,
            "text": mark + biography.text,
            "token_ids": [MARKER_ID] * bool(mark) + biography.gpt2_ids,
            "counted": labels,
            "spans": [
                {
                    "attribute": span.attribute,
                    "start": len(mark) + span.start,
                    "end": len(mark) + span.end,
                }
                for span in biography.spans
            ],
        }


def counted_labels(rendered: Rendered, attributes: tuple[str, ...]) -> Iterator[list[str | None]]:
    """What each token of each biography counts for in a measurement, without the end of text.

    They are the tokens that touch a name or value, of the pronouns the first, and where a value
    begins a longer one the token behind it: other than spans, which are of the value's characters.
    """
    labels = [None, "name", *attributes]
    stop = 0
    for length in rendered.length_P.tolist():
        start, stop = stop, stop + length
        codes = rendered.code_L[start : stop - 1].tolist()
        found = [labels[code] if code < len(labels) else None for code in codes]
        pronouns = [place for place, label in enumerate(found) if label == "pronoun"]
        for place in pronouns[1:]:
            found[place] = None
        yield found


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
