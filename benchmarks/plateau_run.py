"""One variant of a study of the plateau, trained, with its curve."""

import math
import time
from typing import Any

import torch
from plain_loop import Recipe
from plateau_changes import Variant, changed_code
from plateau_rule import LEFT_NATS
from plateau_texts import Texts, judged, texts_of

from kcap_ray.config.cell import Cell
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits
from kcap_ray.measure.groups import probed_columns
from kcap_ray.measure.nats import measure
from kcap_ray.models.spec import ModelSpec
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.loop import Probe, train
from kcap_ray.training.point import Point


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
        spec, n_steps, corpus = spec_of(cell), length_of(cell).steps, build_corpus(cell.data)
        entropy = corpus.sources[0].entropy
        assert entropy is not None, "people are measured"
        texts: Texts | None = None
        if variant.texts != "stream":
            texts = texts_of(variant.texts, cell, recipe_of(cell, points[0]))
            n_steps = texts.n_steps

        def probe(model: Any) -> list[dict[str, float]]:
            if texts is not None:
                nats = judged(model, texts.evaluate)
                loss = KnowledgeLoss(
                    name_nats=nats["loss_name_nats"], value_nats=nats["loss_value_nats"]
                )
                return [
                    {**nats, "capacity_ratio": stored_bits(entropy, loss).total / spec.n_params}
                ]
            trials = measure(model, corpus, seed=cell.seed, n_people=sample)
            model.train()
            return [probed_columns(groups, spec.n_params) for groups in trials]

        def batches(step: int) -> Any:
            assert texts is not None and step == 0
            return texts.batches

        began = time.monotonic()
        result = train(
            cell,
            spec,
            points,
            in_process_batches(stream_of(cell), cell.train, n_steps=n_steps)
            if texts is None
            else batches,
            n_steps=n_steps,
            device=device,
            probe=Probe(every_steps=max(1, n_steps // n_probes), measure=probe),
        )
    prior = entropy.value_bits * math.log(2)
    curve = [(one.step, one.probed) for one in result.history if one.probed is not None]
    found = []
    for trial, point in enumerate(points):
        steps = [step for step, _ in curve]
        values = [probed[trial]["loss_value_nats"] for _, probed in curve]
        left = [s for s, nats in zip(steps, values, strict=True) if nats < prior - LEFT_NATS]
        found.append(
            {
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
                "prior_value_nats": prior,
                "left_plateau_at": left[0] if left else None,
                "max_capacity_ratio": entropy.demand_bits / spec.n_params,
                "final": curve[-1][1][trial],
                "steps": steps,
                "names": [probed[trial]["loss_name_nats"] for _, probed in curve],
                "values": values,
                "training_loss": [round(one.losses[trial], 4) for one in result.history],
                "seconds": time.monotonic() - began,
            }
        )
    return found
