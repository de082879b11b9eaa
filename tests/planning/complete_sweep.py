"""The text of a complete sweep file."""

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
