from hypothesis import given
from hypothesis import strategies as st

from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.vocabulary import alphabet


def test_known_ids():
    """`Hello world` and the end of text have GPT-2's ids."""
    assert bpe.encode("Hello world") == [15496, 995]
    assert bpe.symbols()[bpe.EOS] == "<|endoftext|>"
    assert len(bpe.symbols()) == bpe.VOCAB_SIZE == len(set(bpe.symbols()))


@given(st.text())
def test_decoding_inverts_encoding(text):
    """Any text comes back, and its tokens stand for as many bytes as it has."""
    ids = bpe.encode(text)
    assert bpe.decode(ids) == text
    assert bpe.bytes_per_token()[ids].sum() == len(text.encode())


def test_every_symbol_of_the_alphabet_encodes_to_itself():
    """In a row of symbols, each is one token, so a string of L symbols is L tokens."""
    ids = alphabet().tolist()
    assert bpe.encode(bpe.decode(ids)) == ids
    assert all(bpe.decode([i])[0] == " " for i in ids[:1000])
