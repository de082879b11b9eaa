"""`python -m analysis`: fits, figures, verdicts and the report, from the files of finished runs."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from analysis.load import ResultsError, load_results
from analysis.verbs import (
    FIGURE_HELP,
    Directories,
    JsonFile,
    OptionalDirectories,
    Published,
    results_of,
    rows_of,
    show,
    user_errors,
)

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


@app.command()
def fit(
    directories: OptionalDirectories = None,
    published: Published = False,
    json_file: JsonFile = None,
) -> None:
    """Fit the capacity law to every group of cells, with intervals."""
    with user_errors():
        from analysis.exposure_fit import fit_exposures
        from analysis.fit import fit_groups

        fits = fit_groups(rows_of(directories, published, ""))
        exposure_fits = fit_exposures(fits)
        if not fits:
            raise ResultsError("no usable row to fit: no cell has finished with a result")
        lines = []
        for found in fits:
            numbers = f"c = {found.capacity} bits/param, s = {found.sharpness}"
            bound = "" if found.at_least is None else f", c > {found.at_least:.3g} bits/param"
            line = f"{found.status}: {numbers}" if found.capacity else f"{found.status}{bound}"
            note = f"  ({found.reason})" if found.reason else ""
            lines.append(f"{found.group.label}: {line}, {found.n_points} cells{note}")
        for found in exposure_fits:
            numbers = f"limit = {found.limit} bits/param, half at {found.half_exposures} exposures"
            form = f"{found.law.form.name}, " if found.law else ""
            line = form + (numbers if found.limit else str(found.status))
            note = f"  ({found.reason})" if found.reason else ""
            lines.append(f"{found.group}, c against exposures: {line}{note}")
        show(lines, [found.to_json() for found in [*fits, *exposure_fits]], json_file)


@app.command()
def plot(
    figure: Annotated[str, typer.Option(help=FIGURE_HELP)],
    out: Annotated[Path, typer.Option(help="File to write: .pdf, .svg or .png.")],
    directories: OptionalDirectories = None,
    published: Published = False,
    json_file: JsonFile = None,
) -> None:
    """Draw one figure; of several runs together where several are given."""
    with user_errors():
        from analysis.plots import FIGURES, check_request, draw, fit_inputs, save

        check_request(figure, out)
        path = str(save(draw(figure, fit_inputs(results_of(directories, published))), out))
        said = {"figure": figure, "file": path, "caption": FIGURES[figure].caption}
        show([path], [said], json_file)


@app.command()
def table(
    directories: Directories,
    table: Annotated[
        str, typer.Option(help="architectures, ladder, junk, quantized, bands, sites or layers.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="File to write: .csv or .json; without it, shown here.")
    ] = None,
    json_file: JsonFile = None,
) -> None:
    """Make one table of comparisons; of several runs together where several are given."""
    with user_errors():
        from analysis.tables import check_ending, make_table, save_table, show_table

        if out is not None:
            check_ending(out)
        records = make_table(table, load_results(directories).used)
        shown = show_table(records) if out is None else str(save_table(records, out))
        show([shown], records, json_file)


@app.command()
def claims(directories: Directories, json_file: JsonFile = None) -> None:
    """Say for each claim of the paper whether it holds here, with the numbers."""
    with user_errors():
        from analysis.claims.claim import Verdict
        from analysis.claims.paper import judge_claims

        findings = judge_claims(load_results(directories).used)
        lines = []
        for finding in findings:
            lines.append(f"[{finding.claim}] {finding.verdict}: {finding.statement}")
            lines.append(f"    {finding.reason}")
            if finding.verdict is Verdict.UNDECIDED:
                lines.append(f"    would be decided by {finding.outcome.decided_by}")
            if finding.contradiction:
                lines.append(f"    beside it: {finding.contradiction}")
        show(lines, [finding.to_json() for finding in findings], json_file)


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(metavar="DIR_A", help="Run to compare with.")],
    second: Annotated[Path, typer.Argument(metavar="DIR_B", help="Run that is compared.")],
    json_file: JsonFile = None,
) -> None:
    """R of DIR_B over R of DIR_A, cell by cell, paired by seed."""
    with user_errors():
        from analysis.compare_runs import compare_runs

        found = compare_runs(load_results([first]), load_results([second]))
        show(found.lines(), [found.to_json()], json_file)


@app.command()
def ranks(directories: Directories, json_file: JsonFile = None) -> None:
    """Whether runs rank architectures alike, by R over that of gpt2 in each."""
    with user_errors():
        from analysis.ranks import compare_rankings, rankings

        found = [one for path in directories for one in rankings(load_results([path]))]
        agreements = compare_rankings(found)
        show([one.line() for one in agreements], [one.to_json() for one in agreements], json_file)


@app.command()
def power(
    directories: Directories,
    difference: Annotated[
        float, typer.Option(help="Relative difference of two models to see, for instance 0.05.")
    ] = 0.05,
    probability: Annotated[float, typer.Option(help="Probability with which to see it.")] = 0.8,
    json_file: JsonFile = None,
) -> None:
    """Seeds needed to see a difference, from how much seeds scatter in finished runs."""
    with user_errors():
        from analysis.power import seeds_needed
        from analysis.seeds import LEVEL

        if not (0 < difference < math.inf and 0 < probability < 1):
            raise ResultsError(
                f"difference {difference:g}, probability {probability:g}: above 0, and between 0 "
                "and 1"
            )
        found = seeds_needed(load_results(directories).used, difference, probability)
        if not found:
            raise ResultsError(
                "no model has two seeds that store anything and differ: scatter is not known"
            )
        lines = [
            f"Seeds of each of two models to see {difference:.0%} at {LEVEL:.0%} with probability "
            f"{probability:g}; in brackets: at the ends of the interval of the scatter"
        ]
        for one in found:
            left_out = f"; {one.n_left_out} rows left out" if one.n_left_out else ""
            lines.append(
                f"{one.dataset}, {one.exposures:g} exposures: {one.n_seeds} [{one.n_seeds_low}, "
                f"{one.n_seeds_high}] seeds, relative sd of a seed {one.log_sd:.1%} "
                f"[{one.log_sd_low:.1%}, {one.log_sd_high:.1%}], {one.n_models} models{left_out}"
            )
        show(lines, [one.to_json() for one in found], json_file)


@app.command()
def predict(
    params: Annotated[float, typer.Option(help="Parameters of the model.")],
    people: Annotated[float, typer.Option(help="People in the data set.")],
    exposures: Annotated[float, typer.Option(help="Times that each person is seen.")],
    directories: OptionalDirectories = None,
    family: Annotated[str, typer.Option(help="Architecture, for instance gpt2.")] = "gpt2",
    dataset: Annotated[str, typer.Option(help="Data set, where the runs have several.")] = "",
    published: Published = False,
    json_file: JsonFile = None,
) -> None:
    """Predict R of a model that was not run, from the joint law of finished runs."""
    with user_errors():
        from analysis.predict import Question, fit_predictor

        found = fit_predictor(rows_of(directories, published, dataset))
        asked = Question(n_params=params, n_people=people, exposures=exposures, family=family)
        said = found.predict(asked)
        lines = [f"R = {said.ratio} bits/param of R_max {said.max_ratio:.3g} ({found.law.name})"]
        if said.outside:
            lines.append(f"extrapolated: {'; '.join(said.outside)}")
        if found.n_censored:
            lines.append(f"without {found.n_censored} cell(s) of zero or negative bits")
        show(lines, [said.to_json()], json_file)


@app.command("held-out")
def held_out_cells(
    directories: OptionalDirectories = None,
    by: Annotated[str, typer.Option(help="What is left out: people, shape, exposures.")] = "people",
    dataset: Annotated[str, typer.Option(help="Data set, where the runs have several.")] = "",
    published: Published = False,
    json_file: JsonFile = None,
) -> None:
    """Predict every cell from those of other people, shapes or exposures, and count the misses."""
    with user_errors():
        from analysis.held_out import held_out, summary

        if by not in ("people", "shape", "exposures"):
            raise ResultsError(f"--by {by}: must be people, shape or exposures")
        checked = held_out(rows_of(directories, published, dataset), by)
        found = summary(checked)
        lines = [f"{name}: {json.dumps(numbers)}" for name, numbers in found.items()]
        show(lines, [{"by": by, **found}, *checked.to_dict("records")], json_file)


@app.command()
def coverage(
    out: Annotated[Path, typer.Option(help="Folder of coverage.json and coverage.md.")] = Path(
        "docs/results"
    ),
    runs: Annotated[int, typer.Option(min=1, help="Simulated sets of cells per regime.")] = 2000,
) -> None:
    """Measure how often the intervals of c hold a planted truth, regime by regime."""
    with user_errors():
        from analysis.coverage import write_study

        command = f"python -m analysis coverage --runs {runs}"
        typer.echo(write_study(out, n_runs=runs, command=command))


@app.command()
def report(directories: Directories, json_file: JsonFile = None) -> None:
    """Write DIR/report.html and DIR/figures of each run."""
    with user_errors():
        from analysis.report import write_report

        paths = [str(write_report(directory)) for directory in directories]
        show(paths, [{"report": path} for path in paths], json_file)


@app.command()
def compact(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Run directory.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Directory to write.")],
) -> None:
    """Write the run as three tables, the form that is committed: results, trials, curves."""
    with user_errors():
        from analysis.compact import write_compact

        typer.echo(write_compact(directory, out))


@app.command()
def board(
    directories: Directories,
    out: Annotated[Path, typer.Option(help="Page to write, in Markdown.")],
) -> None:
    """Write the board of capacities: the best of each kind of model of these runs."""
    with user_errors():
        from analysis.board import read_entries, render
        from kcap_ray.runs.files import write_atomically

        entries = [entry for directory in directories for entry in read_entries(directory)]
        if not entries:
            raise ResultsError("no finished cell at 100 exposures or more in these runs")
        write_atomically(out, render(entries))
        typer.echo(str(out))


@app.command("claims-page")
def claims_page(
    directories: Directories,
    out: Annotated[Path, typer.Option(help="Page to write, in Markdown.")],
) -> None:
    """Write the page of the paper's claims: verdicts, what miniatures show, prices (those of
    claim_prices.json beside it), hours spent; and its digest into README.md beside it.
    """
    with user_errors():
        from analysis.claims.claims_page import write_page

        write_page(directories, out)
        typer.echo(str(out))


if __name__ == "__main__":
    app(prog_name="python -m analysis")
