"""P1: how fast one core makes the training windows of bioS, beside the tokenizer that it replaces.

Ours: windows of 512 tokens of the online bioS, cut from the stream as training gets them. Peer: the
Hugging Face fast tokenizer of GPT-2 (its Rust core, on one thread, without offsets) on the text of
the same biographies, given rendered, so that rendering and packing cost it nothing. Both turn by
turn in one run; medians. Before that, the peer's tokens are held against ours: the windows must say
the same text in the same tokens.

Peer: the GPT-2 fast tokenizer on the rendered text
Goal: at least 40M tokens/s on one core
Needs: nothing else

    python benchmarks/generation.py
"""

import os

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import statistics
import time

import numpy as np
from record import arguments, claim, write

from kcap_ray.config.data import DataConfig
from kcap_ray.text.stream.batches import MIN_CHUNK_WINDOWS
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.text.stream.stream import TrainingStream
from kcap_ray.text.tokenizer import bpe

WINDOW_TOKENS = 512
CHUNKS_PER_ROUND = 8
"""Parts of the stream that ours makes in a round, each of as many windows as training asks for."""


def rendered(corpus: Corpus, stream: TrainingStream, n_windows: int) -> tuple[list[str], list[int]]:
    """The whole biographies in the first windows of the stream: texts, and GPT-2 ids of all."""
    row = stream.windows(0, n_windows)[:, :-1].reshape(-1)
    ends = np.flatnonzero(row == corpus.vocab.eos)
    ids = corpus.vocab.gpt2_ids[row[: ends[-1] + 1]]
    biographies = np.split(ids, np.flatnonzero(ids == bpe.EOS) + 1)[:-1]
    texts = [bpe.decode(biography[:-1].tolist()) for biography in biographies]
    return texts, ids.tolist()


def check_text_identical(texts: list[str], ids: list[int]) -> None:
    """The tokenizer makes of every text the tokens that the stream has."""
    theirs = [i for text in texts for i in (*bpe.encode(text), bpe.EOS)]
    assert theirs == ids, "the stream's tokens are not those of its text"


def tokens_per_s(
    stream: TrainingStream, texts: list[str], n_text_tokens: int, n_rounds: int
) -> tuple[list[float], list[float]]:
    """Rates of both sides, round by round."""
    tokenizer = bpe.tokenizer()
    ours, peer = [], []
    n_ours = CHUNKS_PER_ROUND * MIN_CHUNK_WINDOWS
    for round_ in range(n_rounds):
        start = time.perf_counter()
        for chunk in range(CHUNKS_PER_ROUND):
            first = round_ * n_ours + chunk * MIN_CHUNK_WINDOWS
            stream.windows(first, first + MIN_CHUNK_WINDOWS)
        ours.append(n_ours * WINDOW_TOKENS / (time.perf_counter() - start))
        start = time.perf_counter()
        tokenizer.encode_batch_fast(texts)
        peer.append(n_text_tokens / (time.perf_counter() - start))
    return ours, peer


def main() -> None:
    """Check, measure, print."""
    parser = arguments(__file__, __doc__)
    parser.add_argument("--people", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    data = DataConfig(n_people=chosen.people)
    corpus = build_corpus(data)
    stream = training_stream(corpus, seed=0, window_tokens=WINDOW_TOKENS)
    texts, ids = rendered(corpus, stream, MIN_CHUNK_WINDOWS)
    check_text_identical(texts, ids)
    ours, peer = tokens_per_s(stream, texts, len(ids), chosen.rounds)
    found = claim(
        "P1",
        ours=statistics.median(ours),
        peer=statistics.median(peer),
        unit="tokens/s on one core",
        goal=40e6,
        peer_is="Hugging Face tokenizers, GPT-2, encode_batch_fast of the rendered text",
        data=data.label,
        n_people=chosen.people,
        tokens_compared=len(ids),
        rounds=chosen.rounds,
        ours_range=[min(ours), max(ours)],
        peer_range=[min(peer), max(peer)],
    )
    write(__file__, [found], chosen.json)


if __name__ == "__main__":
    main()
