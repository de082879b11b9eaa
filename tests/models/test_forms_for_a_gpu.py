"""What is written in another way for a GPU computes the same: each form is tried on this CPU."""

import pytest
import torch

from kcap_ray.models import decoder, ssd, stacked
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model

N_TOKENS, VOCABULARY = 12, 27


def loss_and_gradients(name: str, n_trials: int | None) -> dict[str, torch.Tensor]:
    """In float64, by the name of the weight."""
    spec = parse_model(name, head_dim=8, vocab_size=VOCABULARY)
    model = Decoder(spec, n_tokens=N_TOKENS, n_trials=n_trials).double()
    model.init_weights(seed=3, std=0.3)
    windows = torch.randint(VOCABULARY, (5, N_TOKENS + 1), generator=torch.manual_seed(1))
    loss = model.loss(windows)
    loss.sum().backward()
    found = {"loss": loss.detach(), "logits": model(windows[:, 1:]).detach()}
    for key, weight in model.named_parameters():
        assert weight.grad is not None
        found[key] = weight.grad
    return found


@pytest.mark.parametrize("n_trials", [None, 3])
@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-1-2", "gpt2-2-2-ssd-canon", "gpt2-2-1-moe4"])
def test_forms_for_a_gpu_compute_the_same(
    name: str, n_trials: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = loss_and_gradients(name, n_trials)
    monkeypatch.setattr(decoder, "ALIGNED_ROWS", {"cpu": 64})
    monkeypatch.setattr(stacked, "BIAS_APART", ("cpu",))
    monkeypatch.setattr(ssd, "SUMS_BY_PRODUCT", ("cpu",))
    for key, found in loss_and_gradients(name, n_trials).items():
        torch.testing.assert_close(found, written[key], rtol=1e-9, atol=1e-12, msg=key)
