"""The hyper-parameters that arXiv 2404.05405 (version 1) prints for useful data alone, and those of
arXiv 2512.17351 (Part 4.1) for architectures that only that paper has.
"""

from collections.abc import Mapping
from typing import Any, Literal

from kcap_ray.recipes.recipe import Numbers, Recipe, Rows, table

_GPT2_1000_NUMBERS: Numbers = (
    (10_000, 0.02, (1e-3,), 24, 140_000),
    (20_000, 0.02, (1e-3,), 48, 140_000),
    (50_000, 0.02, (1e-3,), 96, 175_000),
    (100_000, 0.02, (1e-3,), 192, 175_000),
    (200_000, 0.02, (1e-3,), 192, 349_000),
    (500_000, 0.01, (5e-4,), 192, 435_000),
    (1_000_000, 0.01, (5e-4,), 192, 870_000),
    (2_000_000, 0.005, (3e-4,), 1536, 220_000),
    (5_000_000, 0.002, (3e-4,), 1536, 540_000),
    (10_000_000, 0.001, (3e-4,), 1536, 1_000_000),
)
_GPT2_1000 = table("Param 1", "fp16", _GPT2_1000_NUMBERS)
_SIMPLE_AND_REWRITTEN_1000 = table("Param 4", "fp16", _GPT2_1000_NUMBERS)

_ONE_RATE_100: Numbers = (
    (50_000, 0.01, (1e-3,), 12),
    (100_000, 0.01, (1e-3,), 24),
    (200_000, 0.01, (1e-3,), 48),
    (500_000, 0.01, (5e-4,), 96),
    (1_000_000, 0.01, (5e-4,), 192),
)
_GPT2_100 = table(
    "Param 2",
    "fp16",
    (
        *_ONE_RATE_100,
        (2_000_000, 0.01, (3e-4, 5e-4, 1e-3), 384),
        (5_000_000, 0.01, (3e-4, 5e-4), 768),
        (10_000_000, 0.01, (2e-4, 3e-4, 5e-4), 1024),
        (20_000_000, 0.002, (2e-4, 3e-4, 5e-4), 1536),
    ),
)

_LLAMA_1000 = table(
    "Param 6",
    "fp16",
    (
        (10_000, 0.02, (5e-4, 1e-3, 2e-3), 24),
        (20_000, 0.02, (5e-4, 1e-3, 2e-3), 48),
        (50_000, 0.02, (5e-4, 1e-3, 2e-3), 96),
        (100_000, 0.02, (5e-4, 1e-3, 2e-3), 192),
        (200_000, 0.02, (5e-4, 1e-3, 2e-3), 192),
        (500_000, 0.01, (2e-4, 3e-4, 5e-4), 192),
        (1_000_000, 0.01, (2e-4, 3e-4, 5e-4), 192),
    ),
) + table(
    "Param 6",
    "bf16",
    (
        (2_000_000, 0.005, (3e-4, 5e-4, 1e-3), 1536),
        (5_000_000, 0.002, (3e-4, 5e-4, 1e-3), 1536),
        (10_000_000, 0.001, (3e-4, 5e-4, 1e-3), 1536),
    ),
)

_THREE_RATES_100: Numbers = (
    (50_000, 0.01, (3e-4, 5e-4, 1e-3), 12),
    (100_000, 0.01, (3e-4, 5e-4, 1e-3), 24),
    (200_000, 0.01, (3e-4, 5e-4, 1e-3), 48),
    (500_000, 0.01, (2e-4, 3e-4, 5e-4), 96),
    (1_000_000, 0.01, (2e-4, 3e-4, 5e-4), 192),
)
_LLAMA_100 = table(
    "Param 7(a)",
    "bf16",
    (
        *_THREE_RATES_100,
        (2_000_000, 0.01, (3e-4, 5e-4, 1e-3), 384),
        (5_000_000, 0.01, (3e-4, 5e-4, 1e-3), 768),
        (10_000_000, 0.01, (3e-4, 5e-4, 1e-3), 1536),
        (20_000_000, 0.002, (3e-4, 5e-4, 1e-3), 1536),
    ),
)
_QUARTER_MLP_100 = table(
    "Param 7(b)",
    "fp16",
    (
        (50_000, 0.01, (5e-4, 1e-3), 12),
        (100_000, 0.01, (5e-4, 1e-3), 24),
        (200_000, 0.01, (5e-4, 1e-3), 48),
        (500_000, 0.01, (3e-4, 5e-4), 96),
        (1_000_000, 0.01, (3e-4, 5e-4), 192),
    ),
)
_NO_MLP_100 = table("Param 7(c)", "bf16", _THREE_RATES_100)

# 32 experts, one for each token.
_MOE_1000 = table(
    "Param 9",
    "fp16",
    (
        (10_000, 0.02, (1e-3, 2e-3), 24),
        (20_000, 0.02, (1e-3, 2e-3), 48),
        (50_000, 0.02, (1e-3, 2e-3), 96),
        (100_000, 0.02, (1e-3, 2e-3), 192),
        (200_000, 0.02, (1e-3, 2e-3), 192),
        (500_000, 0.01, (5e-4, 1e-3), 192),
        (1_000_000, 0.01, (5e-4, 1e-3), 192),
        (2_000_000, 0.005, (2e-3,), 1536),
        (5_000_000, 0.002, (5e-4,), 1536),
        (10_000_000, 0.001, (5e-4,), 1536),
    ),
)
_MOE_100 = table(
    "Param 9",
    "fp16",
    (
        (50_000, 0.01, (1e-3, 2e-3, 5e-3), 12),
        (100_000, 0.01, (1e-3, 2e-3, 5e-3), 24),
        (200_000, 0.01, (1e-3, 2e-3, 5e-3), 48),
        (500_000, 0.01, (1e-3, 2e-3), 96),
        (1_000_000, 0.01, (5e-4, 1e-3, 2e-3), 192),
        (2_000_000, 0.005, (5e-4, 1e-3), 192),
        (5_000_000, 0.005, (3e-4, 5e-4, 1e-3), 384),
    ),
)

# The paper prints one setting for every bioD; fp16 is its choice for GPT2 throughout (section 2.3).
_BIOD_1000 = Recipe(
    n_people=None,
    lr_options=(5e-4,),
    weight_decay=0.01,
    batch_windows=192,
    precision="fp16",
    source="arXiv 2404.05405v1, Param 5",
)

PUBLISHED: Mapping[tuple[str, int], Mapping[str, Rows]] = {
    ("bioS", 1000): {
        "gpt2": _GPT2_1000,
        "gpt2-mlp0": _GPT2_1000,
        "gpt2-mlp1/4": _GPT2_1000,
        "gpt2-moe32": _MOE_1000,
        "llama": _LLAMA_1000,
        "llama-tied": _LLAMA_1000,
        "mistral": _LLAMA_1000,
    },
    ("bioS", 100): {
        "gpt2": _GPT2_100,
        "gpt2-mlp0": _NO_MLP_100,
        "gpt2-mlp1/4": _QUARTER_MLP_100,
        "gpt2-moe32": _MOE_100,
        "llama": _LLAMA_100,
        "mistral": _LLAMA_100,
    },
    ("bioS_simple", 1000): {"gpt2": _SIMPLE_AND_REWRITTEN_1000},
    ("bioR", 1000): {"gpt2": _SIMPLE_AND_REWRITTEN_1000},
    ("bioD", 1000): {"gpt2": (_BIOD_1000,)},
}
"""(kind of data, exposures) -> architecture, as `arch_of` names it -> settings by people."""

EXCEPTIONS: Mapping[tuple[str, int, int], Mapping[str, Any]] = {
    ("gpt2-2-20", 100, 200_000): {"lr_options": (5e-4,)},
    ("gpt2-28-20", 100, 20_000_000): {"batch_windows": 1280},  # for memory, the paper says
}
"""(model, exposures, people) of bioS -> what Param 2 prints for this model alone."""

# Between LLaMA and GPT2, step by step (figure 5): gated MLPs got three rates, standard MLPs the one
# of Param 2.
LADDER_100: Mapping[Literal["gated", "standard"], Rows] = {
    "gated": table("Param 8 (gated)", "bf16", _THREE_RATES_100),
    "standard": table("Param 8 (standard)", "bf16", _ONE_RATE_100),
}
"""MLP -> settings of every step of the ladder at 100 exposures of bioS."""

# App. A.3 prints two rates for every dense architecture, ties all embeddings and names no
# precision; bf16 is what the first paper used at 100 exposures for all but GPT2.
BEYOND_100: Rows = table(
    "App. A.3",
    "bf16",
    (
        (50_000, 0.01, (5e-4, 1e-3), 12),
        (100_000, 0.01, (5e-4, 1e-3), 24),
        (200_000, 0.01, (5e-4, 1e-3), 48),
        (500_000, 0.01, (5e-4, 1e-3), 96),
        (1_000_000, 0.01, (5e-4, 1e-3), 192),
        (2_000_000, 0.01, (3e-4, 5e-4), 384),
    ),
    paper="arXiv 2512.17351",
)
"""Settings of dense models with another mixer or with short convolutions, at 100 exposures of
bioS.
"""
