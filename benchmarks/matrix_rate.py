"""The ceiling for shares of arithmetic: large matrix products on the same device."""

import time
from collections.abc import Callable

import torch
from turns import wait


def matrix_flop_per_s(
    device: torch.device,
    dtype: torch.dtype,
    *,
    widths: tuple[int, ...],
    n_products: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """The best rate of products of square matrices of random numbers, of these widths."""
    return max(_rate(device, dtype, width, n_products, clock) for width in widths)


def _rate(
    device: torch.device,
    dtype: torch.dtype,
    width: int,
    n_products: int,
    clock: Callable[[], float],
) -> float:
    generator = torch.Generator(device).manual_seed(0)
    a, b = (
        torch.randn(width, width, device=device, generator=generator).to(dtype) for _ in range(2)
    )
    for _ in range(3):
        torch.matmul(a, b)
    wait(device)
    began = clock()
    for _ in range(n_products):
        torch.matmul(a, b)
    wait(device)
    return n_products * 2 * width**3 / (clock() - began)
