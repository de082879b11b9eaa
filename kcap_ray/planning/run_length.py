"""How long a cell trains, and how many trials at once: what planning and training share."""

from dataclasses import dataclass

from kcap_ray.config.cell import Cell
from kcap_ray.models.own_spec import AnySpec, own_spec
from kcap_ray.models.spec import model_of
from kcap_ray.recipes.length import printed_length
from kcap_ray.text.stream.corpus import CorpusFacts, facts_of

ROUND_FLOPS = 2e11
"""Work of a step, over all trials of a round, that training them together should not exceed: a
quarter of a millisecond at the 790 TFLOP/s that an H200 reaches, less than the several hundred
kernel launches of a two-layer model take at about 5 us each. Above it a device waits for
arithmetic, not for launches, and a round of fewer trials learns more from the ones before.
"""

MAX_FUSED = 4
"""Most trials in one round: as many as a search has first points, which hang on no result. What it
proposes then knows those; in larger rounds a study of six learnt nothing.
"""


@dataclass(frozen=True, kw_only=True)
class RunLength:
    """Length of one training run, all workers together."""

    steps: int
    """Optimizer steps."""
    tokens: int
    """Tokens trained on: steps * batch_windows * window_tokens."""


def run_length(cell: Cell, facts: CorpusFacts) -> RunLength:
    """Steps until every person has been seen `exposures` times, unless the cell says otherwise.

    steps = n_people * exposures * tokens_per_exposure * stream_ratio / (batch_windows *
    window_tokens), rounded, at least 1: other tables and junk come on top of the people's own
    tokens. `train.steps` is taken as it is.

    tokens_per_exposure is the expected length of a biography, end-of-text token included, so the
    exposures that a run really sees differ from those asked for by less than one step and the
    sampling error of the mean length; or `train.tokens_per_exposure`; or what the steps that the
    paper prints come to (`train.length: printed`). With the last two people are seen more often
    than `exposures` says, or less often: the column `exposures_seen` of the results counts.
    """
    train = cell.train
    tokens_per_step = train.batch_windows * train.window_tokens
    if train.steps is not None:
        return RunLength(steps=train.steps, tokens=train.steps * tokens_per_step)
    if train.length == "printed":
        own_tokens = printed_length(cell).tokens
    else:
        tokens_per_exposure = train.tokens_per_exposure or facts.tokens_per_biography
        own_tokens = cell.data.n_people * train.exposures * tokens_per_exposure
    wanted_tokens = own_tokens * facts.stream_ratio
    steps = max(1, round(wanted_tokens / tokens_per_step))
    return RunLength(steps=steps, tokens=steps * tokens_per_step)


def spec_of(cell: Cell) -> AnySpec:
    """The cell's model at the vocabulary of its data.

    One that is brought along has to be built to be counted, which needs torch. Raises `UserError`
    where that fails.
    """
    vocab_size = facts_of(cell.data).vocab_size
    if cell.model.is_own:
        return own_spec(cell.model, vocab_size, cell.train.window_tokens)
    return model_of(cell.model, vocab_size)


def length_of(cell: Cell) -> RunLength:
    """Steps and tokens of one trial of the cell."""
    return run_length(cell, facts_of(cell.data))


def trials_at_once(cell: Cell, spec: AnySpec) -> int:
    """Trials of the cell that one program is asked to train at most: one of a model that is brought
    along, which has no axis of trials.
    """
    if cell.model.is_own:
        return 1
    return min(cell.tune.fused or MAX_FUSED, trial_batch_size(cell, spec), cell.tune.trials)


def trial_batch_size(cell: Cell, spec: AnySpec) -> int:
    """Trials in a row whose points are chosen without the results of one another, by the size of a
    step.

    A function of the model and its batch alone, since it decides which points are tried: not of how
    many trials there are, nor of how many train together.
    """
    tokens = cell.train.batch_windows * cell.train.window_tokens
    # 6 FLOPs per weight and token, forward and backward; the embedding's rows count through the
    # head.
    flops = 6 * tokens * spec.n_params_active
    return max(1, min(MAX_FUSED, int(ROUND_FLOPS / flops)))


def programs_of(n_trials: int, batch_trials: int, program_trials: int) -> list[tuple[int, int]]:
    """First trial and number of trials of each program of a search: rounds, in parts where not all
    of one train together. Worked example, 5 trials, rounds of 4, 3 in a program: (0, 3), (3, 1),
    (4, 1).
    """
    found = []
    for start in range(0, n_trials, batch_trials):
        stop = min(start + batch_trials, n_trials)
        for first in range(start, stop, program_trials):
            found.append((first, min(program_trials, stop - first)))
    return found
