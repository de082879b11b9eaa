"""Losses of a model of transformers at the tokens that count alone: names and values are a fifth of
a document, and what the output head makes of the rest, a vocabulary of logits for each token, is
for nothing.
"""

import logging

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kcap_ray.measure.causal_model import logits_of
from kcap_ray.measure.nats import Ends, nats_of_logits

_logger = logging.getLogger(__name__)


class CountedPositions:
    """`CountedNats` of a model: its hidden states at these tokens alone reach its output head.

    The first block of documents is measured both ways. A model whose logits differ (it does
    something between head and output that needs all of them, or its head is none), is measured as
    a whole from then on.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        head = model.get_output_embeddings()
        self._head = head if isinstance(head, nn.Module) else None
        self._is_checked = False

    def __call__(self, tokens_PT: Tensor, ends: Ends | None, is_counted_PT: Tensor) -> Tensor:
        """-ln p of the tokens [1, P, T]; 0 where they do not count."""
        if self._head is None or not bool(is_counted_PT.any()):
            return self._whole(tokens_PT, ends)
        if self._is_checked:
            return self._counted(self._head, tokens_PT, ends, is_counted_PT)
        whole = self._whole(tokens_PT, ends)
        try:
            counted = self._counted(self._head, tokens_PT, ends, is_counted_PT)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a model's own code makes of fewer hidden states
            self._give_up(type(error).__name__)
            return whole
        self._is_checked = True
        # Rounding is some 1e-7 of the largest logit in float32; in bf16 a step of its own.
        tolerance = max(
            100 * torch.finfo(torch.float32).eps, 4 * torch.finfo(self._model.dtype).eps
        )
        expected = whole[:, is_counted_PT]
        if not torch.allclose(counted[:, is_counted_PT], expected, rtol=tolerance, atol=tolerance):
            self._give_up("other logits")
        return whole

    def _whole(self, tokens_PT: Tensor, ends: Ends | None) -> Tensor:
        return nats_of_logits(logits_of(self._model, tokens_PT[:, :-1])[None], tokens_PT, ends)

    def _counted(
        self, head: nn.Module, tokens_PT: Tensor, ends: Ends | None, is_counted_PT: Tensor
    ) -> Tensor:
        is_predicted_PT = is_counted_PT[:, 1:]

        def pick(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            (hidden_PTD, *rest) = arguments
            return (hidden_PTD[is_predicted_PT].unsqueeze(0), *rest)

        handle = head.register_forward_pre_hook(pick)
        try:
            logits_1NV = logits_of(self._model, tokens_PT[:, :-1])
        finally:
            handle.remove()
        # One row of the tokens that count, behind one that has no context.
        row_1N = nn.functional.pad(tokens_PT[is_counted_PT].unsqueeze(0), (1, 0))
        own = None
        if ends is not None:
            number_1N = nn.functional.pad(ends.number_PT[is_counted_PT].unsqueeze(0), (1, 0))
            own = Ends(number_1N, ends.goes_on_SV)
        nats_11N = nats_of_logits(logits_1NV[None], row_1N, own)
        nats_1PT = nats_11N.new_zeros((1, *tokens_PT.shape))
        nats_1PT[:, is_counted_PT] = nats_11N[:, 0, 1:]
        return nats_1PT

    def _give_up(self, why: str) -> None:
        self._head = None
        _logger.info(
            "%s: measured at all tokens (its head at some gives %s)",
            type(self._model).__name__,
            why,
        )
