"""Predictors with known knowledge, which stand in for a trained decoder."""

from collections import defaultdict
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor

from kcap_ray.knowledge.diversity import draw_diversity_sets
from kcap_ray.knowledge.pools import load_value_pools
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import Corpus
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import alphabet

WINDOW = 192
Prefix = tuple[int, ...]
Distributions = dict[Prefix, dict[int, float]]
"""Weight of each next token, by the tokens since the last end of text."""


class Oracle:
    """A language model that is a table; it is uniform over the vocabulary where the table ends."""

    n_trials = None
    n_tokens = WINDOW

    def __init__(
        self, corpus: Corpus, distributions: Distributions, *, rules_out: bool = False
    ) -> None:
        """`rules_out`: whoever stands before is taken out of the weights, which count people."""
        self._rules_out = rules_out
        self.spec = SimpleNamespace(vocab_size=corpus.vocab.size)
        self.device = torch.device("cpu")
        self._eos, self._distributions = corpus.vocab.eos, distributions

    def eval(self) -> None:
        """As of a module."""

    def __call__(self, tokens_PT: Tensor) -> Tensor:
        """Logits [P, T, V]."""
        logits_PTV = torch.zeros(*tokens_PT.shape, self.spec.vocab_size)
        for row_TV, tokens in zip(logits_PTV, tokens_PT.tolist(), strict=True):
            prefix: list[int] = []
            before: list[int] = []
            for logits_V, token in zip(row_TV, tokens, strict=True):
                if token == self._eos:
                    before, prefix = prefix, []
                else:
                    prefix = [*prefix, token]
                weights = self._distributions.get(tuple(prefix))
                n_said = len(prefix)
                if weights and self._rules_out and before[:n_said] == prefix != before:
                    weights = {**weights, before[n_said]: weights[before[n_said]] - 1}
                if weights is not None:
                    logits_V.fill_(-torch.inf)
                    logits_V[list(weights)] = torch.tensor(list(weights.values())).log()
        return logits_PTV


def biographies(corpus: Corpus, seed: int) -> Iterator[tuple[list[int], list[int]]]:
    """Tokens of each person's own biography in the evaluation, and what they count for."""
    source = corpus.main
    documents = evaluation_documents(
        source, range(source.n_people), seed, eos=corpus.vocab.eos, max_tokens=WINDOW
    )
    for tokens_T, target_T in zip(documents.tokens_PT, documents.target_PT, strict=True):
        start = int(np.argmax(target_T == 1))
        stop = start + int(np.argmax(tokens_T[start:] == corpus.vocab.eos))
        yield tokens_T[start:stop].tolist(), target_T[start:stop].tolist()


def perfect(corpus: Corpus, seed: int) -> Distributions:
    """Knows every biography by heart, and that anybody may come next."""
    counts: defaultdict[Prefix, defaultdict[int, float]] = defaultdict(lambda: defaultdict(float))
    for tokens, _ in biographies(corpus, seed):
        for place, token in enumerate(tokens):
            counts[tuple(tokens[:place])][token] += 1.0
    return {prefix: dict(weights) for prefix, weights in counts.items()}


def knows_only_the_pools(corpus: Corpus, seed: int) -> Distributions:
    """Knows everybody's name, and which values there are; each is as likely as any other."""
    distributions = perfect(corpus, seed)
    for tokens, targets in biographies(corpus, seed):
        for code, name in enumerate(corpus.main.attributes, start=2):
            places = [place for place, target in enumerate(targets) if target == code]
            parts = _parts(corpus, name, [tokens[place] for place in places])
            said: list[int] = []
            for place in places:
                following, n_over = _following(parts[0], said), parts[0].count(said)
                is_over = n_over > 0 and tokens[place] not in following
                if n_over:  # the sentence goes on
                    following[tokens[place] if is_over else corpus.vocab.eos] += n_over
                distributions[tuple(tokens[:place])] = dict(following)
                if is_over:
                    parts, said = parts[1:], []
                    continue
                said.append(tokens[place])
                if said in parts[0] and not _following(parts[0], said):
                    parts, said = parts[1:], []
            assert not parts, f"{name}: a value of the biography is in no pool"
    return distributions


def _following(values: list[list[int]], said: list[int]) -> defaultdict[int, float]:
    """How many of the values go on with each token."""
    weights: defaultdict[int, float] = defaultdict(float)
    for value in values:
        if value[: len(said)] == said != value:
            weights[value[len(said)]] += 1.0
    return weights


def _parts(corpus: Corpus, attribute: str, said: list[int]) -> list[list[list[int]]]:
    """Tokens of the values of each part of an attribute as it is said: a birth date has three, a
    chunk is one, and of bioS_simple the employer has two where its city comes first.
    """
    data = corpus.data
    if data.kind == "bioD":
        assert data.T
        assert data.C
        strings_DL = alphabet()[: data.T][draw_diversity_sets(data)][int(attribute[3:]) - 1]
        return [[corpus.vocab.encode(ids).tolist() for ids in strings_DL]] * data.C
    pools = load_value_pools(data.pools)
    values = {
        "birth_date": [pools.months, pools.days, pools.years],
        "birth_city": [pools.cities],
        "university": [pools.universities],
        "major": [pools.majors],
        "employer": [pools.employers],
        "pronoun": [("He", "She")],
    }[attribute]
    if attribute == "employer":
        city_of = [pools.work_cities[city] for city in pools.city_of_employer]
        for city in pools.work_cities:
            ids = corpus.vocab.encode(bpe.encode(f" {city}")).tolist()
            if said[: len(ids)] == ids:
                there = zip(pools.employers, city_of, strict=True)
                values = [city_of, tuple(e for e, where in there if where == city)]
    return [
        [corpus.vocab.encode(bpe.encode(f" {value}")).tolist() for value in part] for part in values
    ]
