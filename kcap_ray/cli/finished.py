"""The verbs of `kcap` that read run directories: how they stand, and their reports."""

import typer

from kcap_ray.cli.options import AsJson, Directories
from kcap_ray.cli.output import print_json, print_table, report_of


def status(directories: Directories, as_json: AsJson = False) -> None:
    """Show how the cells of each run stand, from its files alone."""
    from kcap_ray.runs.manifest import read_cells
    from kcap_ray.runs.progress import cell_states, states_table
    from kcap_ray.runs.results import RunDirectory

    found = {path: cell_states(read_cells(path), RunDirectory(path)) for path in directories}
    if as_json:
        print_json(
            {
                "directory": str(path),
                "cell_id": one.cell.cell_id,
                "state": one.state,
                "detail": one.detail,
            }
            for path, states in found.items()
            for one in states
        )
        return
    for path, states in found.items():
        if len(found) > 1:
            typer.echo(f"{path}:")
        print_table(states_table(states))


def report(directories: Directories, as_json: AsJson = False) -> None:
    """Write the report of each run: figures, fitted law, verdict on each claim."""
    paths = [str(report_of(directory)) for directory in directories]
    if as_json:
        print_json({"report": path} for path in paths)
        return
    for path in paths:
        typer.echo(f"report: {path}")
