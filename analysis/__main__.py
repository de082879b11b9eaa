"""`python -m analysis`: fits, figures, verdicts and the report, from the files of finished runs."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from analysis.load import ResultsError, load_results

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Directories = Annotated[list[Path], typer.Argument(metavar="DIR...", help="Run directories.")]
FIGURE_HELP = (
    "capacity, ratio, exposures, architectures, ladder, moe, junk, bands, parts, quantization, "
    "bit_width, calibration, tuning or training."
)
JsonFile = Annotated[
    Path | None, typer.Option("--json", metavar="F", help="Also write the result there as JSON.")
]


@contextmanager
def _user_errors() -> Iterator[None]:
    """Show a mistake of the user as its message, with exit status 2."""
    try:
        yield
    except (ResultsError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error


def _write_json(found: Sequence[object], path: Path | None) -> None:
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(found, indent=2, allow_nan=False)
        path.write_text(text + "\n", encoding="utf-8")


@app.command()
def fit(directories: Directories, json_file: JsonFile = None) -> None:
    """Fit the capacity law to every group of cells, with intervals."""
    with _user_errors():
        from analysis.exposure_fit import fit_exposures
        from analysis.fit import fit_groups

        fits = fit_groups(load_results(directories).used)
        exposure_fits = fit_exposures(fits)
        if not fits:
            raise ResultsError("no usable row to fit: no cell has finished with a result")
        for found in fits:
            numbers = f"c = {found.capacity} bits/param, s = {found.sharpness}"
            line = numbers if found.capacity else str(found.status)
            note = f"  ({found.reason})" if found.reason else ""
            typer.echo(f"{found.group.label}: {line}, {found.n_points} cells{note}")
        for found in exposure_fits:
            numbers = f"limit = {found.limit} bits/param, half at {found.half_exposures} exposures"
            line = numbers if found.limit else f"{found.status} ({found.reason})"
            typer.echo(f"{found.group}, c against exposures: {line}")
        _write_json([found.to_json() for found in [*fits, *exposure_fits]], json_file)


@app.command()
def plot(
    directories: Directories,
    figure: Annotated[str, typer.Option(help=FIGURE_HELP)],
    out: Annotated[Path, typer.Option(help="File to write: .pdf, .svg or .png.")],
) -> None:
    """Draw one figure."""
    with _user_errors():
        from analysis.plots import check_request, draw, fit_inputs, save

        check_request(figure, out)
        typer.echo(save(draw(figure, fit_inputs(load_results(directories))), out))


@app.command()
def table(
    directories: Directories,
    table: Annotated[str, typer.Option(help="architectures, ladder, junk, quantized or bands.")],
    out: Annotated[
        Path | None, typer.Option(help="File to write: .csv or .json; without it, shown here.")
    ] = None,
) -> None:
    """Make one table of comparisons."""
    with _user_errors():
        from analysis.tables import check_ending, make_table, save_table, show_table

        if out is not None:
            check_ending(out)
        records = make_table(table, load_results(directories).used)
        typer.echo(show_table(records) if out is None else save_table(records, out))


@app.command()
def claims(directories: Directories, json_file: JsonFile = None) -> None:
    """Say for each claim of the paper whether it holds here, with the numbers."""
    with _user_errors():
        from analysis.claims.paper import judge_claims

        findings = judge_claims(load_results(directories).used)
        for finding in findings:
            typer.echo(f"[{finding.claim}] {finding.verdict}: {finding.statement}")
            typer.echo(f"    {finding.reason}")
        _write_json([finding.to_json() for finding in findings], json_file)


@app.command()
def report(directory: Annotated[Path, typer.Argument(metavar="DIR")]) -> None:
    """Write DIR/report.html and DIR/figures."""
    with _user_errors():
        from analysis.report import write_report

        typer.echo(write_report(directory))


@app.command()
def compact(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Run directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to write.")],
) -> None:
    """Write the run as three tables, the form that is committed: results, trials, curves."""
    with _user_errors():
        from analysis.compact import write_compact

        typer.echo(write_compact(directory, out))


if __name__ == "__main__":
    app(prog_name="python -m analysis")
