"""The tokenizer of a compact vocabulary, as transformers reads it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import MARKER_ID, MARKER_TEXT


def save_tokenizer(path: Path, gpt2_ids: Sequence[int], *, n_tokens: int) -> None:
    """Write the tokenizer of a model whose token i stands for GPT-2's `gpt2_ids[i]`, so that
    `AutoTokenizer.from_pretrained(path)` gives the model's own ids; `n_tokens`: longest sequence.

    Text that the data can say is cut as GPT-2 cuts it. Symbols that GPT-2 passes through on the
    way, and single bytes, have ids behind those of the model: they are met only in text that the
    data cannot say, of which the model knows nothing.
    """
    special = {"eos_token": _symbol(bpe.EOS), "bos_token": _symbol(bpe.EOS)}
    special["pad_token"] = _symbol(bpe.EOS)
    marked: dict[str, Any] = (
        {"additional_special_tokens": [MARKER_TEXT]} if MARKER_ID in gpt2_ids else {}
    )
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(gpt2_ids),
        model_max_length=n_tokens,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
        **special,
        **marked,
    ).save_pretrained(path)


def _symbol(gpt2_id: int) -> str:
    return MARKER_TEXT if gpt2_id == MARKER_ID else bpe.symbols()[gpt2_id]


def _tokenizer(gpt2_ids: Sequence[int]) -> Tokenizer:
    ids = {_symbol(int(gpt2_id)): number for number, gpt2_id in enumerate(gpt2_ids)}
    pair_of = {left + right: (left, right) for left, right in bpe.merges()}
    merged: set[str] = set()
    waiting = [symbol for symbol in ids if symbol in pair_of]
    while waiting:
        symbol = waiting.pop()
        if symbol not in merged:
            merged.add(symbol)
            waiting += [half for half in pair_of[symbol] if half in pair_of]
    # First those bytes and intermediate symbols that are no tokens of the model get ids.
    for symbol in (*bpe.symbols()[:256], *sorted(merged)):
        ids.setdefault(symbol, len(ids))
    merges = [pair for pair in bpe.merges() if pair[0] + pair[1] in merged]
    found = Tokenizer(models.BPE(vocab=ids, merges=merges))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    found.decoder = decoders.ByteLevel()  # pyright: ignore
    return found
