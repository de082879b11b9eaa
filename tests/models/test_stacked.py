import pytest
import torch
from torch import nn

from kcap_ray.models.decoder import Decoder
from kcap_ray.models.stacked import StackedLinear, linear
from tests.rounding import assert_same_but_for_rounding
from tests.tiny import random_decoder


@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-2-2", "mistral-2-4-ssd-canon"])
def test_a_model_without_trials_is_made_of_torchs_own_linear_layers(name: str) -> None:
    """Quantizers find what to quantize by type: every matrix within a layer is an `nn.Linear`."""
    model = random_decoder(name)
    found = {f"{key}.weight" for key, m in model.named_modules() if type(m) is nn.Linear}
    matrices = {key for key, p in model.named_parameters() if ".weight" in key and p.dim() == 2}
    assert found == matrices != set()


@pytest.mark.parametrize("name", ["gpt2-2-2", "gpt2-2-2-moe4-canon-ssd"])
@pytest.mark.parametrize("n_trials", [None, 2])
def test_building_a_model_draws_nothing_from_the_global_generator(
    name: str, n_trials: int | None
) -> None:
    """Weights come from the seed alone, and nobody else's random numbers change."""
    before = torch.get_rng_state()
    spec = random_decoder(name).spec
    Decoder(spec, n_tokens=8, n_trials=n_trials).init_weights(seed=0, std=0.02)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("bias", [True, False])
def test_a_stack_of_stacks_is_its_layers_one_by_one(bias: bool) -> None:
    """[2 trials, 3 experts] of linear layers equal six of torch's, in the order of the axes."""
    generator = torch.Generator().manual_seed(6)
    stacked = linear((2, 3), 4, 5, bias=bias)
    assert isinstance(stacked, StackedLinear)
    with torch.no_grad():
        for parameter in stacked.parameters():
            parameter.normal_(generator=generator)
    x_SMI = torch.randn(6, 7, 4, generator=generator)
    for index, y_MO in enumerate(stacked(x_SMI)):
        trial, expert = divmod(index, 3)
        alone = linear((), 4, 5, bias=bias)
        own = {key: value[trial, expert] for key, value in stacked.state_dict().items()}
        alone.load_state_dict(own)
        assert_same_but_for_rounding(y_MO, alone(x_SMI[index]))
