import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kcap_ray.text.kinds.templates import SENTENCES, load_templates, parse_template
from kcap_ray.text.tokenizer import bpe
from kcap_ray.text.tokenizer.pieces import Fragment, splits_between, tokenize

SIGNS = st.text("ab'sl1 2.,-\u00e9\u5f20", min_size=1, max_size=6)
TIDY = SIGNS.map(lambda text: text[:1] + " ".join(text[1:].split())).filter(
    lambda text: text.strip() and not text.endswith(" ") and "  " not in text
)


@pytest.mark.slow
@given(st.lists(TIDY, min_size=1, max_size=6))
@settings(max_examples=500)
def test_pieces_that_split_are_the_tokens_of_the_whole(texts):
    """Where `splits_between` allows all seams, tokens of pieces are tokens of the joined text."""
    kept = texts[:1]
    for text in texts[1:]:
        if splits_between(kept[-1], text):
            kept.append(text)
    pieces = tokenize([Fragment(text) for text in kept])
    assert pieces.tokens.tolist() == bpe.encode("".join(kept))


@given(st.lists(st.tuples(TIDY, TIDY, TIDY), min_size=1, max_size=5))
def test_value_tokens_are_those_that_share_a_byte_with_the_value(parts):
    """Without its value tokens, a piece has nothing of the value and all tokens clear of it."""
    fragments = [
        Fragment(left + value + right, len(left), len(left + value))
        for left, value, right in parts
        if "  " not in left + value + right
    ]
    pieces = tokenize(fragments)
    for fragment, start, length in zip(fragments, pieces.starts, pieces.lengths, strict=True):
        ids = pieces.tokens[start : start + length].tolist()
        assert ids == bpe.encode(fragment.text)
        first = len(fragment.text[: fragment.start].encode())
        stop = len(fragment.text[: fragment.stop].encode())
        byte = 0
        for token, is_value in zip(ids, pieces.is_value[start : start + length], strict=True):
            n_bytes = bpe.bytes_per_token()[token]
            assert is_value == (byte < stop and byte + n_bytes > first)
            byte += n_bytes


@pytest.mark.parametrize(
    ("left", "right", "splits"),
    [
        ("Forger", " was", True),
        ("Forger", "'s", True),
        ("Inc.", ".", False),
        ("1996", ".", True),
        ("'", "s", False),
        ("a", "b", False),
        ("a ", "b", False),
        ("7", "7", False),
        ("", "x", True),
    ],
)
def test_where_gpt2_splits(left, right, splits):
    """Before a space, and between letters, digits and other signs; but 's holds together."""
    assert splits_between(left, right) == splits


def test_a_merge_across_the_end_of_a_value_counts_as_the_value():
    """In `Acme Inc..` the two periods are one token, which is the value's."""
    pieces = tokenize([Fragment(" Acme Inc..", 1, 10)])
    tokens = [bpe.decode([token]) for token in pieces.tokens]
    assert tokens[-1] == ".."
    assert pieces.is_value.all()


def test_a_template_is_cut_around_what_touches_its_value():
    """Signs next to the value go with it, the rest begins with a space."""
    template = parse_template('{subject} went to "{value}", alone.')
    assert (template.opening, template.left) == (" went to", ' "')
    assert (template.right, template.rest) == ('",', " alone.")


@pytest.mark.parametrize(
    "line",
    [
        "{subject} was born.",
        "{value} is where {subject} was born.",
        "{subject} was born in {value}",
        "{subject} lived in {value} and {value}.",
        "{subject} was  born in {value}.",
        "{subject}{value}.",
    ],
)
def test_a_template_that_breaks_a_rule_is_refused(line):
    """A template starts with its subject, holds its value once and ends with a period."""
    with pytest.raises(ValueError, match="template"):
        parse_template(line)


@pytest.mark.parametrize("sentence", SENTENCES)
def test_each_sentence_has_fifty_distinct_templates(sentence):
    """As in arXiv 2404.05405, section 2.2; a lost line break would join two."""
    assert len(set(load_templates(sentence))) == 50
