"""Bits while training: when, and of how many people, a model is measured before its end."""

import math
from dataclasses import dataclass

from kcap_ray.config.cell import Cell, TrainConfig
from kcap_ray.measure.groups import probed_columns
from kcap_ray.measure.nats import measure
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.own_model import OwnModel
from kcap_ray.text.stream.corpus import Corpus
from kcap_ray.training.loop import Probe

N_PROBES = 10
"""Measurements of a run that says nothing of its own."""

MAX_COST = 0.02
"""Share of the training that these may take, as far as the rule below tells."""

FEWEST_PEOPLE = 30
"""Of fewer people the mean is too uncertain to tell anything."""

# Steps that measuring nobody takes: 0.4 to 0.7 were measured with models of 11,000 weights on a
# core, where calls weigh most; with GPT2-2-2 0.1.
_FIXED_STEPS = 0.7


@dataclass(frozen=True, kw_only=True)
class ProbePlan:
    """Measurements of a run."""

    every_steps: int
    n_people: int
    """Of every table."""


def probe_plan(
    cell: Cell, corpus: Corpus, n_steps: int, *, device: str, workers: int = 1
) -> ProbePlan | None:
    """What `train.probe_exposures` and `train.probe_people` ask for; None for no measurement.

    `auto`: `N_PROBES` measurements of as many people as `MAX_COST` pays for, at most
    `train.probe_people`; none where that is less than `FEWEST_PEOPLE`, and none on a GPU, where a
    step is faster than the measurement and nobody has measured by how much.
    """
    train = cell.train
    if train.probe_exposures is None:
        return None
    if train.probe_exposures != "auto":
        # Rounded up: otherwise the last two come a step or so apart.
        every = math.ceil(n_steps * train.probe_exposures / train.exposures)
        return ProbePlan(every_steps=every, n_people=train.probe_people)
    if device != "cpu" or n_steps < N_PROBES:
        return None
    n_people = _affordable(train, corpus, n_steps, workers)
    least = min(FEWEST_PEOPLE, max(source.n_people for source in corpus.sources))
    if n_people < least:
        return None
    return ProbePlan(every_steps=math.ceil(n_steps / N_PROBES), n_people=n_people)


def _affordable(train: TrainConfig, corpus: Corpus, n_steps: int, workers: int) -> int:
    """People of each table that may be measured each time, up to `probe_people`.

    A person's document is two biographies, and a token forward costs a third of one trained on. One
    worker measures, and all others wait.
    """
    steps = MAX_COST * n_steps / N_PROBES - _FIXED_STEPS * len(corpus.sources)
    step_tokens = train.batch_windows * train.window_tokens / workers
    tokens_per_person = sum(2 * source.mean_tokens for source in corpus.sources)
    return max(0, min(train.probe_people, int(steps * 3 * step_tokens / tokens_per_person)))


def probe_of(cell: Cell, corpus: Corpus, plan: ProbePlan) -> Probe:
    """The measurement: losses and bits of each trial."""

    def measured(model: Decoder | OwnModel) -> list[dict[str, float]]:
        was_training = model.training
        trials = measure(model, corpus, seed=cell.seed, n_people=plan.n_people)
        model.train(was_training)
        return [probed_columns(groups, model.spec.n_params) for groups in trials]

    return Probe(every_steps=plan.every_steps, measure=measured)
