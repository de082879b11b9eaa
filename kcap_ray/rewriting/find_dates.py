"""Dates in free text, in the forms that writers of English use."""

import re
from collections.abc import Iterator

from kcap_ray.knowledge.person import BirthDate

# fmt: off
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
# fmt: on
_MONTH = r"(?P<month>" + "|".join(rf"{m}|{m[:3]}\b\.?" for m in MONTHS) + r"|Sept\b\.?)"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?(?:\s+day)?"
_YEAR = r"(?P<year>\d{4})(?!\d)"
_BEFORE_YEAR = r"(?:,\s*|\s+)(?:of\s+|in\s+)?(?:the\s+year\s+)?(?:of\s+)?"
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"\b{_MONTH}\s+(?:the\s+)?{_DAY}{_BEFORE_YEAR}{_YEAR}",  # October 2, 1996
        rf"\b{_DAY}\s+(?:of\s+)?{_MONTH}{_BEFORE_YEAR}{_YEAR}",  # 2nd of October, 1996
        r"(?<![\w/-])(?P<year>\d{4})([-/.])(?P<month>\d{1,2})\2(?P<day>\d{1,2})(?![\w/-])",
        r"(?<![\w/-])(?P<month>\d{1,2})([-/.])(?P<day>\d{1,2})\2(?P<year>\d{4})(?![\w/-])",
    )
)


def find_dates(text: str) -> Iterator[tuple[BirthDate, int, int]]:
    """All dates with day, month and year: what they say, start, and the character after the end.

    Of 10/02/1996 the first number is the month, as Americans write it, unless it is above 12.
    """
    for form in _FORMS:
        for match in form.finditer(text):
            month, day = _month_number(match["month"]), int(match["day"])
            if month > 12:
                month, day = day, month
            yield BirthDate(month, day, int(match["year"])), match.start(), match.end()


def _month_number(text: str) -> int:
    if text.isdigit():
        return int(text)
    return 1 + next(i for i, month in enumerate(MONTHS) if month.startswith(text[:3]))
