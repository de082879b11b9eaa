"""What commands print is what users gave, whatever it holds."""

import pytest
from rich.table import Table

from kcap_ray.cli.output import print_table


@pytest.mark.parametrize(
    "text", ["[/b] of [red]x", "[enforce fail at alloc_cpu.cpp:117]", ":smile:"]
)
def test_brackets_and_colons_are_shown(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, and reasons that libraries write, are no markup."""
    table = Table(box=None)
    table.add_column("status")
    table.add_row(text)
    print_table(table)
    assert text in capsys.readouterr().out
