import pytest

from kcap_ray.rewriting.free_text import clean_text, sentence_ends, without_fragment


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Ann  Lee\n\nlives.", "Ann Lee lives."),
        ("\u201cAnn\u2019s\u201d home \u2013 Rome\u2026", '"Ann\'s" home - Rome...'),
        ("Ann lives. (50 words)", "Ann lives."),
        ("Ann lives.\n\nWord count: 87 words.", "Ann lives."),
        ("Ann lives. [Word Count: 112 words]\n", "Ann lives."),
        ("Here is a biography of 70 words:\n\nAnn lives.", "Ann lives."),
        ('"Ann lives."', "Ann lives."),
        ('"Ann" lives "here"', '"Ann" lives "here"'),
        ("Zoe\u0308 lives.", "Zo\u00eb lives."),
        (" \n", ""),
    ],
)
def test_clean_text_keeps_the_biography_alone(answer, text):
    """Single spaces, ASCII quotes, no heading and no count of words."""
    assert clean_text(answer) == text
    assert clean_text(text) == text


@pytest.mark.parametrize(
    "sentences",
    [
        ["He is here.", "She is there!", "Who else?"],
        ["At Acme Inc. in Rome.", "He left Acme Inc.", "He is back at Acme Inc.'s door."],
        ["Dr. J. B. Lee met Mrs. May in St. Louis.", "It rained."],
        ["Born on Oct. 2nd, 1996 in Washington, D.C.", "She left at 7 a.m. by train.", "Why?"],
        ['He said "no."', "The end (of it all.)", "3M won."],
    ],
)
def test_sentences_end_where_they_end(sentences):
    """Periods of abbreviations and initials end a sentence only before a word that begins one."""
    text = " ".join(sentences)
    ends = sentence_ends(text)
    parts = [text[a:b].strip() for a, b in zip([0, *ends], ends, strict=False)]
    assert parts == sentences


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("He is here. She was on Acme Inc.'s", "He is here."),
        ("He is here. She met Dr. Lee of", "He is here."),
        ("He is here.", "He is here."),
        ("He is", ""),
        ("", ""),
    ],
)
def test_a_text_that_was_cut_off_loses_its_last_sentence(text, whole):
    """A model that ran out of tokens stops in the middle of one."""
    assert without_fragment(text) == whole
