"""The shapes whose steps are timed: small ones of every architecture for a CPU, in float32, and
some like the paper's for a GPU, in bf16.

None of them is in the sweep of planning.py, which holds predictions against a run.
"""

from step_times import Shape


def cpu_shapes() -> list[Shape]:
    """Models of 10 thousand to 15 million weights, 8 to 512 wide."""
    sizes = [
        # model, windows, tokens, vocabulary, trials, head width
        ("gpt2-1-1", 1, 128, 450, 1, 16),
        ("gpt2-2-1", 4, 128, 450, 1, 16),
        ("gpt2-2-1", 4, 128, 450, 3, 16),
        ("gpt2-2-2", 8, 128, 450, 3, 16),
        ("gpt2-2-2", 2, 128, 450, 8, 16),
        ("gpt2-4-4", 2, 64, 450, 1, 16),
        ("gpt2-8-2", 1, 128, 450, 1, 16),
        ("gpt2-8-4", 4, 128, 450, 2, 16),
        ("gpt2-1-2", 16, 128, 450, 4, 16),
        ("gpt2-1-2", 4, 128, 4_000, 1, 16),
        ("gpt2-1-1", 2, 512, 450, 2, 16),
        ("gpt2-2-4", 2, 256, 1_000, 3, 16),
        ("gpt2-2-2", 4, 256, 1_000, 1, 32),
        ("gpt2-2-2", 4, 128, 3_275, 1, 64),
        ("gpt2-4-4", 2, 256, 3_275, 1, 64),
        ("gpt2-6-6", 1, 512, 3_275, 1, 64),
        ("gpt2-2-2", 2, 512, 3_275, 2, 64),
        ("gpt2-3-2", 1, 1_024, 1_000, 1, 64),
        ("gpt2-2-8", 1, 128, 10_000, 1, 64),
        ("gpt2-12-2", 4, 128, 450, 1, 32),
        ("gpt2-4-2", 8, 128, 450, 1, 8),
        ("gpt2-4-2", 2, 128, 450, 6, 8),
        ("gpt2-4-3", 4, 512, 1_000, 1, 32),
        ("llama-2-2", 8, 128, 450, 1, 16),
        ("llama-3-4", 2, 256, 2_000, 1, 64),
        ("gpt2-2-2-moe8", 8, 128, 1_000, 1, 32),
        ("gpt2-2-2-ssd", 4, 256, 450, 1, 32),
        ("gpt2-2-2-canon", 8, 128, 450, 1, 32),
    ]
    kinds = ("mlp0", "mlp1/4", "gated", "moe8", "moe32", "canon", "canonA", "ssd")
    for model in ("llama-4-4", "mistral-4-4", *(f"gpt2-4-4-{kind}" for kind in kinds)):
        sizes.append((model, 4, 128, 450, 3, 16))
    return [
        *[_shape(*size, "fp32") for size in sizes],
        _shape("gpt2-4-4", 4, 128, 450, 3, 16, "fp32", "muon"),
        _shape("gpt2-2-2-gated", 4, 128, 450, 1, 32, "fp32", "muon"),
        _shape("gpt2-2-2", 2, 128, 450, 3, 8, "fp32", "muon"),
    ]


def gpu_shapes() -> list[Shape]:
    """Models of 0.5 to 100 million weights, 64 to 1024 wide, shallow ones first: those that compile
    run concurrently should take equally long.
    """
    sizes = [
        ("gpt2-1-8", 192, 512, 3_328, 1),
        ("gpt2-2-2", 12, 512, 3_328, 1),
        ("gpt2-2-2", 12, 512, 3_328, 8),
        ("gpt2-2-2", 48, 512, 3_328, 2),
        ("gpt2-2-4", 96, 512, 3_328, 1),
        ("gpt2-2-16", 24, 512, 3_328, 1),
        ("gpt2-2-8", 12, 512, 20_000, 1),
        ("gpt2-2-4-moe8", 24, 512, 3_328, 2),
        ("gpt2-3-3", 24, 512, 3_328, 4),
        ("gpt2-3-4-canon", 48, 512, 3_328, 1),
        ("gpt2-3-4-ssd", 24, 512, 3_328, 1),
        ("gpt2-4-4", 12, 512, 3_328, 1),
        ("gpt2-4-4", 6, 2_048, 3_328, 1),
        ("gpt2-4-8", 48, 512, 3_328, 1),
        ("gpt2-4-12", 96, 512, 3_328, 1),
        ("llama-4-4", 48, 512, 3_328, 2),
        ("mistral-4-8", 48, 512, 3_328, 1),
        ("gpt2-4-4-moe32", 48, 512, 3_328, 1),
        ("gpt2-4-8-mlp0", 48, 512, 3_328, 1),
        ("gpt2-4-8-gated", 24, 512, 3_328, 1),
        ("gpt2-6-4", 96, 512, 3_328, 2),
        ("gpt2-8-8", 24, 512, 3_328, 1),
    ]
    return [
        _shape("gpt2-4-8", 48, 512, 3_328, 1, 64, "bf16", "muon"),
        _shape("gpt2-3-8", 48, 256, 3_328, 1, 32, "bf16"),
        *[_shape(*size, 64, "bf16") for size in sizes],
    ]


def _shape(
    model: str,
    windows: int,
    tokens: int,
    vocab: int,
    trials: int,
    head: int,
    precision: str,
    optimizer: str = "adamw",
) -> Shape:
    return Shape(
        model=model,
        batch_windows=windows,
        window_tokens=tokens,
        vocab_size=vocab,
        n_trials=trials,
        head_dim=head,
        precision=precision,
        optimizer=optimizer,
    )
