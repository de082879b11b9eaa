"""Windows of texts that the package itself never makes, for variants of the plateau study.

Shapes: B windows, T tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from plain_loop import Evaluator, Recipe, shuffled_windows

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

PRONOUN_IDS = (679, 1375)
"""GPT-2's tokens " He" and " She": in these texts always the subject of a sentence."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What a variant trains on and how it is judged."""

    batches: Iterator[np.ndarray]
    n_steps: int
    evaluate: Evaluator


class Compact:
    """The package's numbers for GPT-2's tokens."""

    def __init__(self, vocab: CompactVocabulary) -> None:
        self.number = {int(token): number for number, token in enumerate(vocab.gpt2_ids)}
        self.eos = vocab.eos

    def __call__(self, token_ids: Sequence[int]) -> list[int]:
        """The text's tokens, by their new numbers."""
        return [self.number[token] for token in token_ids]


def with_name_everywhere(record: dict[str, Any]) -> dict[str, Any]:
    """The full name in place of every pronoun; only the first is the name that is measured."""
    labels: list[str | None] = record["counted"]
    name = [i for i, label in zip(record["token_ids"], labels, strict=True) if label == "name"]
    token_ids: list[int] = []
    counted: list[str | None] = []
    for token, label in zip(record["token_ids"], labels, strict=True):
        is_pronoun = token in PRONOUN_IDS
        token_ids += name if is_pronoun else [token]
        counted += [None] * len(name) if is_pronoun else [label]
    return {**record, "token_ids": token_ids, "counted": counted}


def records_of(cell: Cell) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of `kcap data` of all exposures, for training and for measurement."""
    source = build_corpus(cell.data).sources[0]
    people = np.arange(cell.data.n_people)
    train = [
        record
        for exposure in range(cell.train.exposures)
        for record in biography_records(source, people, exposure, "train", seed=cell.seed)
    ]
    return train, list(biography_records(source, people, 0, "eval", seed=cell.seed))


def texts_of(kind: str, cell: Cell, recipe: Recipe) -> Texts:
    """`name everywhere`; `alone`: one biography to a window, with nothing before its name;
    `anywhere`: one to a window, behind a random number of ends of text; or `pairs`: two to a
    window, both whole.
    """
    train, scored = records_of(cell)
    vocab = Compact(build_corpus(cell.data).vocab)
    width, n_batch = recipe.window_tokens, recipe.batch_windows
    if kind == "name everywhere":
        train, scored = ([with_name_everywhere(one) for one in part] for part in (train, scored))
        n_tokens = sum(len(record["token_ids"]) + 1 for record in train)
        return Texts(
            batches=shuffled_windows(train, vocab, recipe, seed=cell.seed),
            n_steps=round(n_tokens / (n_batch * width)),
            evaluate=Evaluator(scored, vocab, window=width),
        )
    n_texts = {"alone": 1, "anywhere": 1, "pairs": 2}[kind]
    batches = _whole(train, vocab, recipe, n_texts, seed=cell.seed)
    return Texts(
        batches=_moved(batches, vocab.eos, seed=cell.seed) if kind == "anywhere" else batches,
        n_steps=len(train) // (n_texts * n_batch),
        evaluate=Evaluator(scored, vocab, window=width, is_alone=n_texts == 1),
    )


def _whole(
    records: Sequence[dict[str, Any]], vocab: Compact, recipe: Recipe, n_texts: int, *, seed: int
) -> Iterator[np.ndarray]:
    """Batches of windows [B, T+1] with so many whole texts each, between ends of texts and padded
    with these.
    """
    draw = np.random.default_rng(seed)
    by_exposure: dict[int, list[list[int]]] = {}
    for record in records:
        text = [*vocab(record["token_ids"]), vocab.eos]
        by_exposure.setdefault(record["exposure"], []).append(text)
    waiting: list[list[int]] = []
    while True:
        for texts in by_exposure.values():
            waiting += [texts[index] for index in draw.permutation(len(texts))]
            while len(waiting) >= n_texts * recipe.batch_windows:
                windows = np.full((recipe.batch_windows, recipe.window_tokens + 1), vocab.eos)
                for window in windows:
                    row = [token for text in waiting[:n_texts] for token in text]
                    window[1 : 1 + len(row)] = row[: recipe.window_tokens]
                    waiting = waiting[n_texts:]
                yield windows


def _moved(batches: Iterator[np.ndarray], eos: int, *, seed: int) -> Iterator[np.ndarray]:
    """Each window [T+1] rolled to the right by as much as its padding, or less: the text stays
    whole, and where it begins is drawn.
    """
    draw = np.random.default_rng([seed, 1])
    for windows in batches:
        for window in windows:
            n_padding = len(window) - 1 - np.flatnonzero(window != eos)[-1]
            window[:] = np.roll(window, draw.integers(n_padding + 1))
        yield windows


def judged(model: Decoder, evaluate: Evaluator) -> dict[str, float]:
    """The losses of a model without an axis of trials."""
    model.eval()
    found = evaluate(model)
    model.train()
    return found
