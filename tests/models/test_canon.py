import pytest
import torch

from kcap_ray.models.canon import Canon
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder, random_tokens


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("trials", [(), (2,)])
def test_each_token_adds_up_its_last_four_and_no_other_sequence(trials: tuple[int, ...]) -> None:
    """y_t = x_t + sum of taps_k * x_{t-k} within the sequence, for every channel."""
    generator = torch.Generator().manual_seed(5)
    layer = Canon(trials, 6)
    with torch.no_grad():
        layer.taps.normal_(generator=generator)
    n_sequences, n_tokens = 3, 7
    x = torch.randn(*trials, n_sequences * n_tokens, 6, generator=generator)
    expected = x.clone()
    for row in range(n_sequences * n_tokens):
        for k in range(min(4, row % n_tokens + 1)):
            expected[..., row, :] += layer.taps[..., k] * x[..., row - k, :]
    assert_same_but_for_rounding(layer(x, n_tokens), expected)


@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-2-2", "mistral-2-4-ssd", "gpt2-2-2-moe3"])
def test_without_taps_the_model_is_the_one_without_the_layers(name: str) -> None:
    """Taps of 0 leave everything as it is, at every site; any other tap does not."""
    plain, with_layers = random_decoder(name), random_decoder(f"{name}-canon")
    assert set(plain.state_dict()) < set(with_layers.state_dict())
    with_layers.load_state_dict(plain.state_dict(), strict=False)
    taps = {key: p for key, p in with_layers.named_parameters() if key.endswith("taps")}
    assert len(taps) == plain.spec.n_layer * len(with_layers.spec.canon)
    tokens_BT = random_tokens(2, 12)
    with torch.no_grad():
        for tap in taps.values():
            tap.zero_()
        before = with_layers(tokens_BT)
        assert torch.equal(before, plain(tokens_BT))
        for tap in taps.values():
            tap.fill_(0.1)
            assert not torch.equal(with_layers(tokens_BT), before)
            tap.zero_()


def test_taps_start_uniform_as_those_of_a_convolution() -> None:
    """Within 1/sqrt(4), with the deviation of a uniform number; every trial has the same."""
    model = Decoder(
        parse_model("llama-4-4-canon", head_dim=16, vocab_size=101), n_tokens=8, n_trials=2
    )
    model.init_weights(seed=0, std=0.02)
    for key, tap in model.named_parameters():
        if key.endswith("taps"):
            assert tap.abs().max() <= 0.5
            assert tap[0].std().item() == pytest.approx(0.5 / 3**0.5, rel=0.1)
            assert torch.equal(tap[0], tap[1])
