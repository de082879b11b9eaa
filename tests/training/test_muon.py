import pytest
import torch

from kcap_ray.training.muon import EPS, Matrices, Muon, orthogonalized
from tests.rounding import assert_same_but_for_rounding

SHAPES = [(4, 4), (4, 12), (12, 4), (32, 8), (1, 7), (7, 1)]


def orthogonalized_by_svd(matrix_RC: torch.Tensor) -> torch.Tensor:
    """U f(S / |S|) V^T, with f the published quintic five times over."""
    u, s, vh = torch.linalg.svd(matrix_RC, full_matrices=False)
    x = s / (s.square().sum().sqrt() + EPS)
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
    return (u * x) @ vh


def random_matrices(n: int, shape: tuple[int, int], *, spread: float = 3.0) -> torch.Tensor:
    """Matrices of very different sizes, with singular values over `spread` orders of ten."""
    generator = torch.Generator().manual_seed(sum(shape))
    noise = torch.randn(n, *shape, generator=generator)
    u, s, vh = torch.linalg.svd(noise, full_matrices=False)
    s = 10 ** -torch.empty_like(s).uniform_(0, spread, generator=generator)
    sizes = 10 ** torch.empty(n, 1, 1).uniform_(-4, 4, generator=generator)
    return sizes * (u * s.unsqueeze(1)) @ vh


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("shape", SHAPES)
def test_each_singular_value_becomes_its_quintic_and_no_vector_turns(
    shape: tuple[int, int],
) -> None:
    """Of U S V^T, by a singular value decomposition, U f(S / |S|) V^T is left."""
    matrices_NRC = random_matrices(6, shape)
    expected = torch.stack([orthogonalized_by_svd(matrix_RC) for matrix_RC in matrices_NRC])
    assert_same_but_for_rounding(orthogonalized(matrices_NRC), expected)


def test_the_result_is_nearly_orthogonal() -> None:
    """Singular values of 0.2% of the norm and more come out in the quintic's band, [0.68, 1.21].

    In bfloat16 they come out in [0.5, 1.5], which the authors of Muon found to do no harm. With
    values in [m, M] the cosine to the orthogonal factor U V^T is at least 2 sqrt(m M) / (m + M)
    (Kantorovich's inequality).
    """
    matrices_NRC = random_matrices(20, (6, 10), spread=2.0)
    u, s, vh = torch.linalg.svd(matrices_NRC.double(), full_matrices=False)
    assert (s / s.norm(dim=-1, keepdim=True)).min() > 2e-3
    for dtype, low, high in ((torch.float32, 0.68, 1.21), (torch.bfloat16, 0.5, 1.5)):
        found = orthogonalized(matrices_NRC.to(dtype)).double()
        values = torch.linalg.svdvals(found)
        assert values.min() > low
        assert values.max() < high
        cosine = torch.cosine_similarity(found.flatten(1), (u @ vh).flatten(1))
        assert cosine.min() > 2 * (low * high) ** 0.5 / (low + high)


def test_a_matrix_of_zeros_stays() -> None:
    """It has no direction; nothing is divided by its norm."""
    assert not orthogonalized(torch.zeros(2, 3, 5)).any()


@pytest.mark.usefixtures("in_float64")
def test_steps_are_those_of_a_plain_loop_over_matrices() -> None:
    """20 steps of changing rate equal a slow reference of each matrix and trial alone.

    Stacks, tall, wide and square matrices lie in one row of weights.
    """
    matrices = [Matrices(2, 4, 6), Matrices(1, 6, 4), Matrices(3, 4, 4), Matrices(1, 4, 6)]
    n_weights = sum(some.n_weights for some in matrices)
    generator = torch.Generator().manual_seed(0)
    start_EQ = torch.randn(2, n_weights, generator=generator)
    lr_E1, decay_E1 = torch.tensor([[3e-2], [1e-3]]), torch.tensor([[0.1], [2.0]])
    weights_EQ = start_EQ.clone()
    muon = Muon(
        weights_EQ, matrices, lr_E1=lr_E1, decay_rate_E1=lr_E1 * decay_E1, dtype=torch.float64
    )
    expected, momenta = start_EQ.clone(), torch.zeros_like(start_EQ)
    for step in range(20):
        grad_EQ = torch.randn(2, n_weights, generator=generator)
        ratio = (step + 1) / 20
        muon.step(grad_EQ, ratio)
        for trial in range(2):
            lr, decay = ratio * lr_E1[trial].item(), decay_E1[trial].item()
            start = 0
            for some in matrices:
                for _ in range(some.n):
                    stop = start + some.n_rows * some.n_columns
                    place = (trial, slice(start, stop))
                    grad = grad_EQ[place]
                    momenta[place] = 0.95 * momenta[place] + grad
                    direction = (grad + 0.95 * momenta[place]).view(some.n_rows, some.n_columns)
                    update = 0.2 * max(direction.shape) ** 0.5 * orthogonalized_by_svd(direction)
                    expected[place] -= lr * (decay * expected[place] + update.flatten())
                    start = stop
    assert_same_but_for_rounding(weights_EQ, expected)
