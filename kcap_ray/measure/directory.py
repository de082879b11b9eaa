"""What the causal language model in a Hugging Face directory stores about a cell's data.

Only files of the directory are read; nothing is downloaded and none of its code is run.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoTokenizer, PreTrainedModel

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError, check, one_line
from kcap_ray.measure.causal_model import (
    load_causal_model,
    logits_of,
    longest_sequence,
    vocabulary_size,
)
from kcap_ray.measure.counted import CountedPositions
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import ScoringModel, measure_scoring_model, nats_of_logits
from kcap_ray.measure.translation import Renumbering, Retokenizing, renumbering
from kcap_ray.runs.columns_json import GroupRecord, read_list
from kcap_ray.runs.record import MeasuredModel
from kcap_ray.text.evaluation import BiographyTooLongError
from kcap_ray.text.stream.corpus import build_corpus
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import CompactVocabulary

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
ASSUMED = "GPT-2's, as asked for"
"""What is said of the tokens of a directory that has no tokenizer."""

_NO_LIMIT = 1 << 20  # tokens that a model without a longest sequence is given at most


@dataclass(frozen=True, kw_only=True)
class MeasureOptions:
    """How a directory is measured, where that is not clear from what lies in it."""

    bos: str = "auto"
    """Whether documents begin with the tokenizer's beginning of text: `yes`, `no` (with an end of
    text, as between documents), or `auto`, as the tokenizer itself would begin them.
    """
    eos: str | None = None
    """Token that ends a text, where the tokenizer names none."""
    gpt2_ids: bool = False
    """Whether a directory without a tokenizer has GPT-2's tokens."""
    dtype: str = "fp32"
    """Arithmetic of the model, `fp32` or `bf16`; losses are computed in float32 from its logits."""
    on_progress: Callable[[int, int], None] = lambda n_done, n_people: None
    """Called with the people of a table that are measured, and all of them."""

    def __post_init__(self) -> None:
        check(self.bos in ("auto", "yes", "no"), f"bos: got {self.bos!r}; write auto, yes or no")
        check(self.dtype in ("fp32", "bf16"), f"dtype: got {self.dtype!r}; write fp32 or bf16")


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    """The tokens that a model reads."""

    translate: Renumbering | Retokenizing
    eos: int
    described: str
    """Which they are."""
    n_in_data: int | None = None
    """How many of them the data can use; None: counted while they are met."""
    first: int | None = None
    """What documents begin with, if not with the end of a text."""

    @property
    def n_used(self) -> int:
        """Tokens that the data use."""
        if self.n_in_data is not None:
            return self.n_in_data
        assert isinstance(self.translate, Retokenizing)
        return len(self.translate.used | ({self.first} if self.first is not None else set()))


_AS_IT_IS = MeasureOptions()


def measure_directory(
    path: Path, cell: Cell, *, device: torch.device, options: MeasureOptions = _AS_IT_IS
) -> MeasuredModel:
    """Bits that the model stores, under the names of the columns of results.parquet.

    The model gets the documents that the cell's own models are measured on: in the cell's tokens if
    `kcap_vocab.json` lies beside it, else as its own tokenizer cuts the text, else, if `options`
    say so, in GPT-2's tokens. `n_params` counts all of its weights, those that are used twice once;
    `n_params_used` leaves out the rows, of embedding and output head, of tokens that these data
    never use, so that it compares with a model that was trained on the data's own vocabulary.

    Raises `UserError` if there is no such model, if it is not causal, or if it does not fit the
    data.
    """
    dtype = torch.bfloat16 if options.dtype == "bf16" else torch.float32
    model = load_causal_model(path, device, dtype)
    corpus = build_corpus(cell.data)
    try:
        tokens = _tokens(path, model, corpus.vocab, options)
        scorer = _scorer(model, tokens, device, options)
        (groups,) = measure_scoring_model(scorer, corpus.sources, seed=cell.seed)
    except BiographyTooLongError as error:
        raise UserError(
            f"{path} reads {longest_sequence(model)} tokens at most, but a biography of "
            f"{cell.cell_id} has {error.n_tokens} of its tokens; take a model with a longer context"
        ) from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    measured = measured_of(groups, [0.0] * len(corpus.sources))
    measured = replace(measured, groups=_without_exposures(measured.groups))
    stored, n_params = total_bits(groups), sum(p.numel() for p in model.parameters())
    n_params_used = n_params - _unused_weights(model, tokens.n_used)
    return MeasuredModel(
        model=str(path),
        model_class=type(model).__name__,
        tokens=tokens.described,
        begins_with_bos=tokens.first is not None,
        n_tokens_used=tokens.n_used,
        context_tokens=longest_sequence(model),
        cell_id=cell.cell_id,
        dataset=cell.data.label,
        n_people=cell.data.n_people,
        n_params=n_params,
        n_params_used=n_params_used,
        stored_bits=stored,
        demand_bits=corpus.demand_bits,
        capacity_ratio=stored / n_params,
        capacity_ratio_used=stored / n_params_used,
        max_capacity_ratio=corpus.demand_bits / n_params,
        **measured.to_dict(),
    )


def _without_exposures(groups: str | None) -> str | None:
    """The column without what only who trained the model knows."""
    if groups is None:
        return None
    records = [record.to_dict() for record in read_list(GroupRecord, groups)]
    return json.dumps(
        [{name: value for name, value in one.items() if name != "exposures"} for one in records]
    )


def _scorer(
    model: PreTrainedModel, tokens: _Tokens, device: torch.device, options: MeasureOptions
) -> ScoringModel:
    """The model as what is measured: it reads these tokens and says their nats."""
    return ScoringModel(
        nats=lambda tokens_PT, ends=None: nats_of_logits(
            logits_of(model, tokens_PT[:, :-1])[None], tokens_PT, ends
        ),
        n_trials=1,
        n_tokens=longest_sequence(model) or _NO_LIMIT,
        vocab_size=vocabulary_size(model),
        eos=tokens.eos,
        device=device,
        translate=tokens.translate,
        first=tokens.first,
        on_progress=options.on_progress,
        nats_of_counted=CountedPositions(model),
    )


def _unused_weights(model: PreTrainedModel, n_used: int) -> int:
    """Weights in rows, of the embedding and of an output head of its own, of tokens that the data
    never use.
    """
    size = vocabulary_size(model)
    try:
        layers = (model.get_input_embeddings(), model.get_output_embeddings())
        found = [getattr(layer, "weight", None) for layer in layers]
    except (NotImplementedError, AttributeError):  # of our own class, whose tables are no layers
        found = [weight for weight in model.parameters() if weight.dim() == 2]
    tables = {id(weight): weight for weight in found if isinstance(weight, torch.Tensor)}
    widths = [w.numel() // w.shape[0] for w in tables.values() if w.shape[0] == size]
    return sum(widths) * max(0, size - n_used)


def _tokens(
    path: Path, model: PreTrainedModel, vocab: CompactVocabulary, options: MeasureOptions
) -> _Tokens:
    """The tokens that the model reads, and how the data are put into them."""
    vocab_file, size = path / "kcap_vocab.json", vocabulary_size(model)
    if vocab_file.is_file():
        try:
            own = json.loads(vocab_file.read_text(encoding="utf-8"))
            ids, eos = np.array(own["gpt2_ids"], dtype=np.int64), int(own["eos"])
        except (ValueError, LookupError, TypeError) as error:
            raise UserError(f"kcap_vocab.json cannot be read ({error})") from error
        if len(ids) > size:
            raise UserError(
                f"kcap_vocab.json has {len(ids)} tokens and the model {size}; "
                "they are not of the same export"
            )
        return _Tokens(
            translate=renumbering(vocab, ids),
            eos=eos,
            described="those of kcap_vocab.json",
            n_in_data=vocab.size,
        )
    if any((path / name).is_file() for name in _TOKENIZER_FILES):
        return _own_tokens(path, size, vocab, options)
    if size < bpe.VOCAB_SIZE:
        raise UserError(
            f"no tokenizer in it, and its {size} tokens are not GPT-2's {bpe.VOCAB_SIZE}; put its "
            "tokenizer.json there"
        )
    if not options.gpt2_ids:
        raise UserError(
            "no tokenizer in it; put its tokenizer.json there, or say --gpt2-ids if its tokens are "
            "GPT-2's"
        )
    return _Tokens(
        translate=renumbering(vocab, np.arange(bpe.VOCAB_SIZE)),
        eos=bpe.EOS,
        described=ASSUMED,
        n_in_data=vocab.size,
    )


def _own_tokens(
    path: Path, size: int, vocab: CompactVocabulary, options: MeasureOptions
) -> _Tokens:
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            path, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # a broken file raises whatever its reader stumbles over
        raise UserError(f"its tokenizer cannot be read ({one_line(error)})") from error
    if not tokenizer.is_fast:
        raise UserError("its tokenizer does not tell where tokens lie in the text; save a fast one")
    eos = _end_of_text(tokenizer, options)
    return _Tokens(
        translate=Retokenizing(vocab, tokenizer, eos=eos, vocab_size=size),
        eos=eos,
        described="its own tokenizer's",
        first=_beginning(tokenizer, options),
    )


def _end_of_text(tokenizer: Any, options: MeasureOptions) -> int:
    """The token that ends a text; that which begins or separates texts where there is none."""
    if options.eos is not None:
        found = tokenizer.convert_tokens_to_ids(options.eos)
        if found is None or found == tokenizer.unk_token_id:
            raise UserError(f"--eos {options.eos}: its tokenizer has no such token")
        return found
    for name in ("eos", "bos", "sep"):
        found = getattr(tokenizer, f"{name}_token_id", None)
        if found is not None:
            return found
    raise UserError("its tokenizer has no end of text; name the token that ends one: --eos TOKEN")


def _beginning(tokenizer: Any, options: MeasureOptions) -> int | None:
    """The token that documents begin with; None for the end of a text."""
    bos = tokenizer.bos_token_id
    if options.bos == "no":
        return None
    if options.bos == "yes":
        if bos is None:
            raise UserError("--bos yes: its tokenizer has no beginning of text; write --bos no")
        return bos
    begun = tokenizer("a")["input_ids"]
    return bos if bos is not None and begun and begun[0] == bos else None
