"""The verbs of `kcap` about finished models; cli.py puts them beside the others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kcap_ray.cli.options import CellGlob, Set, complete_sweep, overrides
from kcap_ray.config.errors import UserError

if TYPE_CHECKING:
    from kcap_ray.runs.record import MeasuredModel


def export(
    cell_directory: Annotated[Path, typer.Argument(metavar="DIR/cells/ID")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Write a finished cell's model as a Hugging Face directory."""
    from kcap_ray.models.export import export_cell

    how_to_read = export_cell(cell_directory, out)
    if as_json:
        typer.echo(json.dumps({"model": str(out), "read": how_to_read}, indent=1))
        return
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
    import torch

    from kcap_ray.measure.directory import measure_directory
    from kcap_ray.planning.sweep import load_sweep

    cells = load_sweep(sweep_file, overrides(settings)).matching(cell)
    n_data = len({one.data for one in cells})
    if n_data > 1:
        raise UserError(
            f"--data {sweep_file}: {len(cells)} cells with {n_data} different data sets match; "
            f"name one of them, for instance --cell {cells[0].cell_id}"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = measure_directory(model_directory, cells[0], device=device)
    typer.echo(json.dumps(found.to_dict(), indent=1) if as_json else "\n".join(_lines(found)))


def _lines(found: "MeasuredModel") -> list[str]:
    context = found.context_tokens or "any number of"
    nats = {
        "a name": found.loss_name_nats,
        "the values": found.loss_value_nats,
        "their first chunks": found.loss_value1_nats,
    }
    losses = ", ".join(
        f"{value:.4f} on {name}" for name, value in nats.items() if value is not None
    )
    return [
        f"model:   {found.model} ({found.model_class}, {found.n_params:,} weights, reads "
        f"{context} tokens, {found.tokens})",
        f"data:    {found.dataset}, {found.n_people:,} people ({found.cell_id})",
        f"losses:  {losses} (nats per person)",
        f"stored:  {found.stored_bits:,.1f} of {found.demand_bits:,.1f} bits",
        f"R:       {found.capacity_ratio:.4f} bits per weight, at most "
        f"{found.max_capacity_ratio:.4f}",
    ]
