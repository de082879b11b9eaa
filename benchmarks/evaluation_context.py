"""Does the loss on a name depend on what stands before the document?

Trains the quickstart's model on 400 people and measures everybody's name and values with 0, 1, 2
and 4 biographies of other people in front. Prints JSON.

    python benchmarks/evaluation_context.py --json benchmarks/results/evaluation_context.json
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from kcap_ray.measure.nats import token_nats
from kcap_ray.models.decoder import Decoder
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.runs.environment import describe
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.batches import in_process_batches
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.stream.mixing import training_stream
from kcap_ray.training.loop import train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

SWEEP = Path(__file__).parents[1] / "sweeps" / "quickstart.yaml"
SETTINGS = {
    "data.n_people": "400",
    "model": "gpt2-2-1",
    "train.exposures": "100",
    "tune.trials": "1",
    "tune.lr": "null",
    "tune.weight_decay": "null",
}


def losses_behind(model: Decoder, corpus: Corpus, n_before: int) -> dict[str, float]:
    """Mean loss of a name, and of a value, with that many other biographies in front, in nats."""
    source = corpus.main
    assert source.entropy is not None
    n_people, eos = source.n_people, corpus.vocab.eos
    documents = evaluation_documents(source, range(n_people), 0, eos=eos, max_tokens=512)
    # A document is end of text, another biography, end of text, the biography, end of text.
    n_tokens = (documents.tokens_PT.shape[1] - 1) // 2
    own_PT = documents.tokens_PT[:, 1 + n_tokens :]
    target_PT = documents.target_PT[:, 1 + n_tokens :]
    rng = np.random.default_rng(0)
    before = [own_PT[rng.permutation(n_people)] for _ in range(n_before)]
    eos_P1 = np.full((n_people, 1), eos)
    tokens_PT = np.concatenate([eos_P1, *before, own_PT], axis=1).astype(np.int64)
    with torch.no_grad():
        nats_PT = token_nats(model, torch.from_numpy(tokens_PT))[0, :, -n_tokens:].double().numpy()
    return {
        "biographies_before": n_before,
        "name_nats": float(nats_PT[target_PT == 1].sum() / n_people),
        "value_nats": float(nats_PT[target_PT >= 2].sum() / n_people / source.entropy.n_attributes),
    }


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    cell = load_sweep(SWEEP, SETTINGS).cells[0]
    corpus = build_corpus(cell.data)
    n_steps = length_of(cell).steps
    stream = training_stream(corpus, seed=cell.seed, window_tokens=cell.train.window_tokens)
    result = train(
        TrainStep(
            cell,
            spec_of(cell),
            [Point(lr=cell.train.lr, weight_decay=cell.train.weight_decay)],
            n_steps=n_steps,
            device=torch.device("cpu"),
        ),
        in_process_batches(stream, cell.train, rank=0, n_steps=n_steps),
    )
    # A longer table of angles: the model itself reads any length.
    model = Decoder(spec_of(cell).alike, n_tokens=512)
    model.load_state_dict(result.model.state_dict())
    found = {
        "claim": "evaluation context",
        "unit": "nats",
        "cell": cell.cell_id,
        "log_n_people_nats": float(np.log(corpus.main.n_people)),
        "losses": [losses_behind(model, corpus, n) for n in (0, 1, 2, 4)],
        **describe(),
        "command": "python benchmarks/evaluation_context.py",
    }
    text = json.dumps(found, indent=1)
    print(text)
    if chosen.json is not None:
        chosen.json.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
