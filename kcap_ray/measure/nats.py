"""Losses on names and values, in nats, over everybody in the table (arXiv 2404.05405, section 3).

Every person has one document, freshly rendered, behind that of another person. The loss is summed
over the tokens of a name or value and averaged over people only.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kcap_ray.config.errors import UserError
from kcap_ray.measure.bits import memorized_bits
from kcap_ray.measure.groups import Group
from kcap_ray.measure.scatter import Scatter
from kcap_ray.measure.sites import Sites
from kcap_ray.measure.table_groups import groups_of, sampled_people
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel
from kcap_ray.text.evaluation import EvaluationDocuments, evaluation_documents
from kcap_ray.text.kinds.renderer import Rendered
from kcap_ray.text.stream.corpus import Corpus
from kcap_ray.text.stream.source import Source

MAX_LOGIT_BYTES = 2**28
"""Largest block of logits made at a time; bounds the memory of a measurement."""


class Ends(NamedTuple):
    """Tokens at which a name or value ends that a longer one would go on with."""

    number_PT: Tensor
    """1 + a row of `goes_on_SV`; 0 elsewhere."""
    goes_on_SV: Tensor
    """Tokens that go on."""


class TokenNats(Protocol):
    """From tokens [P, T] to -ln p(token | tokens before it) [E, P, T], 0 for the first token; at
    `ends` to -ln p(no token that goes on).
    """

    def __call__(self, tokens_PT: Tensor, ends: Ends | None = None, /) -> Tensor: ...


class CountedNats(Protocol):
    """As `TokenNats`, but right only where `is_counted_PT` is, of which the first token is none."""

    def __call__(
        self, tokens_PT: Tensor, ends: Ends | None, is_counted_PT: Tensor, /
    ) -> Tensor: ...


def token_nats(model: Decoder | OwnModel, tokens_PT: Tensor, ends: Ends | None = None) -> Tensor:
    """-ln p(token | tokens before it) as [E, P, T] (E = 1 without trials axis); 0 for the first
    token, which has no context. At `ends` -ln p(no token that goes on).
    """
    logits_EPTV = model(tokens_PT[:, :-1])
    if model.n_trials is None:
        logits_EPTV = logits_EPTV.unsqueeze(0)
    return nats_of_logits(logits_EPTV, tokens_PT, ends)


def nats_of_logits(logits_EPTV: Tensor, tokens_PT: Tensor, ends: Ends | None = None) -> Tensor:
    """The same from the logits of all tokens but the last, as [E, P, T, V]."""
    logits_EPTV = logits_EPTV.float()
    targets_EPT1 = tokens_PT[:, 1:].unsqueeze(-1).expand(*logits_EPTV.shape[:-1], 1)
    picked_EPT = logits_EPTV.gather(-1, targets_EPT1).squeeze(-1)
    nats_EPT = logits_EPTV.logsumexp(dim=-1) - picked_EPT
    if ends is not None:
        p_N, t_N = ends.number_PT[:, 1:].nonzero(as_tuple=True)
        logits_ENV = logits_EPTV[:, p_N, t_N]
        goes_on_NV = ends.goes_on_SV[ends.number_PT[p_N, 1 + t_N] - 1]
        others_EN = logits_ENV.masked_fill(goes_on_NV, -math.inf).logsumexp(dim=-1)
        nats_EPT[:, p_N, t_N] = logits_ENV.logsumexp(dim=-1) - others_EN
    return torch.nn.functional.pad(nats_EPT, (1, 0))


@dataclass(frozen=True, kw_only=True)
class ScoringModel:
    """A scoring model: one model, or E fused trials of it."""

    nats: TokenNats
    n_trials: int
    """E; 1 for a model without a trials axis."""
    n_tokens: int
    """Longest sequence."""
    vocab_size: int
    eos: int
    """End of text."""
    device: torch.device
    translate: Callable[[Rendered], Rendered] = lambda rendered: rendered
    """From biographies in the tokens of the corpus to the same in those of the model."""
    first: int | None = None
    """Token that every document begins with, for instance the model's beginning of text; None: its
    end of text, as in training.
    """
    on_progress: Callable[[int, int], None] = lambda n_done, n_people: None
    """Called with the people of a table that are measured, and all of them."""
    nats_of_counted: CountedNats | None = None
    """In place of `nats`, where it is faster to leave out what counts for nothing."""


def measure(
    model: Decoder | OwnModel, corpus: Corpus, *, seed: int, n_people: int | None = None
) -> list[list[Group]]:
    """For each trial (for the one model, without a trials axis) the losses on every group of people
    of the corpus, table by table, in ascending bands of frequency.

    `seed` picks the templates of the documents; `n_people`: only so many of every table, who stand
    for all of it (`sampled_people`).
    """
    model.eval()
    scorer = scorer_of(model, corpus)
    return measure_scoring_model(scorer, corpus.sources, seed=seed, n_people=n_people)


def scorer_of(model: Decoder | OwnModel, corpus: Corpus) -> ScoringModel:
    """The decoder as a scoring model."""
    return ScoringModel(
        nats=partial(token_nats, model),
        n_trials=model.n_trials or 1,
        n_tokens=model.n_tokens,
        vocab_size=model.spec.vocab_size,
        eos=corpus.vocab.eos,
        device=model.device,
    )


@torch.no_grad()
def measure_scoring_model(
    scorer: ScoringModel, sources: Sequence[Source], *, seed: int, n_people: int | None = None
) -> list[list[Group]]:
    """As `measure`, for any scoring model.

    The loss on a name is charged ln(N / (N - 1)) on top of what is measured: whoever stands before
    the document is ruled out, so that a perfect model is measured at ln(N - 1), while the
    demand counts ln N.

    Sums are made in float64.
    """
    by_source = [
        _measure_table(scorer, index, source, seed, n_people)
        for index, source in enumerate(sources)
    ]
    return [
        [group for groups in by_source for group in groups[trial]]
        for trial in range(scorer.n_trials)
    ]


def _measure_table(
    scorer: ScoringModel, index: int, source: Source, seed: int, n_people: int | None
) -> list[list[Group]]:
    """The groups of one table, for each trial, by `n_people` of it (None: all)."""
    sample_P = sampled_people(source, n_people or source.n_people)
    n_people = len(sample_P)
    n_trials, n_bands = scorer.n_trials, int(source.bands_P.max()) + 1
    sums_3EG = np.zeros((3, n_trials, n_bands))  # over people: names, values, first chunks
    sites, scatter = Sites(source, n_trials=n_trials), Scatter(source, n_trials=n_trials)
    memorized_E = np.zeros(n_trials)
    start, n_at_once = 0, _people_at_once(scorer, source)
    while start < n_people:
        people_P = sample_P[start : start + n_at_once]
        documents = _documents(scorer, source, seed, people_P)
        nats_EPT = _nats(scorer, documents)
        if nats_EPT is None and n_at_once > 1:
            n_at_once = math.ceil(n_at_once / 2)
            continue
        if nats_EPT is None:
            raise UserError("one document is too much for the memory of the GPU")
        counted = (documents.target_PT == 1, documents.target_PT >= 2, documents.first_chunk_PT)
        nats_3EP = np.stack([np.where(part_PT, nats_EPT, 0.0).sum(axis=2) for part_PT in counted])
        bands_P = source.bands_P[people_P]
        for part, trial in np.ndindex(3, n_trials):
            sums_3EG[part, trial] += np.bincount(bands_P, nats_3EP[part, trial], minlength=n_bands)
        scatter.add(people_P, nats_3EP)
        sites.add(documents.target_PT, nats_EPT, bands_P)
        memorized_E += _memorized(source, people_P, documents.target_PT, nats_EPT)
        start += len(people_P)
        scorer.on_progress(start, n_people)
    memorized_E *= source.n_people / n_people
    return [
        [
            replace(
                group,
                site_nats_AS=sites.means(trial, group.band, group.n_measured),
                memorized_bits=float(memorized_E[trial]) if group.band == 0 else 0.0,
                spread_bits=scatter.spread(trial, group.band),
            )
            for group in groups_of(index, source, sums_3EG[:, trial], sample_P)
        ]
        for trial in range(n_trials)
    ]


def _memorized(
    source: Source, people_P: NDArray[np.int64], target_PT: NDArray, nats_EPT: NDArray
) -> NDArray[np.float64]:
    """Bits memorized of these people, by trial; see `bits.memorized_bits`."""
    assert source.entropy is not None, "junk is not measured"
    first_counted = 2 if source.entropy.log2_name_space is None else 1
    nats_EP = np.where(target_PT >= first_counted, nats_EPT, 0.0).sum(axis=2)
    own_bits_P = None if source.value_bits_P is None else source.value_bits_P[people_P]
    return np.array([memorized_bits(source.entropy, nats_P, own_bits_P) for nats_P in nats_EP])


def _nats(scorer: ScoringModel, documents: EvaluationDocuments) -> NDArray[np.float64] | None:
    """Losses of all tokens [E, P, T]; None where there is no memory for so many documents."""
    tokens_PT = torch.from_numpy(documents.tokens_PT.astype(np.int64))
    if scorer.first is not None:
        tokens_PT[:, 0] = scorer.first
    tokens_PT, ends = tokens_PT.to(scorer.device), ends_of(documents, scorer)
    try:
        if scorer.nats_of_counted is None:
            nats_EPT = scorer.nats(tokens_PT, ends)
        else:
            is_counted_PT = torch.from_numpy(documents.target_PT > 0).to(scorer.device)
            nats_EPT = scorer.nats_of_counted(tokens_PT, ends, is_counted_PT)
    except torch.OutOfMemoryError:
        return None
    return nats_EPT.double().cpu().numpy()


def ends_of(documents: EvaluationDocuments, scorer: ScoringModel) -> Ends | None:
    """Where in these documents a name or value ends that a longer one would go on with."""
    if documents.end_PT is None:
        return None
    goes_on_SV = torch.zeros(len(documents.continuations), scorer.vocab_size, dtype=torch.bool)
    for row_V, tokens in zip(goes_on_SV, documents.continuations, strict=True):
        row_V[torch.from_numpy(tokens.astype(np.int64))] = True
    number_PT = torch.from_numpy(documents.end_PT.astype(np.int64))
    return Ends(number_PT.to(scorer.device), goes_on_SV.to(scorer.device))


def documents_of(
    scorer: ScoringModel, source: Source, seed: int, n_people: int
) -> Iterator[EvaluationDocuments]:
    """The documents of the first people of a table, in blocks whose logits fit into memory."""
    n_at_once = _people_at_once(scorer, source)
    for start in range(0, n_people, n_at_once):
        yield _documents(scorer, source, seed, np.arange(start, min(start + n_at_once, n_people)))


def _documents(
    scorer: ScoringModel, source: Source, seed: int, people_P: NDArray[np.int64]
) -> EvaluationDocuments:
    return evaluation_documents(
        source,
        people_P,
        seed,
        eos=scorer.eos,
        max_tokens=scorer.n_tokens,
        translate=scorer.translate,
    )


def _people_at_once(scorer: ScoringModel, source: Source) -> int:
    # A document has two biographies, whose lengths vary by less than half.
    length = min(scorer.n_tokens, math.ceil(3 * source.mean_tokens))
    bytes_per_person = 4 * scorer.n_trials * length * scorer.vocab_size
    return max(1, MAX_LOGIT_BYTES // bytes_per_person)
