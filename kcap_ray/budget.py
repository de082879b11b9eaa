"""How long a cell trains: the one formula that planning and training share."""

from dataclasses import dataclass

from kcap_ray.cell import Cell
from kcap_ray.models.spec import ModelSpec, parse_model
from kcap_ray.text.corpus import CorpusFacts, facts_of


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """Length of one training run, all workers together."""

    steps: int
    """Optimizer steps."""
    tokens: int
    """Tokens trained on: steps * batch_windows * window_tokens."""


def run_length(cell: Cell, facts: CorpusFacts) -> RunLength:
    """Steps until every person has been seen `exposures` times.

    steps = n_people * exposures * tokens_per_biography / (batch_windows * window_tokens), rounded,
    at least 1.

    A biography has its expected length here, end-of-text token included, so the exposures that a
    run really sees differ from those asked for by less than one step and the sampling error of the
    mean length.
    """
    tokens_per_step = cell.train.batch_windows * cell.train.window_tokens
    wanted_tokens = cell.data.n_people * cell.train.exposures * facts.tokens_per_biography
    steps = max(1, round(wanted_tokens / tokens_per_step))
    return RunLength(steps=steps, tokens=steps * tokens_per_step)


def spec_of(cell: Cell) -> ModelSpec:
    """The cell's model at the vocabulary of its data."""
    vocab_size = facts_of(cell.data).vocab_size
    return parse_model(cell.model.name, head_dim=cell.model.head_dim, vocab_size=vocab_size)


def length_of(cell: Cell) -> RunLength:
    """Steps and tokens of one trial of the cell."""
    return run_length(cell, facts_of(cell.data))
