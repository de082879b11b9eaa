"""The verbs of `kcap` about finished models; cli.py puts them beside the others."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from kcap_ray.cli.options import CellGlob, Set, complete_sweep, overrides


def export(
    cell_directory: Annotated[Path, typer.Argument(metavar="DIR/cells/ID")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
) -> None:
    """Write a finished cell's model as a Hugging Face directory."""
    from kcap_ray.models.export import export_cell

    how_to_read = export_cell(cell_directory, out)
    typer.echo(f"model: {out}\nread:  {how_to_read}")


def measure(
    model_directory: Annotated[
        Path, typer.Argument(metavar="MODEL_DIR", help="Directory of a causal language model.")
    ],
    sweep_file: Annotated[
        Path,
        typer.Option(
            "--data",
            metavar="SWEEP",
            help="Sweep file, or name of a sweep of kcap, whose data it was taught.",
            autocompletion=complete_sweep,
        ),
    ],
    cell: CellGlob = None,
    settings: Set = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Measure the bits that a Hugging Face model stores about a cell's data."""
    from kcap_ray.api.measure import measure as measure_model
    from kcap_ray.planning.sweep import load_sweep

    found = measure_model(model_directory, load_sweep(sweep_file, overrides(settings)), cell=cell)
    typer.echo(json.dumps(found, indent=1) if as_json else "\n".join(_lines(found)))


def _lines(found: dict[str, Any]) -> list[str]:
    context = found["context_tokens"] or "any number of"
    nats = {
        "a name": found["loss_name_nats"],
        "the values": found["loss_value_nats"],
        "their first chunks": found["loss_value1_nats"],
    }
    losses = ", ".join(
        f"{value:.4f} on {name}" for name, value in nats.items() if value is not None
    )
    return [
        f"model:   {found['model']} ({found['class']}, {found['n_params']:,} weights, reads "
        f"{context} tokens, {found['tokens']})",
        f"data:    {found['dataset']}, {found['n_people']:,} people ({found['cell_id']})",
        f"losses:  {losses} (nats per person)",
        f"stored:  {found['stored_bits']:,.1f} of {found['demand_bits']:,.1f} bits",
        f"R:       {found['capacity_ratio']:.4f} bits per weight, at most "
        f"{found['max_capacity_ratio']:.4f}",
    ]
