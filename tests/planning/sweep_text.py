"""A complete sweep file, and sweeps from their text."""

from pathlib import Path

from kcap_ray.planning.sweep import Sweep, load_sweep

COMPLETE = """\
# Question: does it expand?
name: demo
base:
  data.kind: bioS
  data.pools: mini
  train: {exposures: 20, lr: 1e-3, weight_decay: 0.01, batch_windows: 8, precision: fp32}
  train.window_tokens: 128
grid:
  data.n_people: [100, 200]
  model: [gpt2-1-1, gpt2-2-1, gpt2-2-2]
"""


def load_text(folder: Path, text: str, **overrides: str) -> Sweep:
    """The sweep of this text, as a file of the folder; `train__lr` overrides train.lr."""
    path = folder / "some.yaml"
    path.write_text(text)
    return load_sweep(path, {key.replace("__", "."): value for key, value in overrides.items()})
