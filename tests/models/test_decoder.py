import pytest
import torch

import kcap_ray.models.decoder
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import MODELS, random_decoder, random_tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_trials", [None, 2])
def test_no_logit_depends_on_a_later_token(name: str, n_trials: int | None) -> None:
    """The gradient of a logit at t is zero for the embeddings of tokens after t, only for those."""
    n_tokens = 5
    model = random_decoder(name, n_trials=n_trials)
    # All tokens differ, and the logit is that of one more: so the gradient of a row of the
    # embedding, tied or not, comes from the place of its token and from nowhere else.
    tokens_BT = torch.arange(n_tokens).unsqueeze(0)
    logits_BT = model(tokens_BT)[..., n_tokens]
    for t in range(n_tokens):
        (grad,) = torch.autograd.grad(logits_BT[..., t].sum(), model.embedding, retain_graph=True)
        is_used = (grad[..., :n_tokens, :] != 0).any(dim=-1)
        assert is_used[..., : t + 1].all()
        assert not is_used[..., t + 1 :].any()


@pytest.mark.slow
@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", MODELS)
def test_trials_with_weights_of_their_own_are_the_models_alone(name: str) -> None:
    """Logits, loss and gradients of E = 3 fused trials are those of the three models."""
    fused = random_decoder(name, n_trials=3)
    windows_BT1 = random_tokens(4, 13)
    logits_EBTV, loss_E = fused(windows_BT1[:, :-1]), fused.loss(windows_BT1)
    loss_E.sum().backward()
    assert logits_EBTV.shape == (3, 4, 12, 101)
    for trial in range(3):
        alone = fused.trial(trial)
        assert_same_but_for_rounding(logits_EBTV[trial], alone(windows_BT1[:, :-1]))
        loss = alone.loss(windows_BT1)
        assert_same_but_for_rounding(loss_E[trial], loss)
        loss.backward()
        for ours, theirs in zip(fused.parameters(), alone.parameters(), strict=True):
            assert ours.grad is not None
            assert theirs.grad is not None
            assert_same_but_for_rounding(ours.grad[trial], theirs.grad)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_trial_is_the_inverse_of_stacking(name: str) -> None:
    """Models stacked on the trials axis come back bit for bit, and as copies."""
    weights = [random_decoder(name, n_trials=2).trial(i).state_dict() for i in range(2)]
    fused = Decoder(random_decoder(name).spec, n_tokens=24, n_trials=2)
    fused.load_state_dict({key: torch.stack([w[key] for w in weights]) for key in weights[0]})
    for index, own in enumerate(weights):
        back = fused.trial(index)
        assert back.n_trials is None
        for key, value in back.state_dict().items():
            assert torch.equal(value, own[key])
            assert value.data_ptr() != fused.state_dict()[key][index].data_ptr()


def test_trial_of_a_model_without_trials_axis_is_a_copy_of_it() -> None:
    """`trial(0)` means the same with and without a trials axis."""
    model = random_decoder("gpt2-1-1")
    copy = model.trial(0)
    tokens_BT = random_tokens(1, 6)
    assert torch.equal(model(tokens_BT), copy(tokens_BT))
    assert model.embedding.data_ptr() != copy.embedding.data_ptr()


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-2-2", "mistral-2-4"])
def test_loss_is_the_mean_over_targets_of_the_nats(name: str) -> None:
    """Target t of a window is its token t + 1; the loss is the mean of -ln p over all of them."""
    model = random_decoder(name)
    windows_BT1 = random_tokens(3, 9)
    nats = [
        -model(row[None, :-1])[0, t].log_softmax(dim=-1)[row[t + 1]]
        for row in windows_BT1
        for t in range(8)
    ]
    assert_same_but_for_rounding(model.loss(windows_BT1), torch.stack(nats).mean())


@pytest.mark.usefixtures("in_float64")
def test_shorter_sequences_see_the_same_positions() -> None:
    """A prefix has the logits that it has within a longer sequence."""
    model = random_decoder("mistral-2-4")
    tokens_BT = random_tokens(2, 24)
    assert_same_but_for_rounding(model(tokens_BT[:, :7]), model(tokens_BT)[:, :7])


def test_every_trial_starts_from_the_weights_of_the_model_alone() -> None:
    """Trials of one cell differ by their settings only, and so does a cell that is not fused."""
    spec = parse_model("gpt2-2-2", head_dim=16, vocab_size=101)
    alone = Decoder(spec, n_tokens=8)
    fused = Decoder(spec, n_tokens=8, n_trials=3)
    other = Decoder(spec, n_tokens=8)
    alone.init_weights(seed=5, std=0.02)
    fused.init_weights(seed=5, std=0.02)
    other.init_weights(seed=6, std=0.02)
    for key, value in alone.state_dict().items():
        for index in range(3):
            assert torch.equal(fused.state_dict()[key][index], value)
    assert not torch.equal(alone.embedding, other.embedding)


def test_initial_weights_have_gpt2s_spread() -> None:
    """Matrices have the standard deviation asked for, residual ones that / sqrt(2 layers)."""
    model = Decoder(parse_model("gpt2-8-4", head_dim=16, vocab_size=2_000), n_tokens=8)
    model.init_weights(seed=0, std=0.02)
    weights = model.state_dict()
    deviations = {
        "embedding": 0.02,
        "blocks.0.attention.qkv.weight": 0.02,
        "blocks.0.mlp.up.weight": 0.02,
        "blocks.0.attention.out.weight": 0.02 / 4,
        "blocks.7.mlp.down.weight": 0.02 / 4,
    }
    for name, deviation in deviations.items():
        assert weights[name].std().item() == pytest.approx(deviation, rel=0.05)
    assert not weights["blocks.0.attention.qkv.bias"].any()
    assert (weights["final_norm.weight"] == 1).all()


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("n_trials", [None, 3])
def test_loss_in_parts_is_the_loss(n_trials: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not all logits fit, loss and gradient come out the same, whether the parts are equal or
    not.
    """
    model = random_decoder("gpt2-2-2", n_trials=n_trials)
    windows_BT1 = torch.randint(0, 101, (5, 25), generator=torch.Generator().manual_seed(0))
    found = []
    for n_rows in (1000, 40, 37):
        monkeypatch.setattr(
            kcap_ray.models.decoder, "LOGITS_AT_ONCE", n_rows * 101 * (n_trials or 1)
        )
        loss_E = model.loss(windows_BT1)
        found.append((loss_E, *torch.autograd.grad(loss_E.sum(), list(model.parameters()))))
    for in_parts in found[1:]:
        assert_same_but_for_rounding(in_parts, found[0])
