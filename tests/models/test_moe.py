import math
from typing import Any

import pytest
import torch
from torch import Tensor

from kcap_ray.models.decoder import Decoder
from kcap_ray.models.moe import MixtureOfExperts, capacity
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder, random_tokens


def first_mixture(name: str, **settings: Any) -> MixtureOfExperts:
    """The mixture of a random model's first layer."""
    return next(
        part
        for part in random_decoder(name, **settings).modules()
        if isinstance(part, MixtureOfExperts)
    )


def random_rows(*shape: int) -> Tensor:
    """Inputs of a mixture, large enough for the router to take sides."""
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def by_a_loop(mixture: MixtureOfExperts, x_MD: Tensor) -> tuple[Tensor, Tensor, int]:
    """Change, loss of balance and dropped choices, one token after the other."""
    spec = mixture.spec
    n_places = capacity(spec, len(x_MD)) if mixture.training else len(x_MD)
    experts: Any = mixture.experts
    up, down = experts.up, experts.down
    taken = [0] * spec.n_expert
    n_chosen = torch.zeros(spec.n_expert)
    probs_X = torch.zeros(spec.n_expert)
    change_MD, n_dropped = torch.zeros_like(x_MD), 0
    for token, x_D in enumerate(x_MD):
        probs = torch.softmax(mixture.router.weight @ x_D, dim=0)
        probs_X += probs / len(x_MD)
        order = probs.argsort(descending=True)[: spec.experts_per_token].tolist()
        total = sum(probs[x] for x in order) if len(order) > 1 else 1.0
        for expert in order:
            n_chosen[expert] += 1
            if taken[expert] == n_places:
                n_dropped += 1
                continue
            taken[expert] += 1
            hidden = up.weight[expert] @ x_D
            if up.bias is not None:
                hidden = hidden + up.bias[expert]
            if spec.mlp == "gated":
                gate, value = hidden.chunk(2)
                hidden = torch.nn.functional.silu(gate) * value
            else:
                hidden = torch.nn.functional.gelu(hidden, approximate="tanh")
            out = down.weight[expert] @ hidden
            if down.bias is not None:
                out = out + down.bias[expert]
            change_MD[token] += probs[expert] / total * out
    share = n_chosen / n_chosen.sum()
    return change_MD, spec.n_expert * (share * probs_X).sum(), n_dropped


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", ["gpt2-1-2-moe5", "llama-1-2-moe4"])
@pytest.mark.parametrize("per_token", [1, 2])
@pytest.mark.parametrize("factor", [0.5, 1.0, 8.0])
def test_mixture_is_a_plain_loop_over_tokens(name: str, per_token: int, factor: float) -> None:
    """Outputs, losses of balance and gradients of the router are the loop's, with tokens dropped
    and without.
    """
    mixture = first_mixture(name, experts_per_token=per_token, capacity_factor=factor)
    x_MD = random_rows(30, 32)
    change_MD, balance = mixture(x_MD)
    expected_MD, expected_balance, n_dropped = by_a_loop(mixture, x_MD)
    assert (n_dropped > 0) == (factor < 8)
    assert_same_but_for_rounding(change_MD, expected_MD)
    assert_same_but_for_rounding(balance, expected_balance)
    weight = mixture.router.weight
    (ours,) = torch.autograd.grad(change_MD.square().sum() + balance, weight)
    (theirs,) = torch.autograd.grad(expected_MD.square().sum() + expected_balance, weight)
    assert_same_but_for_rounding(ours, theirs)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-2-2-tied", "gpt2-2-2-canonABC"])
def test_one_expert_is_the_dense_model(name: str) -> None:
    """The same weights give the same logits and gradients as the MLP of that width."""
    dense = random_decoder(f"{name}-mlp1/4")
    mixture = random_decoder(f"{name}-moe1", capacity_factor=1.0)
    shared = {
        key.replace(".mlp.", ".mlp.experts."): value.unsqueeze(0) if ".mlp." in key else value
        for key, value in dense.state_dict().items()
    }
    missing, unexpected = mixture.load_state_dict(shared, strict=False)
    assert all(key.endswith("router.weight") for key in missing)
    assert not unexpected
    windows_BT1 = random_tokens(3, 13)
    assert_same_but_for_rounding(mixture(windows_BT1), dense(windows_BT1))
    loss, balance = mixture.loss_and_balance(windows_BT1)
    assert balance == mixture.spec.n_layer
    (loss + balance).backward()
    dense.loss(windows_BT1).backward()
    grads = {key: p.grad for key, p in mixture.named_parameters()}
    for key, parameter in dense.named_parameters():
        ours = grads[key.replace(".mlp.", ".mlp.experts.")]
        assert ours is not None
        assert parameter.grad is not None
        assert_same_but_for_rounding(ours.view(parameter.shape), parameter.grad)
    routers = [grad for key, grad in grads.items() if "router" in key]
    assert not any(grad.any() for grad in routers if grad is not None)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("per_token", [1, 2])
def test_no_token_takes_the_place_of_an_earlier_one(per_token: int) -> None:
    """Other tokens later in a full batch change nothing before them, dropped tokens included."""
    mixture = first_mixture("gpt2-1-2-moe4", experts_per_token=per_token, capacity_factor=0.5)
    x_MD = random_rows(24, 32)
    change_MD, _ = mixture(x_MD)
    assert by_a_loop(mixture, x_MD)[2] > 0
    for t in range(1, 24):
        other_MD = torch.cat([x_MD[:t], -x_MD[t:]])
        assert_same_but_for_rounding(mixture(other_MD)[0][:t], change_MD[:t])


def test_dropped_tokens_pass_by_the_residual_alone() -> None:
    """With room for one token, all others of the same kind are left as they are."""
    mixture = first_mixture("gpt2-1-2-moe4", capacity_factor=0.1)
    x_MD = random_rows(1, 32).expand(9, 32)
    change_MD, _ = mixture(x_MD)
    assert change_MD[0].all()
    assert not change_MD[1:].any()


@pytest.mark.usefixtures("in_float64")
def test_balance_is_1_when_even_and_the_number_of_experts_when_one_does_all() -> None:
    """The loss of balance of an even and of a one-sided router, and the loads that go with them."""
    mixture = first_mixture("gpt2-1-2-moe4")
    x_MD = torch.eye(4, 32).repeat(5, 1)
    with torch.no_grad():
        mixture.router.weight.copy_(100 * torch.eye(4, 32))
    assert_same_but_for_rounding(mixture(x_MD)[1], torch.tensor(1.0))
    assert mixture.load_EX.tolist() == [0.25] * 4
    assert_same_but_for_rounding(mixture(x_MD[2:3].expand(20, 32))[1], torch.tensor(4.0))
    assert mixture.load_EX.tolist() == [0, 0, 1, 0]


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("n_trials", [None, 2])
def test_loads_are_shares_of_each_trial_and_layer(n_trials: int | None) -> None:
    """`expert_load` is [*E, layers, experts], sums to 1, and is each trial's own."""
    model = random_decoder("gpt2-3-2-moe5", n_trials=n_trials, experts_per_token=2)
    windows_BT1 = random_tokens(4, 13)
    model.loss(windows_BT1)
    load = model.expert_load
    assert load is not None
    assert not load.requires_grad
    assert load.shape == (*(() if n_trials is None else (n_trials,)), 3, 5)
    assert_same_but_for_rounding(load.sum(dim=-1), torch.ones(load.shape[:-1]))
    for index in range(n_trials or 0):
        alone = model.trial(index)
        alone.loss(windows_BT1)
        assert alone.expert_load is not None
        assert torch.equal(alone.expert_load, load[index])
    assert random_decoder("gpt2-1-1").expert_load is None


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("n_trials", [None, 2])
def test_balance_of_fused_trials_is_that_of_each_alone(n_trials: int | None) -> None:
    """Losses of balance add up over the layers, are differentiable, and 0 without experts."""
    model = random_decoder("llama-2-2-moe3", n_trials=n_trials)
    windows_BT1 = random_tokens(4, 13)
    loss, balance = model.loss_and_balance(windows_BT1)
    assert_same_but_for_rounding(loss, model.loss(windows_BT1))
    assert balance.shape == loss.shape
    assert (balance > 1.5).all()
    assert balance.requires_grad
    for index in range(n_trials or 0):
        alone = model.trial(index).loss_and_balance(windows_BT1)[1]
        assert_same_but_for_rounding(alone, balance[index])
    dense = random_decoder("llama-2-2", n_trials=n_trials)
    assert not dense.loss_and_balance(windows_BT1)[1].any()


def test_measurement_has_more_room_than_training() -> None:
    """Places follow the factor in training, never exceed the tokens, and end there."""
    spec = first_mixture("gpt2-1-1-moe32").spec
    assert capacity(spec, 6_144) == 2 * 6_144 / 32
    assert capacity(spec, 33) == math.ceil(2 * 33 / 32)
    assert capacity(first_mixture("gpt2-1-1-moe2").spec, 100) == 100
    model = random_decoder("gpt2-2-2-moe4", capacity_factor=0.3)
    tokens_BT = random_tokens(3, 20)
    in_training = model(tokens_BT)
    assert not torch.allclose(model.eval()(tokens_BT), in_training)


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", ["gpt2-2-2-moe4", "gpt2-2-2-moe32", "llama-2-2-moe16"])
@pytest.mark.parametrize("experts_per_token", [1, 2])
@pytest.mark.parametrize("n_trials", [None, 2])
def test_outside_of_training_a_token_does_not_feel_its_company(
    name: str, experts_per_token: int, n_trials: int | None
) -> None:
    """Logits are the same alone, beside other rows, and before padding."""
    settings: Any = {"experts_per_token": experts_per_token, "capacity_factor": 0.5, "n_tokens": 84}
    model = random_decoder(name, n_trials=n_trials, **settings).eval()
    tokens_BT = random_tokens(5, 24)
    together = model(tokens_BT)
    padded_BT = torch.cat([tokens_BT, tokens_BT.new_zeros(5, 60)], dim=1)
    assert_same_but_for_rounding(model(padded_BT)[..., :24, :], together)
    for row in range(5):
        alone = model(tokens_BT[row : row + 1])
        assert_same_but_for_rounding(alone, together[..., row : row + 1, :, :])


def test_routers_do_not_feel_a_low_precision() -> None:
    """In bfloat16 every token goes where it goes in float32, for one and the same input."""
    mixture = first_mixture("gpt2-1-4-moe32")
    x_MD = random_rows(200, 64)
    mixture(x_MD)
    load = mixture.load_EX.clone()
    with torch.autocast("cpu", torch.bfloat16):
        change_MD, balance = mixture(x_MD)
    assert torch.equal(mixture.load_EX, load)
    assert torch.isfinite(change_MD).all()
    assert balance.dtype == torch.float32


def test_experts_start_apart_and_small_where_they_end_in_the_residual() -> None:
    """Each expert has its own initial weights, with the spread of the MLP in whose place it is."""
    model = Decoder(first_mixture("gpt2-8-4-moe8").spec, n_tokens=8)
    model.init_weights(seed=0, std=0.02)
    weights = model.state_dict()
    down = weights["blocks.3.mlp.experts.down.weight"]
    assert down.std().item() == pytest.approx(0.02 / 4, rel=0.05)
    assert weights["blocks.3.mlp.experts.up.weight"].std().item() == pytest.approx(0.02, rel=0.05)
    assert weights["blocks.3.mlp.router.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert not torch.equal(down[0], down[1])
