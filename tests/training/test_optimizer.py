from typing import Any, get_args

import pytest
import torch

from kcap_ray.config.cell import Optimizer, TrainConfig
from kcap_ray.models.decoder import Decoder
from kcap_ray.training.optimizer import FusedOptimizer
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder

N_STEPS = 50
OPTIMIZERS = get_args(Optimizer)
SETTINGS = ((1e-2, 0.1), (3e-3, 2.0), (1e-3, 0.0))
"""Learning rate and weight decay of three trials."""


def config(**settings: Any) -> TrainConfig:
    """The paper's AdamW, unless settings say otherwise."""
    return TrainConfig(
        exposures=1,
        lr=1.0,
        weight_decay=0.0,
        batch_windows=1,
        **{"precision": "fp32", **settings},
    )


def fused_optimizer(model: Decoder, **settings: Any) -> FusedOptimizer:
    """The optimizer of three trials."""
    rates, decays = zip(*SETTINGS, strict=True)
    return FusedOptimizer(model, rates, decays, config(**settings))


def torch_optimizer(model: Decoder, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """The same in torch: matrices and embeddings decay, biases and norms do not."""
    groups: dict[float, list[torch.nn.Parameter]] = {weight_decay: [], 0.0: []}
    for name, parameter in model.named_parameters():
        is_decayed = not name.endswith("bias") and "norm" not in name
        groups[weight_decay if is_decayed else 0.0].append(parameter)
    return torch.optim.AdamW(
        [{"params": params, "weight_decay": decay} for decay, params in groups.items()],
        lr=lr,
        betas=(0.9, 0.98),
        eps=1e-6,
    )


def random_gradients(model: Decoder, step: int) -> dict[str, torch.Tensor]:
    """A gradient for every parameter, of sizes from 1e-6 to 1."""
    generator = torch.Generator().manual_seed(step)
    return {
        name: torch.randn(parameter.shape, generator=generator)
        * 10 ** -torch.empty(parameter.shape).uniform_(0, 6, generator=generator)
        for name, parameter in model.named_parameters()
    }


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", ["gpt2-1-1", "llama-1-1"])
@pytest.mark.parametrize("grad_clip", [None, 2.0])
def test_every_trial_is_stepped_as_by_torchs_adamw(name: str, grad_clip: float | None) -> None:
    """Over 50 steps of changing rate, with weight decay and clipping."""
    fused = random_decoder(name, n_trials=3)
    alone = [fused.trial(trial) for trial in range(3)]
    optimizer = fused_optimizer(fused, grad_clip=grad_clip)
    references = [torch_optimizer(m, *s) for m, s in zip(alone, SETTINGS, strict=True)]
    for step in range(N_STEPS):
        grads = random_gradients(fused, step)
        ratio = (step + 1) / N_STEPS
        for key, parameter in fused.named_parameters():
            parameter.grad = grads[key].clone()
        optimizer.step(optimizer.clip(optimizer.gradient()), ratio)
        for trial, (model, reference) in enumerate(zip(alone, references, strict=True)):
            for key, parameter in model.named_parameters():
                parameter.grad = grads[key][trial].clone()
            if grad_clip is not None:
                own = [grads[key][trial] for key, _ in model.named_parameters()]
                norm = torch.nn.utils.get_total_norm(own)
                # torch divides by the norm plus 1e-6, which is more than rounding.
                torch.nn.utils.clip_grads_with_norm_(model.parameters(), grad_clip, norm - 1e-6)
            for group in reference.param_groups:
                group["lr"] = ratio * SETTINGS[trial][0]
            reference.step()
    for trial, model in enumerate(alone):
        for ours, theirs in zip(fused.parameters(), model.parameters(), strict=True):
            assert_same_but_for_rounding(ours[trial], theirs)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_trial_that_is_not_active_stays_as_it_is(name: str) -> None:
    """Its weights and moments do not move, even where its gradient is not finite.

    The others do what they do when all are active.
    """
    masked, free = random_decoder("gpt2-1-1", n_trials=3), random_decoder("gpt2-1-1", n_trials=3)
    masked_optimizer = fused_optimizer(masked, optimizer=name)
    free_optimizer = fused_optimizer(free, optimizer=name)
    before = {key: value.clone() for key, value in masked_optimizer.state().items()}
    grad_EP = torch.randn_like(before["weights"])
    free_optimizer.step(grad_EP, 1.0)
    grad_EP[1, ::7] = torch.inf
    masked_optimizer.step(grad_EP, 1.0, torch.tensor([[True], [False], [True]]))
    for key, value in masked_optimizer.state().items():
        assert torch.equal(value[1], before[key][1])
        assert torch.equal(value[[0, 2]], free_optimizer.state()[key][[0, 2]])


@pytest.mark.usefixtures("in_float64")
def test_clipping_scales_down_long_gradients_only() -> None:
    """Each trial's norm is its own, and a gradient of zeros or of the allowed length stays."""
    optimizer = fused_optimizer(random_decoder("gpt2-1-1", n_trials=3), grad_clip=5.0)
    grad_EP = torch.zeros(3, 10)
    grad_EP[0, :2] = torch.tensor([3.0, 4.0])
    grad_EP[1, :2] = torch.tensor([30.0, 40.0])
    clipped_EP = optimizer.clip(grad_EP)
    assert_same_but_for_rounding(clipped_EP[0], grad_EP[0])
    assert_same_but_for_rounding(clipped_EP[1], grad_EP[1] / 10)
    assert not clipped_EP[2].any()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_model_follows_a_state_that_is_loaded(name: str) -> None:
    """`load` is the inverse of `state`, moments included, down to the model's parameters."""
    model, other = random_decoder("llama-1-1", n_trials=3), random_decoder("llama-1-1", n_trials=3)
    optimizer = fused_optimizer(model, optimizer=name)
    loaded = fused_optimizer(other, optimizer=name)
    grad_EP = torch.randn_like(optimizer.weights_EP)
    optimizer.step(grad_EP, 1.0)
    loaded.load({key: value.clone() for key, value in optimizer.state().items()})
    for _ in range(2):
        optimizer.step(grad_EP, 0.5)
        loaded.step(grad_EP, 0.5)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_muon_leaves_all_but_the_matrices_of_the_blocks_to_adamw(precision: str) -> None:
    """Those others move as with AdamW alone; the matrices move elsewhere.

    Their step's root mean square is that of AdamW's first step, lr, within a factor of 0.1 to 0.3
    (0.2 times a factor near 1, from the nearly equal singular values).
    """
    models = [random_decoder("llama-1-2-untied", n_trials=3) for _ in OPTIMIZERS]
    before = {key: value.clone() for key, value in models[0].named_parameters()}
    grads = random_gradients(models[0], 0)
    for model, name in zip(models, OPTIMIZERS, strict=True):
        optimizer = fused_optimizer(model, optimizer=name, precision=precision)
        for key, parameter in model.named_parameters():
            parameter.grad = grads[key].clone()
        optimizer.step(optimizer.gradient(), 1.0)
    adamw, muon = (dict(model.named_parameters()) for model in models)
    for key in before:
        is_matrix_inside = key.startswith("blocks.") and "norm" not in key
        if not is_matrix_inside:
            assert_same_but_for_rounding(adamw[key], muon[key])
            continue
        assert not torch.allclose(adamw[key], muon[key])
        for trial, (lr, decay) in enumerate(SETTINGS):
            moved = muon[key][trial] - before[key][trial] * (1 - lr * decay)
            ratio = moved.square().mean().sqrt().item() / lr
            assert 0.1 < ratio < 0.3
