"""Training on a grid: where it starts, what it may change, and that it mends."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from kcap_ray.config.cell import Cell
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.quantize.decoder import quantize_decoder
from kcap_ray.quantize.finetune import LR_RATIO, Finetuned, _Grid, finetune
from kcap_ray.quantize.grid import QuantizedMatrix
from kcap_ray.quantize.method import layer_quantizer
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.training.loop import Progress, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep
from tests.tiny import tiny_cell

CPU = torch.device("cpu")
CELL = tiny_cell(lr=1e-2, weight_decay=0.01, exposures=20)
POINT = Point(lr=CELL.train.lr, weight_decay=CELL.train.weight_decay)
QuantizedMatrices = dict[str, QuantizedMatrix]
WAYS = [
    QuantizeConfig(bits=2, group_size=8),
    QuantizeConfig(bits=3, group_size=8, act_order=True, symmetric=False),
    QuantizeConfig(bits=4, group_size=None, symmetric=False),
    QuantizeConfig(bits=8, method="rtn"),
    QuantizeConfig(bits=3, group_size=8, method="hqq"),
]


def trained(cell: Cell) -> Decoder:
    """The cell's model at the end of its training."""
    return _trained(cell, torch.get_default_dtype())


@cache
def _trained(cell: Cell, dtype: torch.dtype) -> Decoder:
    """Once for each type of weights."""
    n_steps = length_of(cell).steps
    batches = in_process_batches(stream_of(cell), cell.train, rank=0, n_steps=n_steps)
    point = replace(POINT, lr=cell.train.lr)
    model = train(
        TrainStep(cell, spec_of(cell), [point], n_steps=n_steps, device=CPU), batches
    ).model
    assert isinstance(model, Decoder)
    return model


def windows(cell: Cell, first_step: int, n_steps: int) -> Tensor:
    """What the cell trains on in these steps, and would train on if it went on."""
    size = cell.train.batch_windows
    start, stop = first_step * size, (first_step + n_steps) * size
    return torch.from_numpy(stream_of(cell).windows(start, stop).astype("int64"))


def rounded_to_nearest(cell: Cell, bits: int, *, embedding: bool = False) -> QuantizedMatrices:
    config = QuantizeConfig(bits=bits, method="rtn", group_size=8, embedding=embedding)
    return dict(quantize_decoder(trained(cell), config).matrices)


def tuned(cell: Cell = CELL, *, bits: int = 3, lr: float = 1e-2, exposures: int = 3) -> Finetuned:
    matrices = rounded_to_nearest(cell, bits)
    return finetune(trained(cell), matrices, cell, replace(POINT, lr=lr), exposures=exposures)


def on_grid(model: Decoder, matrices: QuantizedMatrices) -> Decoder:
    """A copy of the model with its quantized weights in place."""
    weights = {name: matrix.dequantized() for name, matrix in matrices.items()}
    copy = Decoder(model.spec, n_tokens=model.n_tokens)
    copy.load_state_dict({**model.state_dict(), **weights})
    return copy


@pytest.mark.parametrize("config", WAYS, ids=lambda config: config.label)
@pytest.mark.parametrize("stack", [(), (3,)])
def test_weights_on_the_grid_are_rounded_to_themselves(
    config: QuantizeConfig, stack: tuple[int, ...]
):
    """Of every method: codes come back from the weights they stand for, and rounding changes
    nothing, for one matrix and for a stack of experts.
    """
    generator = torch.Generator().manual_seed(0)
    quantize = layer_quantizer(config)
    own = [
        quantize(
            torch.randn(6, 20, generator=generator),
            [torch.randn(50, 20, generator=generator)],
            config,
        )
        for _ in range(stack[0] if stack else 1)
    ]
    matrix = QuantizedMatrix.stack(own) if stack else own[0]
    grid, weight = _Grid(matrix), matrix.dequantized()
    assert torch.equal(grid.quantized(weight).codes_OI, matrix.codes_OI)
    assert torch.equal(grid(weight), weight)


def test_gradient_passes_the_rounding_unchanged():
    """The straight-through estimator, beyond the ends of the grid too."""
    matrix = rounded_to_nearest(CELL, 2)["blocks.0.mlp.up.weight"]
    weight_OI = (9 * matrix.dequantized()).requires_grad_()
    factor_OI = torch.arange(weight_OI.numel()).view(weight_OI.shape).float()
    seen_OI = _Grid(matrix)(weight_OI)
    (seen_OI * factor_OI).sum().backward()
    assert weight_OI.grad is not None
    assert torch.equal(weight_OI.grad, factor_OI)
    assert torch.equal(seen_OI.detach(), _Grid(matrix).quantized(weight_OI.detach()).dequantized())


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("embedding", [False, True])
def test_training_starts_from_the_quantized_model_behind_the_data_it_saw(
    optimizer: str, embedding: bool
):
    """The first loss is that of the quantized model on the batch after the last one of training,
    the learning rate a tenth of the model's own, with embeddings on the grid or not.
    """
    cell = replace(CELL, train=replace(CELL.train, optimizer=optimizer))
    matrices = rounded_to_nearest(cell, 3, embedding=embedding)
    assert ("embedding" in matrices) == embedding
    seen: list[Progress] = []
    finetune(trained(cell), matrices, cell, POINT, exposures=1, on_progress=seen.append)
    start = on_grid(trained(cell), matrices)
    expected = start.loss(windows(cell, length_of(cell).steps, 1))
    assert seen[0].step == 1
    assert seen[0].losses[0] == pytest.approx(float(expected.detach()), rel=1e-10)
    assert seen[-1].step == length_of(replace(cell, train=replace(cell.train, exposures=1))).steps


def test_more_exposures_are_as_long_where_the_cell_names_its_steps():
    """`train.steps` is the length of the whole training, and not of what is trained behind it."""
    seen: list[Progress] = []
    cell = replace(CELL, train=replace(CELL.train, steps=length_of(CELL).steps))
    finetune(
        trained(cell),
        rounded_to_nearest(cell, 3),
        cell,
        POINT,
        exposures=1,
        on_progress=seen.append,
    )
    assert seen[-1].step == length_of(replace(CELL, train=replace(CELL.train, exposures=1))).steps


def test_without_a_learning_rate_nothing_changes():
    """Codes are those of the start; what is not quantized moves by less than can be seen."""
    found = tuned(lr=1e-12)
    start = rounded_to_nearest(CELL, 3)
    for name, matrix in found.matrices.items():
        assert torch.equal(matrix.codes_OI, start[name].codes_OI)
    expected = on_grid(trained(CELL), start).state_dict()
    for name, value in found.model.state_dict().items():
        assert torch.allclose(value, expected[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("model", ["gpt2-1-1", "gpt2-1-1-moe2"])
def test_only_codes_and_unquantized_weights_change(model: str):
    """Scales, zero points and groups, and so the bits of storage, stay; the model that comes back
    computes with the grid; the model and the matrices that were given stay.
    """
    cell = replace(CELL, model=replace(CELL.model, name=model))
    before = {name: value.clone() for name, value in trained(cell).state_dict().items()}
    start = rounded_to_nearest(cell, 3)
    found = tuned(cell, lr=1e-1)
    assert found.matrices.keys() == start.keys()
    for name, matrix in found.matrices.items():
        assert not torch.equal(matrix.codes_OI, start[name].codes_OI)
        assert torch.equal(matrix.scale_OG, start[name].scale_OG)
        assert torch.equal(matrix.group_I, start[name].group_I)
        assert matrix.n_bits == start[name].n_bits
        assert torch.equal(found.model.get_parameter(name), matrix.dequantized())
    assert not torch.equal(found.model.embedding, trained(cell).embedding)
    assert not torch.equal(found.model.final_norm.weight, trained(cell).final_norm.weight)
    for name, value in trained(cell).state_dict().items():
        assert torch.equal(value, before[name])


def test_fine_tuning_mends_what_two_bits_broke():
    """A few exposures bring back more than half of what rounding to 2 bits cost, in nats per token
    of text that neither training nor fine-tuning has seen.
    """
    fresh = windows(CELL, 10 * length_of(CELL).steps, 40)
    found = tuned(bits=2, lr=CELL.train.lr / LR_RATIO, exposures=10)
    with torch.no_grad():
        unquantized, mended = (model.loss(fresh) for model in (trained(CELL), found.model))
        broken = on_grid(trained(CELL), rounded_to_nearest(CELL, 2)).loss(fresh)
    assert broken > unquantized
    assert broken - mended > 0.5 * (broken - unquantized)


def test_without_a_grid_it_goes_on_with_the_training():
    """What fine-tuning on a grid is to be compared with: weights that were never rounded."""
    found = finetune(trained(CELL), {}, CELL, POINT, exposures=3)
    assert found.matrices == {}
    fresh = windows(CELL, 10 * length_of(CELL).steps, 40)
    with torch.no_grad():
        assert found.model.loss(fresh) < trained(CELL).loss(fresh)


def test_fine_tuning_is_the_same_twice():
    """On a CPU it depends on nothing but its arguments."""
    first, second = tuned(), tuned()
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])
