"""Tables for terminals, files and pipes."""

from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

Justify = Literal["left", "right"]

_LEAST_LAST = 8
"""Characters that a last column is broken into at least, however narrow the terminal."""


def text_table(
    columns: Mapping[str, Justify],
    rows: Iterable[Iterable[str]],
    *,
    caption: str | None = None,
    wrapped: str | None = None,
) -> "Table":
    """A table without lines: headings and their sides, and what stands below them, with nothing in
    it taken as markup. Only the column `wrapped` may be broken into several lines where it is too
    wide.
    """
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, caption=None if caption is None else escape(caption))
    table.caption_justify = "left"
    for heading, side in columns.items():
        table.add_column(escape(heading), justify=side, no_wrap=heading != wrapped)
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def aligned(
    columns: Mapping[str, Justify], rows: Iterable[Iterable[str]], *, width: int | None = None
) -> str:
    """The same as text, without a newline at the end: in as many characters as it needs, or in
    `width` where the last column, which is then broken into lines, leaves that many.

    Not by rich, which takes a third of a millisecond for a cell of a table, and would take most of
    the time of a plan of a thousand rows.
    """
    table = [list(columns), *map(list, rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    sides = [str.ljust if side == "left" else str.rjust for side in columns.values()]
    indent = sum(widths[:-1]) + 2 * len(widths[:-1])
    if width is not None:
        widths[-1] = min(widths[-1], max(_LEAST_LAST, width - indent))
    lines = []
    for *texts, last in table:
        first, *others = [last] if len(last) <= widths[-1] else wrap(last, widths[-1])
        cells = zip(sides, (*texts, first), widths, strict=True)
        lines.append("  ".join(side(text, n) for side, text, n in cells).rstrip())
        lines += [" " * indent + sides[-1](other, widths[-1]).rstrip() for other in others]
    return "\n".join(lines)
