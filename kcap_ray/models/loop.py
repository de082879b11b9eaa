"""Weight-tied depth: the layers are passed through several times (Ouro, arXiv 2510.25741)."""

from kcap_ray.models.spec import ModelSpec


def passes(spec: ModelSpec) -> tuple[int, ...]:
    """Numbers of the layers in the order in which a token passes them: with two layers and two
    loops 0, 1, 0, 1.

    As in the paper the whole stack is passed through again, from what it left. There is no norm
    between, and no early exit.
    """
    return tuple(range(spec.n_layer)) * spec.n_loop
