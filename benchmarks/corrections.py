"""What the corrections of what is counted did: each number as it was and as it is.

    python benchmarks/corrections.py --json benchmarks/results/corrections.json

1. bioD: every committed row that was made with the credit of its diversity sets by the T symbols
   of the alphabet, so and by the U that the sets use. R falls by K D L log2(T/U) / P and losses are
   what they were, so no run has to be repeated: `convert_credit.py` converted the tables.
2. Pools of which values begin others: bits a person that a reader of the pools, who knows nobody,
   was credited with. `--pools DIR` adds a directory.
3. bioS_simple: people who were measured on a text that was never trained on.
4. Experts: the loss on names and values of an untrained mixture, by people measured together, with
   places for twice the even share and with places for all.
"""

import argparse
import json
import re
from functools import partial
from itertools import groupby
from math import log2
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from convert_credit import is_converted, uncredited_bits

import kcap_ray.measure.nats as nats
from kcap_ray.config.data import DataConfig
from kcap_ray.knowledge.diversity import n_symbols_drawn
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from kcap_ray.runs.environment import describe
from kcap_ray.text.kinds.render import biography_records
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer import bpe

RESULTS = Path(__file__).parents[1] / "docs" / "results"
_BIOD = re.compile(r"bioD-K(\d+)-C(\d+)-D(\d+)-L(\d+)-T(\d+)")
NESTED = ("York", "York City", "York City Heights", "York City Heights North")
"""Cities of an example, each of which begins the next."""


def biod_row(row: dict[str, Any]) -> dict[str, Any] | None:
    """R of a row by the symbols used, and what it was by the alphabet; None for other data."""
    match = _BIOD.match(row["dataset"])
    if match is None or row["status"] != "ok" or row["vocab"] != "compact":
        return None
    K, C, D, L, T = map(int, match.groups())
    seed, ratio = row.get("data_seed", 0), row["capacity_ratio"]
    data = DataConfig(kind="bioD", n_people=1, seed=seed, K=K, C=C, D=D, L=L, T=T)
    more = uncredited_bits(row["dataset"], seed) / row["n_params"]
    return {"T": T, "U": n_symbols_drawn(data), "before": ratio + more, "after": ratio}


def committed_biod() -> list[dict[str, Any]]:
    """Every finished row of bioD under docs/results that was converted."""
    rows = []
    for path in filter(is_converted, sorted(RESULTS.glob("*/results.parquet"))):
        for row in pq.read_table(path).to_pylist():
            found = biod_row(row)
            if found is not None:
                place = {"run": path.parent.name, "cell_id": row["cell_id"]}
                rows.append({**place, "quantization": row.get("quantization"), **found})
    return rows


def alphabets(runs: list[Path]) -> list[dict[str, Any]]:
    """Rows of runs that were made with the new credit, and what they were with the old one."""
    rows = [row for path in runs for row in pq.read_table(path / "results.parquet").to_pylist()]
    found = [(row["cell_id"], biod_row(row)) for row in rows]
    return [{"cell_id": cell_id, **one} for cell_id, one in found if one is not None]


def uncharged_bits(values: tuple[str, ...]) -> float:
    """Mean over values of log2 of how many of the pool begin with its tokens: what the end of a
    value says to a reader of the pool.
    """
    said = [tuple(bpe.encode(f" {value}")) for value in values]
    n_alike = [sum(other[: len(own)] == own for other in said) for own in said]
    return sum(map(log2, n_alike)) / len(values)


def nested_pools(pools: list[str]) -> dict[str, Any]:
    """Bits a person, by pool; after the correction all are 0."""
    found: dict[str, Any] = {"example of four cities": {"cities": uncharged_bits(NESTED)}}
    for name in pools:
        names, values = load_name_pools(name), load_value_pools(name)
        lists = {
            "last names": names.last,
            "cities": values.cities,
            "universities": values.universities,
            "majors": values.majors,
            "employers": values.employers,
        }
        found[Path(name).name] = {what: uncharged_bits(pool) for what, pool in lists.items()}
    return found


def measured_on_another_text(n_people: int = 10_000) -> dict[str, float]:
    """Share of the people of bioS_simple whose work city comes first: there the two sentences were
    swapped for measurement.
    """
    data = DataConfig(kind="bioS_simple", n_people=n_people)
    n_swapped = 0
    for record in biography_records(build_corpus(data).main, range(n_people), 0):
        start = {span["attribute"]: span["start"] for span in record["spans"]}
        n_swapped += start["work_city"] < start["employer"]
    trained = biography_records(build_corpus(data).main, range(100), 0)
    measured = biography_records(build_corpus(data).main, range(100), 0, "eval")
    now = sum(a["text"] != b["text"] for a, b in zip(trained, measured, strict=True))
    return {"before": n_swapped / n_people, "after": now / 100}


def experts() -> list[dict[str, float]]:
    """Nats a person of an untrained gpt2-2-2-moe32, by bytes of logits at a time."""
    corpus = build_corpus(DataConfig(n_people=60, pools="mini"))
    spec = parse_model("gpt2-2-2-moe32", head_dim=16, vocab_size=corpus.vocab.size)
    model = Decoder(spec, n_tokens=256)
    model.init_weights(seed=0, std=0.25)
    scorer = nats.ScoringModel(
        nats=partial(nats.token_nats, model),
        n_trials=1,
        n_tokens=256,
        vocab_size=spec.vocab_size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    rows = []
    usual = nats.MAX_LOGIT_BYTES
    for n_bytes in (2**20, 2**24, 2**28):
        nats.MAX_LOGIT_BYTES = n_bytes
        found = {}
        # In training an expert has places for twice its even share; nothing else differs.
        for name, is_training in (("before", True), ("after", False)):
            model.train(is_training)
            ((group,),) = nats.measure_scoring_model(scorer, corpus.sources, seed=0)
            found[name] = group.loss.name_nats + group.loss.value_nats
        rows.append({"logit_bytes": n_bytes, **found})
    nats.MAX_LOGIT_BYTES = usual
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--pools", action="append", default=[])
    parser.add_argument("--alphabet", action="append", default=[], type=Path)
    arguments = parser.parse_args()
    found = {
        "environment": describe(),
        "biod": committed_biod(),
        "alphabets": alphabets(arguments.alphabet),
        "nested_pools_bits": nested_pools(["full", "mini", *arguments.pools]),
        "bios_simple_on_another_text": measured_on_another_text(),
        "experts_nats": experts(),
    }
    arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for run, group in groupby(found["biod"], key=lambda row: row["run"]):
        rows = list(group)
        peak = max(rows, key=lambda row: row["before"])
        print(f"{run}: {len(rows)} rows, peak {peak['before']:.3f} -> {peak['after']:.3f}")
    for key in ("alphabets", "nested_pools_bits", "bios_simple_on_another_text", "experts_nats"):
        print(key, json.dumps(found[key]))


if __name__ == "__main__":
    main()
