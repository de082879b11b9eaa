"""What the causal language model in a Hugging Face directory stores about a cell's data.

Only files of the directory are read; nothing is downloaded and none of its code is run.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedModel

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.measure.causal_model import (
    first_line,
    load_causal_model,
    logits_of,
    longest_sequence,
    vocabulary_size,
)
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import ScoringModel, measure_scoring_model, nats_of_logits
from kcap_ray.measure.translation import Retokenizing, renumbering
from kcap_ray.text.evaluation import BiographyTooLongError
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
_NO_LIMIT = 1 << 20  # tokens that a model without a longest sequence is given at most


def measure_directory(path: Path, cell: Cell, *, device: torch.device) -> dict[str, Any]:
    """Bits that the model stores, under the names of the columns of results.parquet.

    The model gets the documents that the cell's own models are measured on, in float32: in the
    cell's tokens if `kcap_vocab.json` lies beside it, else as its own tokenizer cuts the text, else
    in GPT-2's tokens. P counts all of its weights, those that are used twice once.

    Raises `UserError` if there is no such model, if it is not causal, or if it does not fit the
    data.
    """
    model = load_causal_model(path, device)
    corpus = build_corpus(cell.data)
    try:
        translate, eos, tokens = _translation(path, model, corpus.vocab)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    n_tokens = longest_sequence(model)
    scorer = ScoringModel(
        nats=lambda tokens_PT, ends=None: nats_of_logits(
            logits_of(model, tokens_PT[:, :-1])[None], tokens_PT, ends
        ),
        n_trials=1,
        n_tokens=n_tokens or _NO_LIMIT,
        vocab_size=vocabulary_size(model),
        eos=eos,
        device=device,
        translate=translate,
    )
    try:
        (groups,) = measure_scoring_model(scorer, corpus.sources, seed=cell.seed)
    except BiographyTooLongError as error:
        raise UserError(
            f"{path} reads {n_tokens} tokens at most, but a biography of {cell.cell_id} has "
            f"{error.n_tokens} of its tokens; take a model with a longer context"
        ) from error
    measured = measured_of(groups, [0.0] * len(corpus.sources))
    stored, n_params = total_bits(groups), sum(p.numel() for p in model.parameters())
    records = [dict(record) for record in json.loads(measured.groups or "[]")]
    for record in records:
        del record["exposures"]  # only who trained the model knows
    return {
        "model": str(path),
        "class": type(model).__name__,
        "tokens": tokens,
        "context_tokens": n_tokens,
        "cell_id": cell.cell_id,
        "dataset": cell.data.label,
        "n_people": cell.data.n_people,
        "n_params": n_params,
        **measured.to_dict(),
        "stored_bits": stored,
        "demand_bits": corpus.demand_bits,
        "capacity_ratio": stored / n_params,
        "max_capacity_ratio": corpus.demand_bits / n_params,
        "groups": records or None,
    }


def _translation(
    path: Path, model: PreTrainedModel, vocab: CompactVocabulary
) -> tuple[Any, int, str]:
    """From the tokens of the data to those of the model, its end of text, and which they are."""
    vocab_file = path / "kcap_vocab.json"
    if vocab_file.is_file():
        try:
            own = json.loads(vocab_file.read_text(encoding="utf-8"))
            ids, eos = np.array(own["gpt2_ids"], dtype=np.int64), int(own["eos"])
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"kcap_vocab.json cannot be read ({error})") from error
        if len(ids) > vocabulary_size(model):
            raise UserError(
                f"kcap_vocab.json has {len(ids)} tokens and the model {vocabulary_size(model)}; "
                "they are not of the same export"
            )
        return renumbering(vocab, ids), eos, "those of kcap_vocab.json"
    if any((path / name).is_file() for name in _TOKENIZER_FILES):
        return _own_tokens(path, model, vocab)
    if vocabulary_size(model) == bpe.VOCAB_SIZE:
        return renumbering(vocab, np.arange(bpe.VOCAB_SIZE)), bpe.EOS, "GPT-2's"
    raise UserError(
        f"no tokenizer in it, and its {vocabulary_size(model)} tokens are not GPT-2's "
        f"{bpe.VOCAB_SIZE}; put its tokenizer.json there"
    )


def _own_tokens(
    path: Path, model: PreTrainedModel, vocab: CompactVocabulary
) -> tuple[Retokenizing, int, str]:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        raise UserError(f"its tokenizer cannot be read ({first_line(error)})") from error
    if not tokenizer.is_fast:
        raise UserError("its tokenizer does not tell where tokens lie in the text; save a fast one")
    eos = tokenizer.eos_token_id
    eos = tokenizer.bos_token_id if eos is None else eos
    if eos is None:
        raise UserError("its tokenizer has no end of text; give it an eos_token")
    if len(tokenizer) > vocabulary_size(model):
        raise UserError(
            f"its tokenizer has {len(tokenizer)} tokens and the model {vocabulary_size(model)}; "
            "they do not belong together"
        )
    return Retokenizing(vocab, tokenizer, eos=eos), eos, "its own tokenizer's"
