"""Documents that knowledge is measured on, and what each of their tokens counts for.

Shape letters: P people, T tokens, S slots.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.text.kinds.renderer import FIRST_ATTRIBUTE_CODE, Rendered
from kcap_ray.text.stream.source import Source


class EvaluationDocuments(NamedTuple):
    """A block of documents, padded to the longest with the end of text."""

    tokens_PT: NDArray[np.integer]
    """End of text, another person's biography, end of text, the biography, end of text."""
    target_PT: NDArray[np.int8]
    """What the prediction of token t from the tokens before it counts for: 0 nothing, 1 the name,
    2 + i attribute i of the source."""
    first_chunk_PT: NDArray[np.bool_]
    """Whether the token belongs to the first chunk of a value; only bioD has chunks."""
    end_PT: NDArray[np.int16] | None
    """1 + a number in `continuations` where what counts is that none of these comes, and not which
    token does; 0 elsewhere. None: 0 everywhere.
    """
    continuations: tuple[NDArray[np.integer], ...]
    """Tokens that go on with a longer name or value; see `text/kinds/endings.py`."""


class BiographyTooLongError(UserError):
    """A biography does not fit into a window."""

    def __init__(self, n_tokens: int, max_tokens: int) -> None:
        super().__init__(n_tokens, max_tokens)
        self.n_tokens, self.max_tokens = n_tokens, max_tokens

    def __str__(self) -> str:
        return (
            f"a biography of {self.n_tokens} tokens does not fit into a window of "
            f"{self.max_tokens}; write train.window_tokens: {self.n_tokens} or more"
        )


def evaluation_documents(
    source: Source,
    people: range | NDArray[np.int64],
    seed: int,
    *,
    eos: int,
    max_tokens: int,
    translate: Callable[[Rendered], Rendered] = lambda rendered: rendered,
) -> EvaluationDocuments:
    """Documents of these people of a table, in this order.

    `translate` puts the biographies into the tokens of another model; `eos` is the end of text in
    these.

    Templates and order are random and those of no training exposure, except that the employer comes
    before the work city, which gives it away (arXiv 2404.05405, lemma F.1: a value may be predicted
    only from what is independent of it). The work city counts nothing, and of the pronouns the
    first alone counts. bioS_simple says everything in one way only, and is measured on it; where
    its work city comes first, city and employer count as one, by the chain rule.

    Before each biography stands that of the next person in the table, as another one nearly always
    does in training. It tells nothing (people are independent), but a model that never had to begin
    a name with a lone end of text before it is not judged by how it does so (docs/decisions, 0001).
    Where the two are longer than `max_tokens`, the window of the model, the first loses its
    beginning. With `data.junk.behind: junk` it is a junk person's.

    Raises `BiographyTooLongError` if a biography alone is longer than the window.
    """
    people_P = np.asarray(people, dtype=np.int64)
    own = translate(source.rendered(source.evaluation(people_P, seed=seed)))
    if source.behind is None:
        other, next_P = source, (people_P + 1) % source.n_people
    else:
        other = source.behind
        next_P = other.schedule.occurrences(0, people_P).people_P
    before = translate(other.rendered(other.evaluation(next_P, seed=seed)))
    # A document of max_tokens + 1 tokens is read in one window: its last token is only predicted.
    room_P = max_tokens - own.length_P
    if room_P.min(initial=0) < 0:
        raise BiographyTooLongError(int(own.length_P.max()), max_tokens)
    is_alone = source.n_people == 1 and source.behind is None
    kept_P = np.zeros_like(room_P) if is_alone else np.minimum(before.length_P, room_P)
    return _documents(source, before, kept_P, own, eos=eos)


def _documents(
    source: Source, before: Rendered, kept_P: NDArray[np.int64], own: Rendered, *, eos: int
) -> EvaluationDocuments:
    """An end of text, the last `kept_P` tokens of what stands before, and a person's own text."""
    place_T = np.arange(1 + int((kept_P + own.length_P).max(initial=0)))
    is_before_PT = _span(place_T, np.ones_like(kept_P), kept_P)
    is_own_PT = _span(place_T, 1 + kept_P, own.length_P)

    def laid_out(own_L: NDArray[Any], dtype: DTypeLike) -> NDArray[Any]:
        found_PT = np.zeros(is_own_PT.shape, dtype)
        found_PT[is_own_PT] = own_L
        return found_PT

    tokens_PT = np.full(is_own_PT.shape, eos, own.tokens_L.dtype)
    tokens_PT[is_before_PT] = before.tokens_L[_is_last(before.length_P, kept_P)]
    tokens_PT[is_own_PT] = own.tokens_L
    target_PT = laid_out(_counted_codes(own, source.attributes), np.int8)
    if "pronoun" in source.attributes:
        pronoun = FIRST_ATTRIBUTE_CODE + source.attributes.index("pronoun")
        _keep_first(target_PT, pronoun)
    first_chunk_PT = laid_out(own.first_chunk_L, np.bool_)
    end_PT = None if own.end_L is None else laid_out(own.end_L, np.int16)
    return EvaluationDocuments(tokens_PT, target_PT, first_chunk_PT, end_PT, own.continuations)


def _counted_codes(rendered: Rendered, attributes: tuple[str, ...]) -> NDArray[np.int8]:
    """What each token holds, 0 where that is not counted [L]."""
    is_counted_L = rendered.code_L < FIRST_ATTRIBUTE_CODE + len(attributes)
    return np.where(is_counted_L, rendered.code_L, 0).astype(np.int8)


def _span(
    place_T: NDArray[np.int64], start_P: NDArray[np.int64], length_P: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Which places lie in each row's span: [P, T]."""
    return (place_T >= start_P[:, None]) & (place_T < (start_P + length_P)[:, None])


def _is_last(length_P: NDArray[np.int64], kept_P: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Of runs of `length_P` tokens one after another, the last `kept_P` of each: [L]."""
    place_L = np.arange(int(length_P.sum())) - np.repeat(np.cumsum(length_P) - length_P, length_P)
    return place_L >= np.repeat(length_P - kept_P, length_P)


def _keep_first(target_PT: NDArray[np.int8], code: int) -> None:
    """Clear all but the first `code` of each row, in place."""
    is_code_PT = target_PT == code
    target_PT[is_code_PT & (np.cumsum(is_code_PT, axis=1) > 1)] = 0
