from typing import Any

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from kcap_ray.config.data import DataConfig, JunkConfig
from kcap_ray.config.errors import UserError
from kcap_ray.measure.translation import Retokenizing, renumbering
from kcap_ray.text.kinds.renderer import Rendered
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import MARKER_ID
from tests.tiny import BIOD, BIOS

DATA = {
    "bioS": BIOS,
    "bioD": BIOD,
    "marked": DataConfig(
        n_people=6, pools="mini", junk=JunkConfig(ratio=1.0, n_people=8, token=True)
    ),
}


def rendered(corpus: Corpus) -> Rendered:
    """The biographies of everybody, as for measurement."""
    people_P = np.arange(corpus.main.n_people)
    return corpus.main.rendered(corpus.main.evaluation(people_P, seed=3))


def gpt2_tokenizer() -> Any:
    """GPT-2's, as transformers has it."""
    return PreTrainedTokenizerFast(tokenizer_object=bpe.tokenizer(), eos_token="<|endoftext|>")


def character_tokenizer() -> Any:
    """One token for each character that bioS can say."""
    characters = {chr(code): code for code in range(256)}
    tokenizer = Tokenizer(models.WordLevel(characters, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")  # pyright: ignore
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize("kind", ["bioS", "bioD"])
def test_gpt2s_tokenizer_makes_gpt2s_ids_with_the_same_meaning(kind: str) -> None:
    """Through the text and through the numbers of tokens, everything is the same."""
    corpus = build_corpus(DATA[kind])
    by_number = renumbering(corpus.vocab, np.arange(bpe.VOCAB_SIZE))(rendered(corpus))
    by_text = Retokenizing(corpus.vocab, gpt2_tokenizer(), eos=bpe.EOS, vocab_size=bpe.VOCAB_SIZE)(
        rendered(corpus)
    )
    for ours, theirs in zip(by_number, by_text, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert by_text.code_L.max() > 1


def test_the_mark_of_useful_people_is_text_without_knowledge() -> None:
    """A tokenizer reads it as `kcap data` writes it; all behind it keeps its meaning."""
    corpus = build_corpus(DATA["marked"])
    own = rendered(corpus)
    marked = Retokenizing(corpus.vocab, gpt2_tokenizer(), eos=bpe.EOS, vocab_size=bpe.VOCAB_SIZE)(
        own
    )
    is_mark = own.tokens_L == corpus.vocab.marker
    assert is_mark.sum() == corpus.main.n_people
    mark = bpe.encode("<|useful|>")
    np.testing.assert_array_equal(marked.length_P, own.length_P + len(mark) - 1)
    assert marked.tokens_L[: len(mark)].tolist() == mark
    np.testing.assert_array_equal(marked.code_L[marked.code_L > 0], own.code_L[own.code_L > 0])
    assert not marked.code_L[: len(mark)].any()


@pytest.mark.parametrize("kind", DATA)
def test_characters_of_values_are_values(kind: str) -> None:
    """Cut into characters, what holds the knowledge spells the values of GPT-2's tokens, without
    spaces; first chunks too.
    """
    corpus = build_corpus(DATA[kind])
    own = rendered(corpus)
    cut = Retokenizing(corpus.vocab, character_tokenizer(), eos=0, vocab_size=1_000)(own)
    assert cut.length_P.sum() == len(cut.tokens_L) == len(cut.code_L)
    for code in range(1, int(own.code_L.max()) + 1):
        spelled = "".join(map(chr, cut.tokens_L[cut.code_L == code]))
        assert spelled == corpus.vocab.decode(own.tokens_L[own.code_L == code]).replace(" ", "")
    first = "".join(map(chr, cut.tokens_L[cut.first_chunk_L]))
    assert first == corpus.vocab.decode(own.tokens_L[own.first_chunk_L]).replace(" ", "")


def test_a_value_without_a_token_of_its_own_is_refused() -> None:
    """What is said for whatever is not known takes no knowledge; around values it does no harm."""
    corpus = build_corpus(BIOS)
    own = rendered(corpus)
    text = corpus.vocab.decode(own.tokens_L[: own.length_P[0] - 1])
    name = text.split()[0]
    words = {"[UNK]": 0} | {word: 1 + i for i, word in enumerate(sorted(set(text.split())))}
    assert name in words

    def retokenizing(known: dict[str, int]) -> Retokenizing:
        tokenizer = Tokenizer(models.WordLevel(known, unk_token="[UNK]"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # pyright: ignore
        return Retokenizing(
            corpus.vocab,
            PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]"),
            eos=len(words),
            vocab_size=1 + len(words),
        )

    n_tokens = own.length_P[0]
    first = Rendered(
        length_P=own.length_P[:1],
        tokens_L=own.tokens_L[:n_tokens],
        code_L=own.code_L[:n_tokens],
        first_chunk_L=own.first_chunk_L[:n_tokens],
    )
    retokenizing(words)(first)
    retokenizing({word: i for word, i in words.items() if word != "was"})(first)
    with pytest.raises(UserError, match=f"has no token for '{name}'"):
        retokenizing({word: i for word, i in words.items() if word != name})(first)


def test_a_larger_vocabulary_in_another_order_will_do() -> None:
    """Numbers are looked up by what they stand for."""
    corpus = build_corpus(BIOD)
    ids = np.random.default_rng(0).permutation(bpe.VOCAB_SIZE)
    translated = renumbering(corpus.vocab, ids)(rendered(corpus))
    np.testing.assert_array_equal(
        ids[translated.tokens_L], corpus.vocab.gpt2_ids[rendered(corpus).tokens_L]
    )


def test_a_vocabulary_that_lacks_a_token_is_refused() -> None:
    """The message says how many are missing and names one."""
    vocab = build_corpus(BIOD).vocab
    missing = int(vocab.gpt2_ids[3])
    with pytest.raises(
        UserError, match=rf"lacks 1 of the {vocab.size} tokens .* GPT-2's {missing}"
    ):
        renumbering(vocab, np.delete(vocab.gpt2_ids, 3))
    with pytest.raises(UserError, match=f"GPT-2's {MARKER_ID} for one"):
        renumbering(build_corpus(DATA["marked"]).vocab, np.arange(bpe.VOCAB_SIZE))
