"""P15: documents per second that `kcap measure` measures of a Hugging Face model.

Random models with GPT-2's vocabulary of 50,257 tokens, on bioS of the full pools, one core,
float32: a narrow one (2 layers, 128 wide) and GPT-2 small. The peer evaluates the same documents,
with the same masks, in batches of as many, as one writes it with transformers: all logits, cross
entropy, masks. Both take turns block by block; rendering the documents is in neither time. The
losses of both are compared.

Peer: a plain batched evaluation
Goal: at least 1.5 x on a CPU
Needs: 3 GiB of memory

    python benchmarks/measured_models.py
"""

import argparse
import os
import statistics
import time
from typing import Any

import torch
from record import arguments, claim, write
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from kcap_ray.config.data import DataConfig
from kcap_ray.measure.causal_model import logits_of
from kcap_ray.measure.counted import CountedPositions
from kcap_ray.measure.nats import ScoringModel, documents_of, ends_of, nats_of_logits
from kcap_ray.text.stream.corpus import build_corpus

GOAL = 1.5
TOLERANCE = 1e-5
MODELS = {
    "2 layers, 128 wide": GPT2Config(n_layer=2, n_head=2, n_embd=128),
    "GPT-2 small": GPT2Config(),
}


def plain(model: GPT2LMHeadModel, tokens_PT: Tensor, is_counted_PT: Tensor) -> Tensor:
    """Summed losses of every document, as one writes it with transformers."""
    logits = model(tokens_PT[:, :-1]).logits
    targets = tokens_PT[:, 1:]
    nats = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), reduction="none"
    )
    return (nats.view(targets.shape) * is_counted_PT[:, 1:]).sum(dim=1)


@torch.no_grad()
def claim_of(what: str, config: GPT2Config, n_blocks: int) -> dict[str, Any]:
    """Both sides on the same blocks of documents."""
    torch.manual_seed(0)
    model = GPT2LMHeadModel(config).eval()
    corpus = build_corpus(DataConfig(n_people=1_000, vocab="full"))
    counted = CountedPositions(model)
    scorer = ScoringModel(
        nats=lambda tokens, ends=None: nats_of_logits(
            logits_of(model, tokens[:, :-1])[None], tokens, ends
        ),
        n_trials=1,
        n_tokens=512,
        vocab_size=config.vocab_size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    (source,) = corpus.sources
    times: dict[str, list[float]] = {"ours": [], "peer": []}
    differences, n_documents, share = [], 0, 0.0
    for number, documents in enumerate(documents_of(scorer, source, 0, source.n_people)):
        if number > n_blocks:
            break
        tokens_PT = torch.from_numpy(documents.tokens_PT.astype("int64"))
        is_counted_PT = torch.from_numpy(documents.target_PT > 0)
        ends = ends_of(documents, scorer)
        began = time.perf_counter()
        ours_P = counted(tokens_PT, ends, is_counted_PT)[0].sum(dim=1)
        between = time.perf_counter()
        peer_P = plain(model, tokens_PT, is_counted_PT)
        ended = time.perf_counter()
        # The first block is measured both ways by ours, and warms up.
        if number > 0:
            n_documents, share = len(tokens_PT), float(is_counted_PT.float().mean())
            times["ours"].append((between - began) / n_documents)
            times["peer"].append((ended - between) / n_documents)
            if ends is None:
                differences.append(float((ours_P / peer_P - 1).abs().max()))
    return claim(
        "P15",
        ours=1 / statistics.median(times["ours"]),
        peer=1 / statistics.median(times["peer"]),
        unit="documents/s",
        goal=GOAL,
        goal_for="ratio",
        what=f"{what}, {n_documents} documents at a time",
        peer_is="plain batched evaluation",
        losses_agree=not differences or max(differences) < TOLERANCE,
        losses_differ_by=max(differences, default=None),
        share_counted=share,
        seconds_per_document=times,
    )


def main() -> None:
    """Both models."""
    parser: argparse.ArgumentParser = arguments(__file__, __doc__, has_dry_run=True)
    parser.add_argument("--blocks", type=int, default=15)
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    models = dict(list(MODELS.items())[:1]) if chosen.dry_run else MODELS
    n_blocks = 2 if chosen.dry_run else chosen.blocks
    found = [claim_of(what, config, n_blocks) for what, config in models.items()]
    write(__file__, found, chosen.json, is_dry_run=chosen.dry_run)


if __name__ == "__main__":
    main()
