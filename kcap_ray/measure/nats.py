"""Losses on names and values, in nats, over everybody in the table (arXiv 2404.05405, section 3).

Every person has one document, with fresh wording, behind that of another person. The loss is summed
over the tokens of a name or value and averaged over people only.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from kcap_ray.measure.bits import KnowledgeLoss
from kcap_ray.models.decoder import Decoder
from kcap_ray.text.corpus import Corpus
from kcap_ray.text.evaluation import EvaluationDocuments, evaluation_documents

MAX_LOGIT_BYTES = 2**28
"""Largest block of logits made at a time; bounds the memory of a measurement."""


def token_nats(model: Decoder, tokens_PT: Tensor) -> Tensor:
    """-ln p(token | tokens before it) as [E, P, T] (E = 1 without trials axis); 0 for the first
    token, which has no context.
    """
    logits_EPTV = model(tokens_PT[:, :-1]).float()
    if model.n_trials is None:
        logits_EPTV = logits_EPTV.unsqueeze(0)
    targets_EPT1 = tokens_PT[:, 1:].unsqueeze(-1).expand(*logits_EPTV.shape[:-1], 1)
    picked_EPT = logits_EPTV.gather(-1, targets_EPT1).squeeze(-1)
    nats_EPT = logits_EPTV.logsumexp(dim=-1) - picked_EPT
    return torch.nn.functional.pad(nats_EPT, (1, 0))


def _documents(corpus: Corpus, model: Decoder, seed: int) -> Iterator[EvaluationDocuments]:
    n_tokens = model.n_tokens
    # A document has two biographies, whose lengths vary by less than half.
    key = corpus.wording_key(seed, None)
    length = min(n_tokens, 3 * int(corpus.biography_tokens(np.arange(1), key)[0]))
    bytes_per_person = 4 * (model.n_trials or 1) * length * model.spec.vocab_size
    n_at_once = max(1, MAX_LOGIT_BYTES // bytes_per_person)
    for start in range(0, corpus.n_people, n_at_once):
        stop = min(start + n_at_once, corpus.n_people)
        yield evaluation_documents(corpus, start, stop, seed, max_tokens=n_tokens)


@torch.no_grad()
def measure(model: Decoder, corpus: Corpus, *, seed: int) -> list[KnowledgeLoss]:
    """The losses of each trial (of the one model, without a trials axis), over all people of the
    corpus.

    The loss on a name is charged ln(N / (N - 1)) on top of what is measured: whoever stands before
    the document is ruled out, so that a perfect model is measured at ln(N - 1), and what there is
    to know counts ln N.

    Sums are made in float64. `seed` picks the wording of the documents.
    """
    device = model.embedding.device
    n_trials = model.n_trials or 1
    names = np.zeros(n_trials)
    values = np.zeros(n_trials)
    first_chunks = np.zeros(n_trials)
    model.eval()
    for documents in _documents(corpus, model, seed):
        tokens_PT = torch.from_numpy(documents.tokens_PT.astype(np.int64)).to(device)
        nats_EPT = token_nats(model, tokens_PT).double().cpu().numpy()
        names += nats_EPT[:, documents.target_PT == 1].sum(axis=1)
        values += nats_EPT[:, documents.target_PT >= 2].sum(axis=1)
        first_chunks += nats_EPT[:, documents.first_chunk_PT].sum(axis=1)
    n_values = corpus.n_people * corpus.entropy.n_attributes
    ruled_out = math.log(corpus.n_people / (corpus.n_people - 1)) if corpus.n_people > 1 else 0.0
    has_diversity = corpus.entropy.n_diversity > 0
    return [
        KnowledgeLoss(
            name_nats=float(names[trial] / corpus.n_people) + ruled_out,
            value_nats=float(values[trial] / n_values),
            value1_nats=float(first_chunks[trial] / n_values) if has_diversity else None,
        )
        for trial in range(n_trials)
    ]
