"""The verbs of `kcap` about finished models; cli.py puts them beside the others."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kcap_ray.cli.options import CellGlob, Set, complete_sweep, overrides
from kcap_ray.cli.output import people_bar

if TYPE_CHECKING:
    from kcap_ray.runs.record import MeasuredModel


def export(
    cell_directory: Annotated[Path, typer.Argument(metavar="DIR/cells/ID")],
    out: Annotated[Path, typer.Argument(metavar="OUT")],
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Write a finished cell's model as a Hugging Face directory."""
    from kcap_ray.api.export import export as export_model

    example = export_model(cell_directory, out)
    if as_json:
        typer.echo(json.dumps({"model": str(out), "read": example}, indent=1))
        return
    typer.echo(f"model: {out}\nread:\n{example}", nl=False)
    if example.startswith("import"):
        typer.echo("note:  transformers has no class for such a model; this one is kcap's")


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
    bos: Annotated[
        str,
        typer.Option(
            help="Begin documents with the tokenizer's BOS: yes, no, or auto, as it does."
        ),
    ] = "auto",
    eos: Annotated[
        str | None, typer.Option(help="Token that ends a text, if the tokenizer names none.")
    ] = None,
    gpt2_ids: Annotated[
        bool, typer.Option("--gpt2-ids", help="A directory without tokenizer has GPT-2's tokens.")
    ] = False,
    dtype: Annotated[str, typer.Option(help="Arithmetic of the model: fp32 or bf16.")] = "fp32",
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
) -> None:
    """Measure the bits that a Hugging Face model stores about a cell's data."""
    from kcap_ray.api.measure import measure as measure_model
    from kcap_ray.measure.directory import ASSUMED
    from kcap_ray.planning.sweep import load_sweep

    sweep = load_sweep(sweep_file, overrides(settings))
    with people_bar() as on_progress:
        found = measure_model(
            model_directory,
            sweep,
            cell=cell,
            bos=bos,
            eos=eos,
            gpt2_ids=gpt2_ids,
            dtype=dtype,
            on_progress=on_progress,
        )
    if found.tokens == ASSUMED:
        typer.echo("kcap: no tokenizer found: token ids are assumed to be GPT-2's", err=True)
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
        f"         {found.capacity_ratio_used:.4f} over the {found.n_params_used:,} weights "
        "without the rows of tokens that the data never use, which compares with a sweep's",
    ]
