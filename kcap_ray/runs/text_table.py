"""Tables for terminals, files and pipes."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

Justify = Literal["left", "right"]

_WIDEST = 10_000
"""Characters of a line that nothing is cut down to."""


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


def as_text(table: "Table") -> str:
    """The table in as many characters as it needs, without a newline at the end."""
    from rich.console import Console

    console = Console(width=_WIDEST, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
