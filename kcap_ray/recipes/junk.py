"""The hyper-parameters that arXiv 2404.05405 (version 1) prints for data that are mostly junk
(Param 10, figure 8): GPT2 on bioS. The precision is not printed; fp16 as without junk.
"""

from collections.abc import Mapping
from typing import Literal

from kcap_ray.recipes.recipe import Rows, table

RATIO = 7.0
"""Tokens of junk for each useful one."""

N_REPETITIVE = 1_000
"""Junk people in case (b), each seen very often; cases (a) and (c) have 100 million."""

JunkCase = Literal["random", "repetitive", "token"]
"""Cases (a), (b) and (c) of the paper's appendix E."""

_LOW_TO_MIDDLE = (3e-4, 5e-4, 1e-3)

JUNK: Mapping[tuple[JunkCase, int], Rows] = {
    ("random", 100): table(
        "Param 10, figure 8(b)",
        "fp16",
        (
            (50_000, 0.01, _LOW_TO_MIDDLE, 12),
            (100_000, 0.01, _LOW_TO_MIDDLE, 24),
            (200_000, 0.01, _LOW_TO_MIDDLE, 48),
            (500_000, 0.005, (5e-5, 1e-4, 2e-4, 3e-4, 5e-4), 192),
            (1_000_000, 0.005, (5e-5, 1e-4, 2e-4, 3e-4, 5e-4), 192),
        ),
    ),
    ("random", 300): table(
        "Param 10, figure 8(c)",
        "fp16",
        (
            (50_000, 0.01, _LOW_TO_MIDDLE, 96),
            (100_000, 0.01, _LOW_TO_MIDDLE, 192),
            (200_000, 0.01, _LOW_TO_MIDDLE, 192),
            (500_000, 0.01, _LOW_TO_MIDDLE, 192),
        ),
    ),
    ("random", 600): table(
        "Param 10, figure 8(d)",
        "fp16",
        (
            (50_000, 0.01, _LOW_TO_MIDDLE, 384),
            (100_000, 0.01, _LOW_TO_MIDDLE, 384),
            (200_000, 0.01, _LOW_TO_MIDDLE, 384),
            (500_000, 0.002, _LOW_TO_MIDDLE, 768),
        ),
    ),
    ("random", 1000): table(
        "Param 10, figure 8(e)",
        "fp16",
        (
            (50_000, 0.01, (5e-4, 1e-3), 384),
            (100_000, 0.01, (5e-4, 1e-3), 768),
            (200_000, 0.01, (5e-4, 1e-3), 1536),
        ),
    ),
    ("repetitive", 100): table(
        "Param 10, figure 8(f)",
        "fp16",
        (
            (50_000, 0.01, (3e-4, 5e-4), 12),
            (100_000, 0.01, (3e-4, 5e-4), 24),
            (200_000, 0.01, _LOW_TO_MIDDLE, 96),
            (500_000, 0.01, (3e-4, 5e-4), 192),
            (1_000_000, 0.01, (3e-4,), 192),
        ),
    ),
    ("token", 100): table(
        "Param 10, figure 8(g)",
        "fp16",
        (
            (50_000, 0.01, _LOW_TO_MIDDLE, 12),
            (100_000, 0.01, _LOW_TO_MIDDLE, 24),
            (200_000, 0.01, (2e-4, 3e-4, 5e-4, 1e-3), 96),
            (500_000, 0.005, (2e-4, 3e-4, 5e-4), 192),
            (1_000_000, 0.005, (2e-4, 3e-4, 5e-4), 192),
        ),
    ),
    ("token", 300): table(
        "Param 10, figure 8(h)",
        "fp16",
        (
            (50_000, 0.01, _LOW_TO_MIDDLE, 96),
            (100_000, 0.01, _LOW_TO_MIDDLE, 192),
            (200_000, 0.01, _LOW_TO_MIDDLE, 192),
            (500_000, 0.005, _LOW_TO_MIDDLE, 384),
        ),
    ),
}
"""(case, exposures) -> settings by useful people."""
