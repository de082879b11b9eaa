"""Training of a quantized model for a few exposures more, on the grid that quantization chose.

A quantized matrix is kept as floats, and rounded to its grid whenever the model computes with it;
the gradient passes the rounding as if it were not there (the straight-through estimator, arXiv
1308.3432, section 4). Scales, zero points and groups stay as they are, so the matrix takes the same
room as before: what is learnt is the code of each weight, and everything that is not quantized.

Shapes: O outputs, I inputs, G groups of a row; `*S` are the leading axes of a stack of experts.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import length_of
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.training.loop import OpenBatches, Progress, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import Start, TrainStep

LR_RATIO = 0.1
"""Reference learning rate, as a share of the one that the model was trained at: where the cosine
of that training ended.
"""


@dataclass(frozen=True, kw_only=True)
class Finetuned:
    """What fine-tuning leaves."""

    model: Decoder
    """Its quantized weights are on the grid, all others are floats."""
    matrices: dict[str, QuantizedMatrix]
    """The quantized weights by name, with new codes and everything else as it was."""
    tokens: int
    """Tokens trained on."""
    train_time_s: float


def finetune(
    model: Decoder,
    matrices: Mapping[str, QuantizedMatrix],
    cell: Cell,
    point: Point,
    *,
    exposures: int,
    on_progress: Callable[[Progress], None] | None = None,
) -> Finetuned:
    """Train for `exposures` more from the codes in `matrices` and the other weights of `model`,
    which stays as it is, on its device.

    `matrices` has quantized weights by the name of the parameter, without a trials axis; `point` is
    that of the trial whose weights these are. The data are those of the cell, from where its
    training ended; the rule is AdamW at a tenth of the learning rate, all else is as in the cell.
    Raises `TrainingDiverged`.
    """
    n_trained = length_of(cell).steps
    # The whole batch in this one process, by whatever rule and workers the cell was trained.
    settings = replace(cell.train, exposures=exposures, steps=None, optimizer="adamw", workers=1)
    tuning = replace(cell, train=settings)
    length = length_of(tuning)
    grids = {name: _Grid(matrix) for name, matrix in matrices.items()}
    dequantized = {name: matrix.dequantized() for name, matrix in matrices.items()}
    step = TrainStep(
        tuning,
        model.spec,
        [replace(point, lr=LR_RATIO * point.lr)],
        n_steps=length.steps,
        device=model.embedding.device,
        start=Start(weights={**model.state_dict(), **dequantized}, seen_as=grids),
    )
    batches = _batches_after(n_trained, cell, tuning, length.steps)
    result = train(step, batches, on_progress=on_progress)
    tuned = result.model
    assert isinstance(tuned, Decoder), "it is one to begin with"
    trained = dict(tuned.named_parameters())
    found = {name: grid.quantized(trained[name].detach()) for name, grid in grids.items()}
    with torch.no_grad():
        for name, matrix in found.items():
            trained[name].copy_(matrix.dequantized())
    return Finetuned(
        model=tuned,
        matrices=found,
        tokens=length.tokens,
        train_time_s=result.train_time_s,
    )


def _batches_after(n_trained: int, cell: Cell, tuning: Cell, n_steps: int) -> OpenBatches:
    """Batches of the cell's stream from step `n_trained` on."""
    open_batches = in_process_batches(
        stream_of(cell), tuning.train, rank=0, n_steps=n_trained + n_steps
    )
    return lambda step: open_batches(n_trained + step)


class _Grid:
    """The grid of a quantized matrix, to round floats to."""

    def __init__(self, matrix: QuantizedMatrix) -> None:
        self.matrix = matrix
        index = matrix.group_I.long().unsqueeze(-2).expand(matrix.codes_OI.shape)
        self.scale_OI = matrix.scale_OG.float().gather(-1, index)
        middle = torch.full_like(self.scale_OI, 2 ** (matrix.bits - 1))
        zero_OG = matrix.zero_OG
        self.zero_OI = middle if zero_OG is None else zero_OG.float().gather(-1, index)

    def __call__(self, weight_OI: Tensor) -> Tensor:
        """The nearest point of the grid for each weight."""
        return _Rounded.apply(weight_OI, self.scale_OI, self.zero_OI, self.matrix.bits)

    def quantized(self, weight_OI: Tensor) -> QuantizedMatrix:
        """The same matrix with the codes nearest to these weights."""
        codes_OI = _codes(weight_OI, self.scale_OI, self.zero_OI, self.matrix.bits)
        return replace(self.matrix, codes_OI=codes_OI.to(torch.uint8))


class _Rounded(torch.autograd.Function):
    """Weights rounded to a grid; the gradient is that of the identity."""

    @staticmethod
    def forward(ctx, weight_OI: Tensor, scale_OI: Tensor, zero_OI: Tensor, bits: int) -> Tensor:
        return scale_OI * (_codes(weight_OI, scale_OI, zero_OI, bits) - zero_OI)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None, None, None]:
        (grad_OI,) = grad_outputs
        return grad_OI, None, None, None


def _codes(weight_OI: Tensor, scale_OI: Tensor, zero_OI: Tensor, bits: int) -> Tensor:
    """The nearest points of the grid, whether zero points are codes or lie between."""
    return (weight_OI / scale_OI + zero_OI).round().clamp(0, 2**bits - 1)
