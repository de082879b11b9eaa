"""The plateau setting through a loop that shares nothing with the package: to the same curve?

Two comparisons with `kcap`'s own training, at the baseline of `plateau_cpu.py`:

- `own shuffle`: the JSON lines of `kcap data` (all exposures), and from there on the vocabulary,
  order of people, packing, model, initial weights, AdamW, schedule and evaluator of
  `plain_loop.py`. Curves of names and values agree if they differ by no more than seeds do.
- `same windows`: the same windows in the same order from the same initial weights, by the loop,
  model and optimizer of `plain_loop.py`: the loss of every step agrees but for rounding.

Peer: a plain PyTorch loop
Needs: a CPU

    python benchmarks/independent_loop.py --seeds 0 1 2
    python benchmarks/independent_loop.py --dry-run
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import plain_loop
import torch
from plateau_changes import Variant
from plateau_cpu import N_PROBES, cell_of, read_lines
from plateau_run import points_of, recipe_of
from plateau_texts import Compact, records_of
from record import arguments, write

from kcap_ray.config.cell import Cell
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.training.step import TrainStep

BASELINE = Variant(name="baseline")

NAMES = {
    "embedding": "embedding.weight",
    "final_norm": "norm",
    "attention.qkv": "qkv",
    "attention.out": "out",
    "attention_norm": "norm1",
    "mlp_norm": "norm2",
    "mlp.up": "up",
    "mlp.down": "down",
}
"""Where a weight of the package's decoder is in the plain one."""


def plain_name(name: str) -> str:
    """Name of the package's weight in the plain model."""
    for ours, theirs in NAMES.items():
        name = name.replace(ours, theirs) if ours != "embedding" or name == ours else name
    return name


def own_shuffle(cell: Cell, *, seed: int) -> dict[str, Any]:
    """From the lines of `kcap data` to a curve, with nothing of the package in between."""
    train, scored = records_of(cell)
    recipe = recipe_of(cell, points_of(BASELINE, cell)[0])
    vocab = plain_loop.Vocabulary([*train, *scored])
    model = plain_loop.Gpt(recipe, len(vocab), seed=seed)
    curve = plain_loop.train(
        model,
        recipe,
        plain_loop.shuffled_windows(train, vocab, recipe, seed=seed),
        probe=plain_loop.Evaluator(scored, vocab, window=recipe.window_tokens),
        probe_every=max(1, recipe.n_steps // N_PROBES),
    )
    return _record("own shuffle", cell, curve, model, seed=seed)


def same_windows(cell: Cell) -> dict[str, Any]:
    """The package's windows and initial weights: its losses and the plain loop's, step by step."""
    spec, n_steps = spec_of(cell), length_of(cell).steps
    point = points_of(BASELINE, cell)[0]
    recipe = recipe_of(cell, point)
    _, scored = records_of(cell)
    ours = TrainStep(cell, spec, [point], n_steps=n_steps, device=torch.device("cpu"))
    plain = plain_loop.Gpt(recipe, spec.vocab_size, seed=0)
    start = {plain_name(name): weight.clone() for name, weight in ours.model.state_dict().items()}
    plain.load_state_dict(start)
    batches = in_process_batches(stream_of(cell), cell.train, n_steps=n_steps)
    evaluate = plain_loop.Evaluator(
        scored, Compact(build_corpus(cell.data).vocab), window=recipe.window_tokens
    )
    curve = plain_loop.train(
        plain,
        recipe,
        batches(0),
        probe=evaluate,
        probe_every=max(1, n_steps // N_PROBES),
    )
    losses = []
    for batch in batches(0):
        ours(batch)
        losses.append(ours.loss_E.item())
    assert isinstance(ours.model, Decoder)
    ours_final = evaluate(_eval(ours.model))
    ours_L, plain_L = np.array(losses), np.array(curve.losses)
    apart = np.abs(ours_L / plain_L - 1)
    return {
        **_record("same windows", cell, curve, plain, seed=cell.seed),
        "ours_final": ours_final,
        "ours_training_loss": _binned(losses),
        "apart_first_100_steps": float(apart[:100].max()),
        "apart_largest": float(apart.max()),
        "apart_mean": float(apart.mean()),
    }


def _eval(model: Decoder) -> Decoder:
    model.eval()
    return model


def _record(
    how: str, cell: Cell, curve: plain_loop.Curve, model: plain_loop.Gpt, *, seed: int
) -> dict[str, Any]:
    """A curve in the columns of the plateau study."""
    entropy = build_corpus(cell.data).sources[0].entropy
    assert entropy is not None, "people are measured"
    n_params = sum(weight.numel() for weight in model.parameters())
    final = curve.probes[-1]
    loss = KnowledgeLoss(name_nats=final["loss_name_nats"], value_nats=final["loss_value_nats"])
    return {
        "variant": how,
        "seed": seed,
        "n_people": cell.data.n_people,
        "n_params": n_params,
        "n_steps": len(curve.losses),
        "steps": [probe["step"] for probe in curve.probes],
        "names": [probe["loss_name_nats"] for probe in curve.probes],
        "values": [probe["loss_value_nats"] for probe in curve.probes],
        "training_loss": _binned(curve.losses),
        "final": {
            "loss_name_nats": final["loss_name_nats"],
            "loss_value_nats": final["loss_value_nats"],
            "capacity_ratio": stored_bits(entropy, loss).total / n_params,
        },
        "seconds": curve.seconds,
    }


def _binned(losses: list[float], n_bins: int = 200) -> list[float]:
    """Means over stretches of steps."""
    parts = np.array_split(np.array(losses), min(n_bins, len(losses)))
    return [round(float(part.mean()), 5) for part in parts]


def main() -> None:
    """Both comparisons, those in the file of lines excepted; then all of them as a result file."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--lines", type=Path, help="file that gets a line for each curve")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        path = chosen.lines or Path(directory) / "lines.jsonl"
        done = {(one["variant"], one["seed"]) for one in read_lines(path)}

        def keep(found: dict[str, Any]) -> None:
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")
            print(found["variant"], found["seed"], found["final"], flush=True)

        for seed in chosen.seeds:
            cell = cell_of(BASELINE, seed, is_tiny=chosen.dry_run)
            if ("own shuffle", seed) not in done:
                # Other weights and another order than the package's at this seed.
                keep(own_shuffle(cell, seed=seed))
            if seed == chosen.seeds[0] and ("same windows", seed) not in done:
                keep(same_windows(cell))
        found = read_lines(path)
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()
