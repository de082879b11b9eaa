"""What a model says when it is asked, or when a biography stops before a value.

It answers with the likeliest token, one after another. That gives the right answer exactly if each
right token is the likeliest behind those before it, so one pass over the whole text tells.

Shape letters: P documents, T tokens, V vocabulary, Q questions.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kcap_ray.measure.nats import MAX_LOGIT_BYTES, documents_of, ends_of
from kcap_ray.measure.nats import ScoringModel as Scorer
from kcap_ray.text.kinds.renderer import FIRST_ATTRIBUTE_CODE
from kcap_ray.text.stream.source import Source

Logits = Callable[[Tensor], Tensor]
"""From tokens [P, T] to the logits [P, T, V] of the token after each."""


@torch.no_grad()
def memorized(logits: Logits, scorer: Scorer, source: Source, *, seed: int) -> NDArray[np.float64]:
    """Whether each person's values come when a biography is read up to them: 1, 0, or NaN where the
    person lacks the attribute [P, A] (arXiv 2404.05405, appendix A.2, memorizable accuracy).

    The documents are those that bits are measured on. Where a value begins a longer one, its end
    must come too.
    """
    blocks = []
    for documents in documents_of(scorer, source, seed, source.n_people):
        tokens_PT = torch.from_numpy(documents.tokens_PT.astype(np.int64)).to(scorer.device)
        likeliest_PT = logits(tokens_PT[:, :-1]).argmax(dim=-1)
        is_right_PT = likeliest_PT == tokens_PT[:, 1:]
        ends = ends_of(documents, scorer)
        if ends is not None:
            p_N, t_N = ends.number_PT[:, 1:].nonzero(as_tuple=True)
            goes_on_NV = ends.goes_on_SV[ends.number_PT[p_N, 1 + t_N] - 1]
            goes_on_N = goes_on_NV.gather(1, likeliest_PT[p_N, t_N].unsqueeze(1)).squeeze(1)
            is_right_PT[p_N, t_N] = ~goes_on_N
        is_wrong_PT = np.zeros(documents.tokens_PT.shape, np.bool_)
        is_wrong_PT[:, 1:] = ~is_right_PT.cpu().numpy()
        columns = []
        for attribute in range(len(source.attributes)):
            is_value_PT = documents.target_PT == FIRST_ATTRIBUTE_CODE + attribute
            is_said_P = ~(is_value_PT & is_wrong_PT).any(axis=1)
            columns.append(np.where(is_value_PT.any(axis=1), is_said_P, np.nan))
        blocks.append(np.stack(columns, axis=1))
    return np.concatenate(blocks)


@torch.no_grad()
def answered(
    logits: Logits, tokens_QT: NDArray, is_answer_QT: NDArray[np.bool_], *, n_vocab: int
) -> NDArray[np.bool_]:
    """Whether each question is answered word by word, and the answer ends there [Q]."""
    n_at_once = max(1, MAX_LOGIT_BYTES // (4 * n_vocab * tokens_QT.shape[1]))
    found = []
    for start in range(0, len(tokens_QT), n_at_once):
        tokens = torch.from_numpy(tokens_QT[start : start + n_at_once])
        is_answer = torch.from_numpy(is_answer_QT[start : start + n_at_once])[:, 1:]
        is_right = logits(tokens[:, :-1]).argmax(dim=-1).cpu() == tokens[:, 1:]
        found.append((is_right | ~is_answer).all(dim=1))
    return torch.cat(found).numpy()
