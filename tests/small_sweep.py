"""A sweep of two small cells, which tests run as a command."""

_TEXT = """\
# Question: does a small run survive what happens to it?
name: small
base:
  data: {kind: bioD, pools: mini, K: 2, C: 1, D: 5, L: 1, T: 100, style: compact}
  model.head_dim: 16
  model: gpt2-1-1
  train: {exposures: EXPOSURES, batch_windows: 2, window_tokens: 32, precision: fp32, init_std: 0.1}
  train.lr: 6.0e-3
  train.weight_decay: 0.01
grid:
  data.n_people: [20, 40]
tune:
  trials: 2
  fused: 1
  lr: {low: 3.0e-3, high: 1.5e-2}
"""


def sweep_text(*, exposures: int) -> str:
    """The sweep file: two trials a cell, one after another."""
    return _TEXT.replace("EXPOSURES", str(exposures))
