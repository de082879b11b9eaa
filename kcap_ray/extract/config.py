"""How a model learns to answer questions (arXiv 2404.05405, appendix A.2, parameter 3)."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

from kcap_ray.config.errors import check, check_choice

RANKS = (
    (8, 2),
    (16, 2),
    (8, 4),
    (32, 4),
    (8, 8),
    (32, 8),
    (128, 8),
    (32, 16),
    (128, 16),
)
"""Ranks of the embedding and of queries and values that the paper tries; it reports the best."""

Backend = Literal["own", "peft"]


@dataclass(frozen=True, kw_only=True)
class ExtractConfig:
    """Fine-tuning on questions about half of the people."""

    rank_embedding: int = 8
    """Rank of the change of the token embedding, as far as it is read and not predicted with."""
    rank_attention: int = 2
    """Rank of the change of the queries' matrix, and of the values'."""
    steps: int = 75_000
    """Optimizer steps; no warm-up, and the learning rate falls in a line to 0."""
    batch: int = 96
    """Questions of a step, each in a row of its own."""
    lr: float = 1e-3
    """Learning rate at the start."""
    weight_decay: float = 0.1
    """Of AdamW."""
    backend: Backend = "own"
    """`own`: adapters of kcap, on any of its decoders; `peft`: Hugging Face's, on the exported
    model.
    """
    seed: int = 0
    """Seed of the halves, of the adapters and of the order of the questions."""

    def __post_init__(self) -> None:
        check_choice("--backend", self.backend, Backend)
        for name in ("rank_embedding", "rank_attention", "steps", "batch"):
            check(getattr(self, name) >= 1, f"{name}: got {getattr(self, name)}; at least 1")
        check(self.lr > 0, f"--lr: got {self.lr}; it must be positive")
        check(self.weight_decay >= 0, f"--weight-decay: got {self.weight_decay}; at least 0")

    @property
    def label(self) -> str:
        """Name of a file of results, for instance `lora-r8-2-s75000-b96-lr0.001-wd0.1`."""
        backend = "lora" if self.backend == "own" else self.backend
        seed = f"-seed{self.seed}" if self.seed else ""
        return (
            f"{backend}-r{self.rank_embedding}-{self.rank_attention}-s{self.steps}-b{self.batch}"
            f"-lr{self.lr:g}-wd{self.weight_decay:g}{seed}"
        )

    def with_ranks(self, embedding: int, attention: int) -> Self:
        """The same with other ranks."""
        return replace(self, rank_embedding=embedding, rank_attention=attention)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)
