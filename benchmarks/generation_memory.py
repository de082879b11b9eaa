"""P1, memory: what it takes to generate without end, and for 20 million people.

Flat: a process reads a billion tokens of bioS one part after another; ours is by how much its
memory grew at most after the first tenth, the peer what the same tokens take when they are made
beforehand (two bytes each). Many people: a process draws the table of 20 million people, orders an
exposure and makes windows from its beginning and its middle; ours is its peak memory, the peer the
tokens of that single exposure made beforehand. Each is measured in a process of its own.

Peer: the same tokens made beforehand, two bytes each
Goal: at most 4 GiB for 20 million people
Needs: 4 GiB of memory

    python benchmarks/generation_memory.py
"""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from record import arguments, claim, write

from kcap_ray.config.data import DataConfig
from kcap_ray.text.stream.batches import MIN_CHUNK_WINDOWS
from kcap_ray.text.stream.corpus import build_corpus, facts_of
from kcap_ray.text.stream.mixing import training_stream

WINDOW_TOKENS = 512
MIB = 2**20
BYTES_PER_TOKEN = 2


def memory_mib() -> float:
    """Memory that the process holds now (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
    return pages * resource.getpagesize() / MIB


def peak_mib() -> float:
    """Most memory that the process has held; Linux counts it in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def flat(n_tokens: int, n_people: int) -> dict[str, float]:
    """Memory while the stream is read, and how fast it was."""
    corpus = build_corpus(DataConfig(n_people=n_people))
    stream = training_stream(corpus, seed=0, window_tokens=WINDOW_TOKENS)
    n_windows = n_tokens // WINDOW_TOKENS
    held: list[float] = []
    start_s = time.perf_counter()
    for first in range(0, n_windows, MIN_CHUNK_WINDOWS):
        stream.windows(first, min(first + MIN_CHUNK_WINDOWS, n_windows))
        if first >= n_windows / 10:
            held.append(memory_mib())
    seconds = time.perf_counter() - start_s
    return {
        "growth_mib": max(held) - held[0],
        "peak_mib": peak_mib(),
        "seconds": seconds,
        "tokens_per_s": n_tokens / seconds,
    }


def many_people(n_people: int) -> dict[str, float]:
    """Peak memory and seconds until the first windows, and until some of the middle."""
    start_s = time.perf_counter()
    corpus = build_corpus(DataConfig(n_people=n_people))
    table_s = time.perf_counter() - start_s
    stream = training_stream(corpus, seed=0, window_tokens=WINDOW_TOKENS)
    stream.windows(0, MIN_CHUNK_WINDOWS)
    first_windows_s = time.perf_counter() - start_s
    middle = int(n_people * facts_of(corpus.data).tokens_per_biography / WINDOW_TOKENS / 2)
    stream.windows(middle, middle + MIN_CHUNK_WINDOWS)
    return {
        "peak_mib": peak_mib(),
        "table_s": table_s,
        "first_windows_s": first_windows_s,
        "seconds": time.perf_counter() - start_s,
    }


PARTS = {"flat": flat, "many_people": many_people}


def in_own_process(part: str, *numbers: int) -> dict[str, Any]:
    """What the part measures in a fresh interpreter."""
    command = [sys.executable, __file__, "--part", part, *map(str, numbers)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Measure each part in a process of its own, print."""
    if sys.argv[1:2] == ["--part"]:
        print(json.dumps(PARTS[sys.argv[2]](*map(int, sys.argv[3:]))))
        return
    parser = arguments(__file__, __doc__)
    parser.add_argument("--tokens", type=int, default=1_000_000_000)
    parser.add_argument("--people", type=int, default=20_000_000)
    parser.add_argument("--people-of-the-flat-part", type=int, default=100_000)
    chosen = parser.parse_args()
    flat_part = in_own_process("flat", chosen.tokens, chosen.people_of_the_flat_part)
    people_part = in_own_process("many_people", chosen.people)
    exposure_tokens = (
        chosen.people * facts_of(DataConfig(n_people=chosen.people)).tokens_per_biography
    )
    found = [
        claim(
            "P1-flat",
            ours=flat_part["growth_mib"],
            peer=chosen.tokens * BYTES_PER_TOKEN / MIB,
            unit="MiB",
            peer_is="the same tokens made beforehand, two bytes each",
            tokens=chosen.tokens,
            n_people=chosen.people_of_the_flat_part,
            measured=flat_part,
        ),
        claim(
            "P1-people",
            ours=people_part["peak_mib"],
            peer=exposure_tokens * BYTES_PER_TOKEN / MIB,
            unit="MiB",
            goal=4 * 1024,
            goal_is="at most",
            peer_is="the tokens of one exposure made beforehand, two bytes each",
            n_people=chosen.people,
            measured=people_part,
        ),
    ]
    write(__file__, found, chosen.json)


if __name__ == "__main__":
    main()
