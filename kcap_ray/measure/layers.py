"""What is lost with each layer: the model measured without it."""

import math
from typing import Any

from kcap_ray.measure.groups import total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.models.decoder import Decoder
from kcap_ray.text.stream.corpus import Corpus

N_PEOPLE = 256
"""People of each table that the model without a layer is measured on."""


def without_each_layer(model: Any, corpus: Corpus, *, seed: int) -> list[list[float | None]]:
    """R of each trial without its first layer, its second, ...; None where that is not finite.

    Nothing for a model that is no decoder of kcap: which parts of it are layers is not known. The
    residual stream passes a layer by that is left out, in each of several passes. Everybody
    counts as `N_PEOPLE` of each table.
    """
    if not isinstance(model, Decoder):
        return [[] for _ in range(model.n_trials or 1)]
    was_training = model.training
    by_layer = []
    try:
        for number in range(model.spec.n_layer):
            model.left_out = number
            trials = measure(model, corpus, seed=seed, n_people=N_PEOPLE)
            by_layer.append([total_bits(groups) / model.spec.n_params for groups in trials])
    finally:
        model.left_out = None
        model.train(was_training)
    return [
        [ratio if math.isfinite(ratio) else None for ratio in ratios]
        for ratios in zip(*by_layer, strict=True)
    ]
