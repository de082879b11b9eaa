"""One person of bioS in words: the name and the values that a row of the table stands for."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.people import BIOS_COLUMNS
from kcap_ray.knowledge.pools import load_name_pools, load_value_pools

PRONOUNS = ("He", "She")


class BirthDate(NamedTuple):
    """A day; month and day count from 1."""

    month: int
    day: int
    year: int


class Person(NamedTuple):
    """The facts about a person of bioS; the work city follows from the employer."""

    name: str
    birth_date: BirthDate
    date_text: str
    """The birth date as bioS writes it, for instance `October 2, 1996`."""
    birth_city: str
    university: str
    major: str
    employer: str
    work_city: str
    pronoun: str
    """He or She."""


def person_of(pools: str, values_C: NDArray[np.unsignedinteger]) -> Person:
    """The person of one row of the table of people."""
    names, lists = load_name_pools(pools), load_value_pools(pools)
    number = dict(zip(BIOS_COLUMNS, values_C.tolist(), strict=True))
    month, day = lists.months[number["birth_month"]], lists.days[number["birth_day"]]
    year, employer = lists.years[number["birth_year"]], number["employer"]
    parts = (
        names.first[number["first_name"]],
        names.middle[number["middle_name"]],
        names.last[number["last_name"]],
    )
    return Person(
        name=" ".join(parts),
        birth_date=BirthDate(1 + number["birth_month"], int(day), int(year)),
        date_text=f"{month} {day}, {year}",
        birth_city=lists.cities[number["birth_city"]],
        university=lists.universities[number["university"]],
        major=lists.majors[number["major"]],
        employer=lists.employers[employer],
        work_city=lists.work_cities[lists.city_of_employer[employer]],
        pronoun=PRONOUNS[number["pronoun"]],
    )
