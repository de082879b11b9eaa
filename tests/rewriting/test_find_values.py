import random

import pytest

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.knowledge.people import draw_people
from kcap_ray.knowledge.person import BirthDate, Person, person_of
from kcap_ray.rewriting.find_dates import find_dates
from kcap_ray.rewriting.find_values import Found, Rejected, find_values
from kcap_ray.rewriting.free_text import clean_text, without_fragment
from tests.grammar import BAD, biography, date_forms

PERSON = Person(
    name="Ann Bo Lee",
    birth_date=BirthDate(10, 2, 1996),
    date_text="October 2, 1996",
    birth_city="Portland, OR",
    university="University of California, Berkeley",
    major="Computer Science",
    employer="Acme Inc.",
    work_city="Saint Paul, MN",
    pronoun="She",
)
TEXT = (
    "Ann Bo Lee was born on {birth_date} in {birth_city}. {pronoun} studied {major} at "
    "{university}. Later she joined {employer}'s office in {work_city}."
)
SAID = {
    "birth_date": "October 2, 1996",
    "birth_city": "Portland, OR",
    "university": "University of California, Berkeley",
    "major": "Computer Science",
    "employer": "Acme Inc.",
    "work_city": "Saint Paul, MN",
    "pronoun": "She",
}


def found_in(text: str, person: Person = PERSON) -> dict[str, str]:
    """What is said of each attribute."""
    found = find_values(text, person)
    assert isinstance(found, Found), found
    return {span.attribute: text[span.start : span.end] for span in found.spans}


def doubt_of(text: str, person: Person = PERSON) -> str | None:
    """Why the text is not for evaluation."""
    found = find_values(text, person)
    assert isinstance(found, Found), found
    return found.doubt


@pytest.mark.slow
@pytest.mark.parametrize("pools", ["full", "mini"])
def test_the_spans_are_exactly_those_that_a_grammar_knows(pools):
    """Of varied biographies every value is found where it was put, and only there.

    Knowledge is measured on them only where the employer comes before the work city.
    """
    people = KnowledgeConfig(n_people=400, pools=pools)
    n_exact = 0
    for number, values_C in enumerate(draw_people(people)):
        person = person_of(pools, values_C)
        written = biography(person, random.Random(number))
        text = without_fragment(clean_text(written.answer))
        assert text == written.text
        found = find_values(text, person)
        assert isinstance(found, Found), (found, text)
        if person.birth_city == person.work_city:
            continue
        assert found.spans == written.spans, text
        is_given_away = found.doubt == "work city before the employer"
        assert is_given_away == (not written.is_employer_first)
        n_exact += 1
    assert n_exact > 380


def test_texts_of_no_use_are_rejected():
    """A missing value, the wrong pronoun, another beginning or nothing at all."""
    people = KnowledgeConfig(n_people=100, pools="full")
    for number, values_C in enumerate(draw_people(people)):
        person = person_of("full", values_C)
        reasons = []
        for bad in BAD:
            outcome = find_values(clean_text(bad(person, random.Random(number))), person)
            assert isinstance(outcome, Rejected)
            reasons.append(outcome.reason)
        assert reasons == ["no university", "wrong pronoun", "name not first", "empty"]


@pytest.mark.parametrize("form", date_forms(PERSON))
def test_dates_are_found_in_all_forms(form):
    """The whole date, up to the year, and nothing of what is around it."""
    assert found_in(TEXT.format(**SAID | {"birth_date": form}))["birth_date"] == form


@pytest.mark.parametrize(
    "text",
    ["October 1996", "2 October", "October 3, 1996", "1996-02-10", "02/10/1996", "October 21996"],
)
def test_what_is_not_the_date_is_not_found(text):
    """Without a day, or of another day, it is missing."""
    assert find_values(TEXT.format(**SAID | {"birth_date": text}), PERSON) == Rejected(
        "no birth_date"
    )


def test_a_first_number_above_12_is_the_day():
    """Only then can 25/10/1996 be read in one way."""
    assert [date for date, *_ in find_dates("25/10/1996")] == [BirthDate(10, 25, 1996)]
    assert [date for date, *_ in find_dates("10-25-1996")] == [BirthDate(10, 25, 1996)]


@pytest.mark.parametrize(
    ("attribute", "form"),
    [
        ("birth_city", "Portland, Oregon"),
        ("birth_city", "Portland, O.R."),
        ("birth_city", "Portland OR"),
        ("work_city", "St. Paul, Minnesota"),
        ("work_city", "Saint Paul, MN"),
        ("university", "University of California at Berkeley"),
        ("university", "University of California Berkeley"),
        ("major", "computer science"),
        ("employer", "Acme Inc"),
        ("employer", "Acme Incorporated"),
    ],
)
def test_values_are_found_in_other_spellings(attribute, form):
    """Names of states, abbreviations with and without periods, small letters of majors."""
    assert found_in(TEXT.format(**SAID | {attribute: form}))[attribute] == form


@pytest.mark.parametrize(
    ("attribute", "value", "form"),
    [
        ("employer", "The New York Times", "the New York Times"),
        ("employer", "The New York Times", "New York Times"),
        ("employer", "Johnson & Johnson", "Johnson and Johnson"),
        ("employer", "eBay", "EBay"),
        ("employer", "Lowe's", "Lowe's"),
        ("employer", "AT&T", "AT&T"),
        ("employer", "Coca-Cola", "Coca Cola"),
        ("employer", "General Motors", "General Motors"),
        ("employer", "Est\u00e9e Lauder", "Estee Lauder"),
        ("employer", "Estee Lauder", "Est\u00e9e Lauder"),
        ("birth_city", "Rome", "Rome"),
        ("birth_city", "Washington, DC", "Washington, D.C."),
    ],
)
def test_other_values_are_found_too(attribute, value, form):
    """Articles, ampersands, hyphens, accents and capitals may differ."""
    person = PERSON._replace(**{attribute: value})
    assert found_in(TEXT.format(**SAID | {attribute: form}), person)[attribute] == form


@pytest.mark.parametrize(
    ("attribute", "value", "other"),
    [
        ("employer", "Ford", "Fordham"),
        ("employer", "Target", "target"),
        ("employer", "Corning", "Corning, NY"),
        ("birth_city", "Portland, OR", "Portland, ME"),
        ("birth_city", "Portland, OR", "Portland"),
        ("major", "Art", "Party"),
        ("university", "Ohio University", "Ohio"),
    ],
)
def test_parts_of_other_words_are_no_values(attribute, value, other):
    """Neither a longer word, nor a common one, nor a part of the value is the value."""
    person = PERSON._replace(**{attribute: value})
    if "NY" in other:
        person = person._replace(work_city=other)
    outcome = find_values(
        TEXT.format(**SAID | {"work_city": person.work_city, attribute: other}), person
    )
    assert outcome == Rejected(f"no {attribute}")


def test_only_the_first_mention_counts():
    """And a mention that is part of a longer value is none."""
    person = PERSON._replace(employer="Corning", work_city="Corning, NY")
    said = SAID | {"employer": "Corning", "work_city": "Corning, NY"}
    text = TEXT.format(**said) + " Corning and Computer Science please her."
    found = find_values(text, person)
    assert isinstance(found, Found)
    starts = {span.attribute: span.start for span in found.spans}
    assert starts["employer"] == text.index("Corning")
    assert starts["work_city"] == text.index("Corning, NY")
    assert starts["major"] == text.index("Computer")
    assert [span.attribute for span in found.spans].count("employer") == 1


@pytest.mark.parametrize(
    ("attribute", "said", "doubt"),
    [
        ("employer", "a firm in Saint Paul, MN, Acme Inc.", "work city before the employer"),
        ("birth_date", "a day of 1996, October 2, 1996", "part of the birth_date before it"),
        ("birth_date", "an October day: 10/02/1996", "part of the birth_date before it"),
        ("birth_city", "Oregon, in Portland, OR", "part of the birth_city before it"),
        ("major", "computers, or a computer: computer science", "part of the major before it"),
        ("employer", "Acme, that is, Acme Inc.", "part of the employer before it"),
        ("employer", "a firm in Minnesota, Acme Inc.", "part of the employer before it"),
        ("birth_date", "October 2, 1996, a lucky woman,", "gender before the pronoun"),
        ("pronoun", "Ms. Lee is bright. She", "gender before the pronoun"),
    ],
)
def test_a_text_that_gives_a_value_away_is_for_training_only(attribute, said, doubt):
    """What is known before it is said cannot be measured."""
    assert doubt_of(TEXT.format(**SAID)) is None
    assert doubt_of(TEXT.format(**SAID | {attribute: said})) == doubt


def test_who_works_in_the_city_of_birth_is_told_apart_by_sentences():
    """The first mention must speak of birth, before the employer is named, and not of work."""
    person = PERSON._replace(work_city=PERSON.birth_city)
    good = TEXT.format(**SAID | {"work_city": person.work_city})
    found = find_values(good, person)
    assert isinstance(found, Found)
    assert found.doubt is None
    places = {span.attribute: span.start for span in found.spans}
    assert places["birth_city"] == good.index("Portland")
    assert places["work_city"] == good.rindex("Portland")
    once = good.replace(" in Portland, OR. She", ". She")
    assert doubt_of(once, person) == "one mention of the city of birth and work"
    swapped = (
        "Ann Bo Lee works for Acme Inc. in Portland, OR. She was born on October 2, 1996 in "
        "Portland, OR and studied Computer Science at University of California, Berkeley."
    )
    assert doubt_of(swapped, person) == "city of birth and work in one"


def test_an_employer_who_is_named_as_the_person_is_for_training_only():
    """Nobody can tell whose name a later mention is."""
    person = PERSON._replace(employer="Lee")
    assert doubt_of(TEXT.format(**SAID | {"employer": "Lee"}), person) == "employer in the name"


@pytest.mark.parametrize(
    "attribute, value, said",
    [
        ("birth_city", "Winston\u2013Salem, NC", "Winston-Salem, North Carolina"),
        ("employer", "C.H. Robinson", "C. H. Robinson"),
        ("university", "University of Wisconsin, Madison", "University of Wisconsin-Madison"),
    ],
)
def test_values_are_found_in_the_signs_that_texts_have(attribute, value, said):
    """A dash of the pools is the hyphen of a tidied text; initials and hyphens vary."""
    person = PERSON._replace(**{attribute: value})
    found = found_in(clean_text(TEXT.format(**{**SAID, attribute: said})), person)
    assert found[attribute] == said
