"""Pools: the lists that names and values are drawn from, one value per line of a text file."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kcap_ray.config.contents import FileState, text_files_state
from kcap_ray.config.data import BUILT_IN_POOLS
from kcap_ray.config.errors import UserError

_HERE = Path(__file__).parent / "pools"
# fmt: off
_MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
# fmt: on
_LAST_DAY = 28  # every month has it, so month and day stay independent
_MAX_POOL = 65_536  # a value's number is stored in 16 bits


@dataclass(frozen=True, kw_only=True)
class NamePools:
    """The parts of a full name; every combination is a name."""

    first: tuple[str, ...]
    middle: tuple[str, ...]
    last: tuple[str, ...]

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Number of first, middle and last names."""
        return len(self.first), len(self.middle), len(self.last)

    @property
    def n_names(self) -> int:
        """Size of the name space (N0 in arXiv 2404.05405, definition 2.2)."""
        return len(self.first) * len(self.middle) * len(self.last)


@dataclass(frozen=True, kw_only=True)
class ValuePools:
    """The pools of the attributes of bioS; a birth date is a month, a day and a year."""

    months: tuple[str, ...]
    days: tuple[str, ...]
    years: tuple[str, ...]
    cities: tuple[str, ...]
    universities: tuple[str, ...]
    majors: tuple[str, ...]
    employers: tuple[str, ...]
    work_cities: tuple[str, ...]
    """Distinct cities of the employers."""
    city_of_employer: tuple[int, ...]
    """Number in `work_cities` of each employer's city."""


def pools_state(pools: str) -> FileState:
    """What changes with the contents of pools: what is made of them is kept until then."""
    return () if pools in BUILT_IN_POOLS else text_files_state(pools)


def load_name_pools(pools: str, at_most: int | None = None) -> NamePools:
    """Name pools of `full`, `mini` or a directory, of each the first `at_most` names; UserError
    where a file is missing or wrong.
    """
    return _name_pools(pools, at_most, pools_state(pools))


@cache
def _name_pools(pools: str, at_most: int | None, _state: FileState) -> NamePools:
    lists = {}
    for part in ("first", "middle", "last"):
        path = _file(pools, f"{part}_names.txt")
        names = [_tidy(name) for name in _read_lines(path)]
        spaced = [name for name in names if len(name.split()) > 1]
        if spaced:
            raise UserError(f"{path}: {spaced[0]!r} has a space; write one word per name")
        lists[part] = _distinct(path, names)
    return NamePools(**{part: names[:at_most] for part, names in lists.items()})


def load_value_pools(pools: str, at_most: int | None = None) -> ValuePools:
    """Value pools of `full`, `mini` or a directory, of each the first `at_most` values; UserError
    where a file is missing or wrong.
    """
    return _value_pools(pools, at_most, pools_state(pools))


@cache
def _value_pools(pools: str, at_most: int | None, _state: FileState) -> ValuePools:
    months, days, years = _read_dates(_file(pools, "dates.txt"))
    employers, cities = _read_employers(_file(pools, "employers.txt"))
    employers, cities = employers[:at_most], cities[:at_most]
    work_cities = tuple(dict.fromkeys(cities))
    return ValuePools(
        months=months[:at_most],
        days=days[:at_most],
        years=years[:at_most],
        cities=_pool(pools, "cities.txt")[:at_most],
        universities=_pool(pools, "universities.txt")[:at_most],
        majors=_pool(pools, "majors.txt")[:at_most],
        employers=employers,
        work_cities=work_cities,
        city_of_employer=tuple(work_cities.index(city) for city in cities),
    )


def _file(pools: str, name: str) -> Path:
    folder = _HERE / pools if pools in BUILT_IN_POOLS else Path(pools).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"data.pools: {pools!r} is neither {' nor '.join(BUILT_IN_POOLS)} nor a directory; "
            "write one of the two names or the path of a directory of pool files"
        )
    path = folder / name
    if not path.is_file():
        raise UserError(f"data.pools: {folder} has no {name}; write one value per line into it")
    return path


def _read_lines(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error.reason}; save it as UTF-8") from None
    if not lines:
        raise UserError(f"{path} is empty; write one value per line")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            raise UserError(f"{path}, line {number} is blank; delete the line")
    return lines


def _distinct(path: Path, values: Iterable[str]) -> tuple[str, ...]:
    seen: set[str] = set()
    for number, value in enumerate(values, start=1):
        if value in seen:
            raise UserError(f"{path}, line {number}: {value!r} occurs twice; keep one of the lines")
        seen.add(value)
    if len(seen) > _MAX_POOL:
        raise UserError(f"{path} has {len(seen)} values; at most {_MAX_POOL} are allowed")
    return tuple(values)


def _pool(pools: str, name: str) -> tuple[str, ...]:
    path = _file(pools, name)
    return _distinct(path, [_tidy(value) for value in _read_lines(path)])


def _tidy(value: str) -> str:
    """The value with single spaces between its words and none around it."""
    return " ".join(value.split())


def _read_employers(path: Path) -> tuple[tuple[str, ...], list[str]]:
    employers, cities = [], []
    for number, line in enumerate(_read_lines(path), start=1):
        separator = "\t" if "\t" in line else ";"
        employer, _, city = map(_tidy, line.partition(separator))
        if not employer or not city:
            raise UserError(
                f"{path}, line {number}: {line!r} names no city; "
                "write the employer, a tab or semicolon, and its city"
            )
        employers.append(employer)
        cities.append(city)
    return _distinct(path, employers), cities


def _read_dates(path: Path) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    fields = {line.split()[0]: line.split()[1:] for line in _read_lines(path)}
    n_months = n_days = first_year = last_year = 0
    try:
        (n_months,), (n_days,) = map(int, fields["months"]), map(int, fields["days"])
        first_year, last_year = map(int, fields["years"])
        ok = 1 <= n_months <= len(_MONTHS) and 1 <= n_days <= _LAST_DAY
        ok = ok and set(fields) == {"months", "days", "years"}
        ok = ok and 1000 <= first_year <= last_year <= 9999
    except (KeyError, ValueError):
        ok = False
    if not ok:
        raise UserError(
            f"{path} must have the three lines `months 12`, `days 28` and `years 1900 2099` "
            f"(at most 12 months and {_LAST_DAY} days; years of four digits)"
        )
    days = tuple(str(day) for day in range(1, n_days + 1))
    years = tuple(str(year) for year in range(first_year, last_year + 1))
    return _MONTHS[:n_months], days, years
