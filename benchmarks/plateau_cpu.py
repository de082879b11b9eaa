"""The plateau before values are learnt, at the smallest setting that shows it on a CPU.

bioS with small pools, few people, models 32 to 128 wide, float32: one factor at a time, two seeds
for the baseline and more where there is time. Each variant is a curve of the losses on names and on
values of all people, one line of JSON as it ends; what is in the file of lines is not run again, so
the same command goes on after an interruption.

    python benchmarks/plateau_cpu.py --lines runs/plateau.jsonl
    python benchmarks/plateau_cpu.py --lines runs/plateau.jsonl --only "baseline" --seeds 0 1 2
    python benchmarks/plateau_cpu.py --dry-run
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from cells import SWEEPS
from plateau_changes import Variant
from plateau_run import curves_of
from record import arguments, write

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import load_sweep

N_PROBES = 14

BASE = {
    "data.pools": "mini",
    "data.n_people": "100",
    "model": "gpt2-2-2",
    "model.head_dim": "32",
    "train.exposures": "100",
    "train.lr": "4.0e-3",
    "train.weight_decay": "0.01",
    "train.batch_windows": "2",
    "train.window_tokens": "128",
    "train.precision": "fp32",
    "tune.trials": "1",
    "where": "null",
}
"""The baseline: the recipe of arXiv 2404.05405 in all but sizes and the learning rate."""


def _set(name: str, **settings: str) -> Variant:
    """A variant of settings alone; `__` stands for the dot in a key."""
    return Variant(name=name, settings={k.replace("__", "."): v for k, v in settings.items()})


VARIANTS = (
    Variant(name="baseline"),
    _set("1.5 x the people", data__n_people="150"),
    _set("2 x the people", data__n_people="200"),
    _set("half the people", data__n_people="50"),
    Variant(name="lr x0.5, x2", lr_factors=(0.5, 2.0)),
    Variant(name="one order", one_order=True),
    Variant(name="one template", one_template=True),
    Variant(name="one order, one template", one_order=True, one_template=True),
    _set("2.28 times as long", train__exposures="228"),
    _set("batch 1", train__batch_windows="1"),
    _set("batch 12", train__batch_windows="12"),
    _set("width 128", model__head_dim="64"),
    _set("width 32", model__head_dim="16"),
    _set("1 layer", model="gpt2-1-2"),
    _set("4 layers", model="gpt2-4-2"),
    _set("bf16", train__precision="bf16"),
    _set("eps 1e-8", train__eps="1.0e-8"),
    _set("beta2 0.999", train__beta2="0.999"),
    _set("beta2 0.95", train__beta2="0.95"),
    Variant(name="no decay, decay x10", lr_factors=(1.0, 1.0), decay_factors=(0.0, 10.0)),
    Variant(name="no decay of embeddings", decays_embedding=False),
    _set("init 0.06", train__init_std="0.06"),
    _set("init 0.2", train__init_std="0.2"),
    Variant(name="embedding init x5", embedding_factor=5.0),
    _set("rotary quarter", model__rotary_frac="0.25"),
    Variant(name="no rotary", rotary_frac=0.0),
    _set("rotary base 100", model__rope_base="100"),
    _set("windows of 512", train__window_tokens="512", train__batch_windows="1"),
    Variant(name="full name in every sentence", texts="name everywhere"),
    Variant(
        name="nothing before the name",
        texts="alone",
        # The baseline has 3.5 biographies in a step.
        settings={"train.window_tokens": "104", "train.batch_windows": "4"},
    ),
    Variant(
        name="one whole biography anywhere in a window",
        texts="anywhere",
        settings={"train.window_tokens": "208", "train.batch_windows": "4"},
    ),
    Variant(
        name="two whole biographies in a window",
        texts="pairs",
        settings={"train.window_tokens": "208", "train.batch_windows": "2"},
    ),
    _set("no warm-up", train__warmup_steps="0"),
    _set("warm-up a third", train__warmup_frac="0.333", train__warmup_steps="100_000"),
    _set("no cosine", train__final_lr_ratio="1.0"),
    _set("clip 1", train__grad_clip="1.0"),
    Variant(name="bf16, residual too", residual_bf16=True, settings={"train.precision": "bf16"}),
    Variant(name="bf16, softmax too", softmax_bf16=True, settings={"train.precision": "bf16"}),
    _set("llama", model="llama-2-2"),
    _set("untied", model="gpt2-2-2-untied"),
    _set("canon", model="gpt2-2-2-canon"),
    _set("muon", train__optimizer="muon"),
    _set("1 head", model="gpt2-2-1", model__head_dim="64"),
    _set("4 heads", model="gpt2-2-4", model__head_dim="16"),
    _set("init 0.006", train__init_std="0.006"),
    _set("exposures by windows of 512", train__exposures="117"),
)
"""In the order in which they are run: the most informative first."""

TINY = {"data.n_people": "12", "train.exposures": "4", "model.head_dim": "8"}


def cell_of(variant: Variant, seed: int, *, is_tiny: bool) -> Cell:
    """The baseline with the variant's change."""
    changed = BASE | variant.settings | {"seed": str(seed)} | (TINY if is_tiny else {})
    return load_sweep(SWEEPS / "exposure100.yaml", changed).cells[0]


def run(variant: Variant, seed: int, *, is_tiny: bool) -> list[dict[str, Any]]:
    """The variant's curves, one for each of its trials."""
    cell = cell_of(variant, seed, is_tiny=is_tiny)
    return curves_of(variant, cell, torch.device("cpu"), n_probes=N_PROBES)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """What is done."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_missing(
    variants: Sequence[Variant], seeds: Sequence[int], path: Path, is_tiny: bool
) -> None:
    """Run what the file of lines does not have; a line for each curve when its run ends."""
    for seed in seeds:
        for variant in variants:
            if any(
                (one["variant"], one["seed"]) == (variant.name, seed) for one in read_lines(path)
            ):
                continue
            found = run(variant, seed, is_tiny=is_tiny)
            with path.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps(trial) + "\n" for trial in found)
            for trial in found:
                print(shown(trial), flush=True)


def shown(trial: dict[str, Any]) -> str:
    """A line of the table."""
    final = trial["final"]
    return (
        f"{trial['variant']:28} seed {trial['seed']} lr {trial['lr']:.1e} "
        f"wd {trial['weight_decay']:.3f} steps {trial['n_steps']:6} "
        f"left {trial['left_plateau_at']} names {final['loss_name_nats']:.2f} "
        f"values {final['loss_value_nats']:.2f} of {trial['prior_value_nats']:.2f} "
        f"R {final['capacity_ratio']:.3f} of {trial['max_capacity_ratio']:.3f} "
        f"({trial['seconds']:.0f} s)"
    )


def _without_losses(one: dict[str, Any]) -> dict[str, Any]:
    """Without the loss of every logged step, which only the lines keep."""
    return {key: value for key, value in one.items() if key != "training_loss"}


def main() -> None:
    """What is missing, then all that there is as a result file."""
    parser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--lines", type=Path, help="file that gets a line for each curve")
    parser.add_argument("--only", nargs="+", help="names of variants")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    chosen = parser.parse_args()
    variants = [one for one in VARIANTS if chosen.only is None or one.name in chosen.only]
    with tempfile.TemporaryDirectory() as directory:
        path = chosen.lines or Path(directory) / "lines.jsonl"
        run_missing(variants, chosen.seeds, path, chosen.dry_run)
        found = [_without_losses(one) for one in read_lines(path)]
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()
