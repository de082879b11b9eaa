"""The work of a step, against the models that do it."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from kcap_ray.models import counts
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.moe import capacity
from kcap_ray.models.spec import parse_model
from kcap_ray.planning.step_work import TERMS, step_work
from kcap_ray.training.muon_matrices import matrices_inside
from tests.tiny import MODELS, random_tokens

VIEWS = {
    "view",
    "_unsafe_view",
    "transpose",
    "t",
    "expand",
    "unsqueeze",
    "split",
    "select",
    "slice",
}
VIEWS |= {"slice", "split_with_sizes", "detach", "permute", "alias", "unbind", "squeeze"}
PRODUCTS = {"mm", "bmm", "addmm", "baddbmm"}


class Counted(TorchDispatchMode):
    """Counts operators and the values that they write, views and matrix products aside."""

    def __init__(self):
        super().__init__()
        self.n_operators = self.n_values = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.n_operators += 1
            tensors = made if isinstance(made, tuple | list) else [made]
            if name not in PRODUCTS:
                self.n_values += sum(t.numel() for t in tensors if isinstance(t, torch.Tensor))
        return made


def counted(model, *, n_layer, n_windows, n_trials):
    """Operators and values of forward and backward."""
    spec = parse_model(model.replace("-L-", f"-{n_layer}-"), head_dim=16, vocab_size=101)
    decoder = Decoder(spec, n_tokens=24, n_trials=n_trials)
    with Counted() as count:
        loss, balance = decoder.loss_and_balance(random_tokens(n_windows, 25))
        (loss + balance).sum().backward()
    return count.n_operators, count.n_values


PARTS = ("", "-gated", "-mlp0", "-mlp1/4", "-canon", "-canonAC", "-rmsnorm", "-moe8", "-ssd")


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [None, 3])
@pytest.mark.parametrize("model", [f"gpt2-L-4{part}" for part in PARTS] + ["llama-L-4"])
def test_operators_and_values_are_those_that_torch_is_asked_for(model, n_trials):
    """Of a layer, to a fifth: two layers more, and for values twice the windows more, against the
    count of what PyTorch is asked for.
    """
    runs = {
        (layers, windows): counted(model, n_layer=layers, n_windows=windows, n_trials=n_trials)
        for layers in (1, 3)
        for windows in (4, 8)
    }
    spec = parse_model(model.replace("-L-", "-1-"), head_dim=16, vocab_size=101)
    work = step_work(spec, tokens=4 * 24, window_tokens=24, n_trials=n_trials or 1)
    operators = (runs[3, 4][0] - runs[1, 4][0]) / 2
    assert work["operators"] == pytest.approx(operators, rel=0.2)
    if spec.mixer == "ssd":
        # Its scores are counted as such, and here they would hide the rest.
        return
    by_windows = [(runs[3, windows][1] - runs[1, windows][1]) / 2 for windows in (4, 8)]
    values = by_windows[1] - by_windows[0]
    assert work["values"] == pytest.approx(values, rel=0.3)


@pytest.mark.parametrize("model", MODELS)
def test_operations_of_a_layer_are_six_for_each_weight_that_a_token_uses(model):
    """All matrices of the blocks count; norms, taps and rates hardly do. Experts count for the rows
    that they work on, and layers that are passed several times as often.
    """
    spec = parse_model(model, head_dim=16, vocab_size=101, capacity_factor=1.0)
    work = step_work(spec, tokens=480, window_tokens=24)
    used = counts.computed(spec)
    assert work["block_flop"] == pytest.approx(6 * 480 * used, rel=0.15)


@pytest.mark.parametrize("factor", [0.5, 1.3, 8.0])
def test_experts_work_on_all_their_places(factor):
    """The rows of a layer are those of models/moe.py, whatever the capacity."""
    few, more = (
        parse_model("gpt2-1-2-moe4", head_dim=16, vocab_size=101, capacity_factor=f)
        for f in (factor, 1.0)
    )
    flop = [step_work(spec, tokens=96, window_tokens=24)["block_flop"] for spec in (few, more)]
    rows = [4 * capacity(spec, 96) for spec in (few, more)]
    per_row = 6 * 2 * 32 * 32  # an expert is d -> d -> d
    assert flop[0] - flop[1] == pytest.approx((rows[0] - rows[1]) * per_row, rel=0.05)


@pytest.mark.parametrize("model", ["gpt2-2-2", "mistral-2-4", "gpt2-2-2-moe4", "llama-2-2-mlp0"])
def test_muon_works_on_the_matrices_that_it_steps(model):
    """Its operations are those of the iterations on every matrix of the model that it is given."""
    spec = parse_model(model, head_dim=16, vocab_size=101)
    matrices = [m for some in matrices_inside(Decoder(spec, n_tokens=8)).values() for m in some]
    sides = [(m.n, *sorted((m.n_rows, m.n_columns))) for m in matrices]
    expected = 5 * sum(n * (4 * r * r * c + 2 * r**3) for n, r, c in sides)
    work = step_work(spec, tokens=96, window_tokens=24, optimizer="muon")
    assert work["muon_flop"] == expected
    assert step_work(spec, tokens=96, window_tokens=24)["muon_flop"] == 0


def test_fused_trials_share_calls_alone():
    """All work but the step itself and calls of operators is that of one trial times the trials."""
    spec = parse_model("gpt2-2-2-moe4-ssd", head_dim=16, vocab_size=101)
    sizes = {"tokens": 96, "window_tokens": 24, "optimizer": "muon"}
    one, five = (step_work(spec, **sizes, n_trials=n) for n in (1, 5))
    for term in TERMS:
        if term == "step":
            assert one[term] == five[term] == 1
        elif term == "operators":
            assert one[term] < five[term] < 2 * one[term]
        else:
            assert five[term] == pytest.approx(5 * one[term]) and one[term] > 0
