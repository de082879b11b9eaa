import io

from rich.console import Console

from kcap_ray.runs.text_table import Justify, aligned, text_table

COLUMNS: dict[str, Justify] = {"cell": "left", "[n]": "right", "": "left"}
ROWS = [("[red]one[/red]", "1", "reason " * 20), ("two", "1,000", "")]
LINES = [
    "cell              [n]",
    f"[red]one[/red]      1  {ROWS[0][2]}".rstrip(),
    "two             1,000",
]


def test_text_is_aligned() -> None:
    """Numbers on their right side, text on its left one; no line is cut."""
    assert aligned(COLUMNS, ROWS).splitlines() == LINES


def test_a_table_is_the_same_with_its_caption_and_nothing_in_it_is_markup() -> None:
    """Brackets stay; only the column that may be broken is, where the terminal is narrow."""
    table = text_table(COLUMNS, ROWS, caption="[b]", wrapped="")
    for width in (200, 60):
        file = io.StringIO()
        Console(file=file, width=width).print(table)
        lines = [line.rstrip() for line in file.getvalue().splitlines()]
        if width == 200:
            assert lines == [*LINES, "[b]"]
        assert all(line.startswith(("cell", "[red]one[/red]", "two", " ", "[b]")) for line in lines)
        assert " ".join(file.getvalue().split()).count("reason") == 20


def test_a_last_column_that_is_too_wide_is_broken_below_itself() -> None:
    """Into the width that there is, and nothing else is."""
    lines = aligned(COLUMNS, ROWS, width=60).splitlines()
    assert max(map(len, lines)) <= 60
    assert [line[:21].split() for line in lines if line[:21].strip()] == [
        ["cell", "[n]"],
        ["[red]one[/red]", "1"],
        ["two", "1,000"],
    ]
    assert " ".join(lines).split().count("reason") == 20
