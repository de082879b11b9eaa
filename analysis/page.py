"""The page of a report: tables as values, figures as images, and the templates that show them.

Every text goes through Jinja2 with autoescape, so nothing of a results file is ever markup.
"""

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from jinja2 import Environment, PackageLoader, StrictUndefined

from analysis.estimate import Estimate

# Above this an image made of many curves is smaller, and faster to show, as pixels.
MAX_SVG_BYTES = 1_000_000

Kind = Literal["number", "name", "words"]
Place = Literal["always", "wide", "more"]
"""Where a column is shown: on a phone too, from 640 px on, or only when unfolded."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """One column of a table."""

    name: str
    unit: str = ""
    kind: Kind = "number"
    place: Place = "wide"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell: what is shown, and what it is sorted by."""

    text: str
    order: float | str | None = None
    """None: nothing is known, which comes last."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One row, and a note of any length, which gets the whole width below it."""

    cells: tuple[Cell, ...]
    note: str = ""
    is_excluded: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that sorts by any of its columns."""

    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    text: str = ""
    """What stands below it."""

    @property
    def has_more(self) -> bool:
        """Whether some columns are folded away."""
        return any(head.place == "more" for head in self.heads)

    def cells_of(self, row: Row) -> list[tuple[Head, Cell]]:
        """Each cell of a row with its column."""
        return list(zip(self.heads, row.cells, strict=True))


def condensed(table: Table) -> Table:
    """The table without the columns in which all rows say the same; its text says it once.

    Columns that are always shown stay, and so do the numbers of a table of one row.
    """
    if not table.rows:
        return table
    is_single = len(table.rows) == 1
    columns = list(zip(*(row.cells for row in table.rows), strict=True))
    same = {
        i
        for i, head in enumerate(table.heads)
        if head.place != "always"
        and len({cell.text for cell in columns[i]}) == 1
        and not (is_single and head.kind == "number")
    }
    told = [
        f"{table.heads[i].name} {columns[i][0].text} {table.heads[i].unit}".rstrip()
        for i in sorted(same)
        if columns[i][0].text not in ("", "-")
    ]
    kept = [i for i in range(len(table.heads)) if i not in same]
    where = "In this row" if is_single else "The same in every row"
    text = f"{where}: {'; '.join(told)}." if told else ""
    return replace(
        table,
        heads=tuple(table.heads[i] for i in kept),
        rows=tuple(replace(row, cells=tuple(row.cells[i] for i in kept)) for row in table.rows),
        text=" ".join(part for part in (table.text, text) if part),
    )


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A figure inside the page."""

    name: str
    caption: str
    source: str
    """A data URL."""
    is_adaptive: bool
    """Whether it has the colours of a dark page by itself; others stand on a light card."""
    width: int
    """Its natural width, in CSS pixels."""


def text_cell(value: object) -> Cell:
    """A cell of text."""
    text = str(value)
    return Cell(text=text, order=text.lower() or None)


def number_cell(value: object, digits: int = 3) -> Cell:
    """A number with `digits` significant digits; a dash for none."""
    order = float(value) if isinstance(value, (int, float)) and value == value else None
    return Cell(text=number(value, digits), order=order)


def share_cell(value: float | None) -> Cell:
    """A share in percent; a dash for none."""
    return Cell(text="-") if value is None else Cell(text=f"{value:.1%}", order=value)


def interval_cell(found: Estimate | None) -> Cell:
    """The interval of an estimate, sorted by its lower end."""
    if found is None or found.low is None or found.high is None:
        return Cell(text="-")
    return Cell(text=f"{number(found.low)} to {number(found.high)}", order=found.low)


def estimate_cells(found: Estimate | None) -> list[Cell]:
    """Value and interval as two cells."""
    return [number_cell(None if found is None else found.value), interval_cell(found)]


def number(value: object, digits: int = 3) -> str:
    """A number with `digits` significant digits, thousands with commas; a dash for none."""
    if not isinstance(value, (int, float)) or value != value:
        return "-"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def picture(name: str, caption: str, files: Sequence[Path]) -> Picture:
    """A figure inside the page: its SVG, or its PNG where the SVG is large."""
    by_ending = {path.suffix: path for path in files}
    svg = by_ending[".svg"].read_text(encoding="utf-8")
    width = svg_width(svg)
    if len(svg) > MAX_SVG_BYTES:
        kind, data, is_adaptive = "png", by_ending[".png"].read_bytes(), False
    else:
        kind, data, is_adaptive = "svg+xml", adaptive(svg).encode(), True
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
    return Picture(name=name, caption=caption, source=source, is_adaptive=is_adaptive, width=width)


def svg_width(svg: str) -> int:
    """Natural width of an SVG in CSS pixels, of which 96 are 72 points."""
    match = re.search(r'width="([\d.]+)pt"', svg)
    return round(float(match[1]) * 96 / 72) if match else 640


_GREY = re.compile(r"(?P<key>fill|stroke): #(?P<level>[0-9a-f]{2})(?P=level)(?P=level)(?![0-9a-f])")
_DARK_PAPER, _DARK_INK = 0x16, 0xEC


def adaptive(svg: str) -> str:
    """The figure with greys that follow the page: dark on light, and light on dark where the
    reader prefers that. Its colours stay; what is white becomes the page's own background.

    Text and lines of matplotlib without a colour of their own are black, the default of SVG.
    """
    levels = sorted({int(m["level"], 16) for m in _GREY.finditer(svg)} | {0})
    light = "".join(f"--g{level}:#{f'{level:02x}' * 3};" for level in levels)
    dark = "".join(f"--g{level}:#{f'{_dark(level):02x}' * 3};" for level in levels)
    style = (
        f"<style>svg{{{light}fill:var(--g0)}}"
        f"@media screen and (prefers-color-scheme: dark){{svg{{{dark}}}}}</style>"
    )
    svg = _GREY.sub(lambda m: f"{m['key']}: var(--g{int(m['level'], 16)})", svg)
    return re.sub(r"(<svg\b[^>]*>)", rf"\1{style}", svg, count=1)


def _dark(level: int) -> int:
    """Grey on a dark page: white paper becomes dark paper, black ink light ink, linear between."""
    return round(_DARK_INK + (_DARK_PAPER - _DARK_INK) * level / 255)


def render(name: str, values: Mapping[str, object]) -> str:
    """A template of `analysis/templates` with these values, each of them escaped."""
    environment = Environment(
        loader=PackageLoader("analysis"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(values)
