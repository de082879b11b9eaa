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
    """`name everywhere`, or `alone`: one biography to a window, with nothing before its name."""
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
    assert kind == "alone", kind
    return Texts(
        batches=_one_each(train, vocab, width, n_batch, seed=cell.seed),
        n_steps=len(train) // n_batch,
        evaluate=Evaluator(scored, vocab, window=width, is_alone=True),
    )


def _one_each(
    records: Sequence[dict[str, Any]], vocab: Compact, width: int, n_batch: int, *, seed: int
) -> Iterator[np.ndarray]:
    """Batches of windows with one text each between ends of texts, [B, T+1]."""
    draw = np.random.default_rng(seed)
    by_exposure: dict[int, list[np.ndarray]] = {}
    for record in records:
        window = np.full(width + 1, vocab.eos)
        text = vocab(record["token_ids"])[:width]
        window[1 : 1 + len(text)] = text
        by_exposure.setdefault(record["exposure"], []).append(window)
    waiting: list[np.ndarray] = []
    while True:
        for windows in by_exposure.values():
            waiting += [windows[index] for index in draw.permutation(len(windows))]
            while len(waiting) >= n_batch:
                yield np.stack(waiting[:n_batch])
                waiting = waiting[n_batch:]


def judged(model: Decoder, evaluate: Evaluator) -> dict[str, float]:
    """The losses of a model without an axis of trials."""
    model.eval()
    found = evaluate(model)
    model.train()
    return found
