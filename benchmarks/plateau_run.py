"""One variant of a study of the plateau, trained, with its curve."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from plain_loop import Recipe
from plateau_changes import Variant, changed_code
from plateau_rule import LEFT_NATS
from plateau_texts import Texts, judged, texts_of

from kcap_ray.config.cell import Cell
from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits
from kcap_ray.measure.groups import probed_columns
from kcap_ray.measure.nats import measure
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.training.loop import OpenBatches, Probe, TrainResult, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

Measure = Callable[[Any], list[dict[str, float]]]
"""From a model to what a curve says of it, for each of its trials."""


def recipe_of(cell: Cell, point: Point) -> Recipe:
    """The cell's sizes and hyperparameters as plain numbers."""
    spec, train_config = spec_of(cell), cell.train
    assert isinstance(spec, ModelSpec), "a plain loop trains kcap's own decoders"
    return Recipe(
        n_layer=spec.n_layer,
        n_head=spec.n_head,
        d_model=spec.d_model,
        window_tokens=train_config.window_tokens,
        batch_windows=train_config.batch_windows,
        n_steps=length_of(cell).steps,
        lr=point.lr,
        weight_decay=point.weight_decay,
        betas=(train_config.beta1, train_config.beta2),
        eps=train_config.eps,
        init_std=train_config.init_std,
        warmup_steps=train_config.warmup_steps,
        warmup_frac=train_config.warmup_frac,
        final_lr_ratio=train_config.final_lr_ratio,
        bf16=train_config.precision == "bf16",
    )


def points_of(variant: Variant, cell: Cell) -> list[Point]:
    """Learning rate and weight decay of each trial."""
    decays = variant.decay_factors or (1.0,) * len(variant.lr_factors)
    return [
        Point(lr=cell.train.lr * lr, weight_decay=cell.train.weight_decay * decay)
        for lr, decay in zip(variant.lr_factors, decays, strict=True)
    ]


def curves_of(
    variant: Variant, cell: Cell, device: torch.device, *, n_probes: int, sample: int = 1_000
) -> list[dict[str, Any]]:
    """Train the variant of the cell; for each trial its curve and what it ends at, in nats per
    person of a sample of people.
    """
    if device.type == "cpu":
        torch.set_num_threads(1)
    points = points_of(variant, cell)
    stream_of.cache_clear()
    with changed_code(variant):
        spec, corpus = spec_of(cell), build_corpus(cell.data)
        entropy = corpus.sources[0].entropy
        assert entropy is not None, "people are measured"
        if variant.texts == "stream":
            n_steps = length_of(cell).steps
            batches = in_process_batches(stream_of(cell), cell.train, n_steps=n_steps)
            measured = _on_people(cell, corpus, sample)
        else:
            texts = texts_of(variant.texts, cell, recipe_of(cell, points[0]))
            n_steps, batches = texts.n_steps, _batches_of(texts)
            measured = _on_texts(texts, entropy, spec.n_params)
        began = time.monotonic()
        result = train(
            TrainStep(cell, spec, points, n_steps=n_steps, device=device),
            batches,
            probe=Probe(every_steps=max(1, n_steps // n_probes), measure=measured),
        )
    seconds = time.monotonic() - began
    return [
        {
            **_setting(variant, cell, point, n_steps),
            **_curve(result, trial, entropy, spec.n_params),
            "seconds": seconds,
        }
        for trial, point in enumerate(points)
    ]


def _on_people(cell: Cell, corpus: Corpus, sample: int) -> Measure:
    """Measures every trial on a sample of people."""
    n_params = spec_of(cell).n_params

    def measure_people(model: Any) -> list[dict[str, float]]:
        trials = measure(model, corpus, seed=cell.seed, n_people=sample)
        model.train()
        return [probed_columns(groups, n_params) for groups in trials]

    return measure_people


def _on_texts(texts: Texts, entropy: Entropy, n_params: int) -> Measure:
    """Measures a model without an axis of trials as these texts are judged."""

    def measure_texts(model: Any) -> list[dict[str, float]]:
        nats = judged(model, texts.evaluate)
        loss = KnowledgeLoss(name_nats=nats["loss_name_nats"], value_nats=nats["loss_value_nats"])
        return [{**nats, "capacity_ratio": stored_bits(entropy, loss).total / n_params}]

    return measure_texts


def _batches_of(texts: Texts) -> OpenBatches:
    def batches(step: int) -> Iterator[np.ndarray]:
        assert step == 0, "a variant is trained in one go"
        return texts.batches

    return batches


def _setting(variant: Variant, cell: Cell, point: Point, n_steps: int) -> dict[str, Any]:
    """What a trial was trained with."""
    spec = spec_of(cell)
    return {
        "variant": variant.name,
        "lr": point.lr,
        "weight_decay": point.weight_decay,
        "n_people": cell.data.n_people,
        "exposures": cell.train.exposures,
        "seed": cell.seed,
        "model": cell.model.name,
        "d_model": spec.d_model,
        "n_params": spec.n_params,
        "n_steps": n_steps,
        "tokens": n_steps * cell.train.batch_windows * cell.train.window_tokens,
    }


def _curve(result: TrainResult, trial: int, entropy: Entropy, n_params: int) -> dict[str, Any]:
    """A trial's losses at the probed steps, where it left the plateau, and what it ended at."""
    prior = entropy.value_bits * math.log(2)
    curve = [(one.step, one.probed[trial]) for one in result.history if one.probed is not None]
    steps = [step for step, _ in curve]
    values = [probed["loss_value_nats"] for _, probed in curve]
    left = [s for s, nats in zip(steps, values, strict=True) if nats < prior - LEFT_NATS]
    return {
        "prior_value_nats": prior,
        "left_plateau_at": left[0] if left else None,
        "max_capacity_ratio": entropy.demand_bits / n_params,
        "final": curve[-1][1],
        "steps": steps,
        "names": [probed["loss_name_nats"] for _, probed in curve],
        "values": values,
        "training_loss": [round(one.losses[trial], 4) for one in result.history],
    }
