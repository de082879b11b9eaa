"""The smallest cells and models that tests train and measure."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from kcap_ray.config.cell import Cell, ModelConfig, TrainConfig, TuneConfig
from kcap_ray.config.data import DataConfig
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model

BIOS = DataConfig(n_people=10, pools="mini")
BIOD = DataConfig(kind="bioD", n_people=12, K=2, C=2, D=4, L=2, T=20, style="compact", pools="mini")

ARCHITECTURES = ("gpt2-2-2", "llama-2-2", "mistral-2-4", "mistral-2-3")
VARIANTS = ("", "-mlp1/4", "-mlp0", "-gated", "-standard", "-tied", "-untied")
PARTS = (
    "gpt2-2-2-relu2",
    "gpt2-2-2-silu-rmsnorm",
    "llama-2-2-gelu-layernorm",
    "llama-2-2-bias",
    "llama-2-2-standard-layernorm-bias",
    "gpt2-2-2-nobias-mlp1/4-gated",
    "gpt2-2-2-moe4",
    "llama-2-3-moe3-tied",
    "mistral-2-4-moe2-standard-bias",
    "gpt2-2-2-canon",
    "llama-2-2-canonBD",
    "mistral-2-4-canonAC",
    "gpt2-2-2-mlp0-canon",
    "gpt2-2-2-moe4-canon",
    "gpt2-2-2-ssd",
    "mistral-2-4-ssd-canonB",
    "llama-2-3-ssd-moe3",
)
MODELS = [arch + variant for arch in ARCHITECTURES for variant in VARIANTS] + list(PARTS)
"""Every architecture in every variant of the paper, mistral with one group of heads and with three;
and every other part at least once, alone and with others.
"""


def one_layer(name: str) -> str:
    """The same model with one layer: each of its layers has the same parts."""
    arch, _, rest = name.split("-", 2)
    return f"{arch}-1-{rest}"


def tiny_cell(
    data: DataConfig = BIOD,
    *,
    model: str = "gpt2-1-1",
    tune: TuneConfig | None = None,
    seed: int = 0,
    **train: Any,
) -> Cell:
    """A cell that trains in a fraction of a second: one layer 16 wide, about forty steps."""
    window_tokens = 32 if data.kind == "bioD" else 128
    settings = {"exposures": 10, "lr": 1e-3, "weight_decay": 0.1, "batch_windows": 2}
    return Cell(
        data=data,
        model=ModelConfig(name=model, head_dim=16),
        train=TrainConfig(
            **{"precision": "fp32", "window_tokens": window_tokens, **settings, **train}
        ),
        tune=tune or TuneConfig(),
        seed=seed,
    )


def random_decoder(
    name: str,
    *,
    n_trials: int | None = None,
    vocab_size: int = 101,
    n_tokens: int = 24,
    rotary: Mapping[str, float] | None = None,
    **experts: Any,
) -> Decoder:
    """A decoder whose weights, norms and biases too, are all different, in every trial; `experts`
    are settings of a mixture, `rotary` fields of its spec.
    """
    spec = parse_model(name, head_dim=16, vocab_size=vocab_size, **experts)
    spec = replace(spec, **(rotary or {}))
    model = Decoder(spec, n_tokens=n_tokens, n_trials=n_trials)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            is_norm_scale = "norm" in parameter_name and parameter_name.endswith("weight")
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.2 + (1.0 if is_norm_scale else 0.0))
    return model


def random_tokens(*shape: int, vocab_size: int = 101) -> torch.Tensor:
    """Tokens drawn uniformly."""
    return torch.randint(0, vocab_size, shape, generator=torch.Generator().manual_seed(2))
