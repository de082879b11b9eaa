"""Questions about people, with their answers, in the tokens of a model that has never read any.

Shape letters: Q questions, T tokens, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.person import person_of
from kcap_ray.text.kinds.renderer import Samples
from kcap_ray.text.stream.source import Source
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

WORDS = {
    "birth_date": "What is the birth date of {name}?",
    "birth_city": "What is the birth city of {name}?",
    "university": "Which university did {name} study?",
    "major": "What major did {name} study?",
    "employer": "Which company did {name} work for?",
}
"""Questions of arXiv 2309.14316 about bioS; the pronoun and the work city are not asked for."""
_ANY = "What is the {attribute} of {name}?"
_BLOCK = 1 << 12  # people whose questions are made at a time


class Question(NamedTuple):
    """One question of one person."""

    person: int
    attribute: int
    """Number among the attributes that are asked for."""
    asked: str
    answer: str


@dataclass(frozen=True, kw_only=True, eq=False)
class QuestionTable:
    """All questions about a table of people, as rows of tokens."""

    attributes: tuple[str, ...]
    """What is asked for."""
    person_Q: NDArray[np.int64]
    attribute_Q: NDArray[np.int64]
    """Number in `attributes`."""
    tokens_QT: NDArray[np.int64]
    """End of text, question, ` Answer:`, answer, end of text; padded with the end of text."""
    is_answer_QT: NDArray[np.bool_]
    """Tokens of the answer and the end of text behind it."""
    answers: tuple[str, ...]
    """Answers as text [Q]."""
    n_new_tokens: int
    """Tokens that the model's vocabulary lacks: V, V + 1, ..."""


def questions_of(source: Source, people_P: NDArray[np.int64]) -> Iterator[Question]:
    """The questions about these people, person by person.

    Of bioS, in all its kinds, the values are as the pools have them; of other kinds as a biography
    for measurement has them.
    """
    kind = source.knowledge.kind
    samples = source.evaluation(people_P, seed=0)
    if kind in ("bioS", "bioS_simple", "bioR"):
        yield from _of_bios(source, samples)
        return
    for person, biography in zip(people_P.tolist(), source.as_text(samples), strict=True):
        texts = {span.attribute: biography.text[span.start : span.end] for span in biography.spans}
        for number, attribute in enumerate(source.attributes):
            if attribute in texts:
                asked = _ANY.format(attribute=attribute, name=texts["name"])
                yield Question(person, number, asked, texts[attribute])


def _of_bios(source: Source, samples: Samples) -> Iterator[Question]:
    asked_for = attributes_asked(source)
    for number, values_C in zip(samples.people_P.tolist(), samples.values_PC, strict=True):
        person = person_of(source.knowledge.pools, values_C)
        for a, attribute in enumerate(asked_for):
            value = person.date_text if attribute == "birth_date" else getattr(person, attribute)
            yield Question(number, a, WORDS[attribute].format(name=person.name), value)


def attributes_asked(source: Source) -> tuple[str, ...]:
    """Attributes that there are questions about."""
    if source.knowledge.kind in ("bioS", "bioS_simple", "bioR"):
        return tuple(attribute for attribute in source.attributes if attribute in WORDS)
    return source.attributes


def question_table(source: Source, vocab: CompactVocabulary) -> QuestionTable:
    """Every question about every person of a table, in the tokens of `vocab` and behind them those
    that it lacks. `UserError` where there is none.
    """
    people_P = np.arange(source.n_people)
    blocks = [people_P[start : start + _BLOCK] for start in range(0, len(people_P), _BLOCK)]
    questions = [question for block in blocks for question in questions_of(source, block)]
    if not questions:
        raise UserError(f"there are no questions about data of kind {source.knowledge.kind}")
    asked = [bpe.encode(f" {question.asked} Answer:") for question in questions]
    answers = [bpe.encode(f" {question.answer}") for question in questions]
    used = np.unique(np.concatenate([np.array(ids) for ids in (*asked, *answers)]))
    new = np.setdiff1d(used, vocab.gpt2_ids)
    token_of_id = vocab.token_of_gpt2_id.astype(np.int64)
    token_of_id[new] = vocab.size + np.arange(len(new))
    longest = 2 + max(len(a) + len(b) for a, b in zip(asked, answers, strict=True))
    tokens_QT = np.full((len(questions), longest), vocab.eos, np.int64)
    is_answer_QT = np.zeros(tokens_QT.shape, np.bool_)
    for row_T, is_answer_T, ids, answer in zip(
        tokens_QT, is_answer_QT, asked, answers, strict=True
    ):
        stop = 1 + len(ids) + len(answer)
        row_T[1:stop] = token_of_id[[*ids, *answer]]
        is_answer_T[1 + len(ids) : stop + 1] = True
    return QuestionTable(
        attributes=attributes_asked(source),
        person_Q=np.array([question.person for question in questions]),
        attribute_Q=np.array([question.attribute for question in questions]),
        tokens_QT=tokens_QT,
        is_answer_QT=is_answer_QT,
        answers=tuple(question.answer for question in questions),
        n_new_tokens=len(new),
    )
