import pytest

from kcap_ray.models.decoder import is_matrix
from kcap_ray.training.muon_matrices import matrices_inside
from tests.tiny import MODELS, random_decoder


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("n_trials", [None, 2])
def test_matrices_are_all_of_a_parameter(name: str, n_trials: int | None) -> None:
    """They fill it, trial by trial; embeddings and heads have none."""
    model = random_decoder(name, n_trials=n_trials)
    sizes = {key: p.numel() // (n_trials or 1) for key, p in model.named_parameters()}
    inside = matrices_inside(model)
    for key, matrices in inside.items():
        assert sum(some.n_weights for some in matrices) == sizes[key]
    assert inside.keys() <= {key for key in sizes if key.startswith("blocks.")}


@pytest.mark.parametrize("n_trials", [None, 2])
def test_maps_that_lie_side_by_side_are_matrices_of_their_own(n_trials: int | None) -> None:
    """Queries, keys and values apart, gate and value apart, each expert a matrix.

    With 16 wide heads, four of queries and one of keys and values; MLP and experts d = 64 wide.
    """
    shapes = {
        name: [(some.n, some.n_rows, some.n_columns) for some in matrices]
        for model in ("mistral-1-4-mlp1/4", "mistral-1-4-moe3-canon")
        for name, matrices in matrices_inside(random_decoder(model, n_trials=n_trials)).items()
    }
    assert shapes == {
        "blocks.0.attention.qkv.weight": [(1, 64, 64), (2, 16, 64)],
        "blocks.0.attention.out.weight": [(1, 64, 64)],
        "blocks.0.mlp.up.weight": [(2, 64, 64)],
        "blocks.0.mlp.down.weight": [(1, 64, 64)],
        "blocks.0.mlp.experts.up.weight": [(6, 64, 64)],
        "blocks.0.mlp.experts.down.weight": [(3, 64, 64)],
    }


def test_what_chooses_is_left_to_adamw() -> None:
    """Of the matrices in the blocks, Muon does not step the router and the step sizes of a head."""
    model = random_decoder("gpt2-1-2-ssd-moe3-canon")
    inside = matrices_inside(model)
    left = {
        name
        for name, _ in model.named_parameters()
        if name.startswith("blocks.") and is_matrix(name) and name not in inside
    }
    assert left == {"blocks.0.mlp.router.weight", "blocks.0.attention.step.weight"}
