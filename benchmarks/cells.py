"""The cells that several benchmarks train."""

from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import load_sweep

SWEEPS = Path(__file__).parents[1] / "sweeps"


def gpu_cell(model: str, *, batch_windows: int, precision: str = "bf16", is_tiny: bool) -> Cell:
    """A model on bioS of 50,000 people, compact vocabulary, windows of 512 tokens; if tiny, the
    same in a size with which a CPU shows that everything works.
    """
    settings = {
        "data.n_people": "50_000",
        "model": model,
        "train.batch_windows": str(batch_windows),
        "train.precision": precision,
        # Alone it trains without an axis of trials.
        "tune.trials": "1",
        "where": "null",
    }
    if is_tiny:
        settings |= {
            "data.pools": "mini",
            "data.n_people": "500",
            "model.head_dim": "8",
            "train.batch_windows": "2",
            "train.window_tokens": "128",
            "train.lr": "1.0e-3",
            "train.weight_decay": "0.01",
        }
    return load_sweep(SWEEPS / "exposure1000.yaml", settings).cells[0]


def cpu_cell(model: str, *, batch_windows: int) -> Cell:
    """A model with heads 16 wide on the data of the laptop sweep, windows of 128 tokens, float32.

    Its rate is lower than the sweep's, which would carry roundings on so fast that they could not
    be told from mistakes.
    """
    settings = {
        "data.n_people": "1600",
        "model": model,
        "train": f"{{exposures: 100, batch_windows: {batch_windows}}}",
        "train.lr": "1.0e-3",
        # Alone it trains without an axis of trials.
        "tune.trials": "1",
        "where": "null",
    }
    return load_sweep(SWEEPS / "laptop.yaml", settings).cells[0]
