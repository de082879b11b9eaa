"""What the verbs of the analysis share: arguments, the user's mistakes, text or JSON."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from analysis.load import ResultsError, load_results
from kcap_ray.runs.files import write_atomically

if TYPE_CHECKING:
    import pandas as pd

    from analysis.load import Results

Directories = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.")]
FIGURE_HELP = (
    "capacity, ratio, exposures, residuals, architectures, ladder, moe, junk, bands, sites, "
    "layers, parts, quantization, bit_width, calibration, tuning, landscape or training."
)
JSON_HELP = "Also write the result there as JSON; `-`: print it, and nothing else."
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="F", help=JSON_HELP)]
STDOUT = Path("-")


OptionalDirectories = Annotated[
    list[Path] | None, typer.Argument(metavar="[DIR...]", help="Run directories.")
]
Published = Annotated[
    bool, typer.Option("--published", help="Also the published points of arXiv 2404.05405.")
]


@contextmanager
def user_errors() -> Iterator[None]:
    """Show a mistake of the user as its message, with exit status 2."""
    try:
        yield
    except (ResultsError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def show(lines: Sequence[str], found: Sequence[object], json_file: Path | None) -> None:
    """Print the lines, and write the JSON where it was asked for; `-`: print that alone."""
    text = "" if json_file is None else json.dumps(found, indent=2, allow_nan=False)
    if json_file == STDOUT:
        typer.echo(text)
        return
    for line in lines:
        typer.echo(line)
    if json_file is not None:
        write_atomically(json_file, text + "\n")


def results_of(directories: Sequence[Path] | None, published: bool) -> "Results":
    """The runs, or the published points, or both."""
    import pandas as pd

    from analysis.load import Results
    from analysis.published import published_results

    if not published:
        return load_results(directories or [])
    found = [published_results(), *([load_results(directories)] if directories else [])]
    rows = pd.concat([one.rows for one in found], ignore_index=True)
    return Results(directories=found[-1].directories, rows=rows)


def rows_of(directories: Sequence[Path] | None, published: bool, dataset: str) -> "pd.DataFrame":
    """Usable rows of the runs and the published points, of one data set if it is named."""
    rows = results_of(directories, published).used
    return rows[rows["dataset"] == dataset] if dataset else rows
