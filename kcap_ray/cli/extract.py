"""The verb of `kcap` that asks finished models questions; cli.py puts it beside the others."""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kcap_ray.cli.options import CellGlob
from kcap_ray.cli.output import print_table
from kcap_ray.config.errors import UserError
from kcap_ray.extract.config import RANKS, ExtractConfig
from kcap_ray.runs.columns_extraction import ExtractionRecord
from kcap_ray.runs.working_copy import with_urls

_PAPER = ExtractConfig()
_SAY_EVERY_S = 30.0


def extract(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Run directory.")],
    ranks: Annotated[
        list[str] | None,
        typer.Option(
            "--ranks",
            metavar="E,A",
            help="Ranks of the adapters of the embedding and of queries and values; again for "
            "more. The paper's nine pairs if not given.",
        ),
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = _PAPER.steps,
    batch: Annotated[int, typer.Option(help="Questions of a step.")] = _PAPER.batch,
    lr: Annotated[float, typer.Option(help="Learning rate; falls to 0.")] = _PAPER.lr,
    weight_decay: Annotated[float, typer.Option(help="Of AdamW.")] = _PAPER.weight_decay,
    backend: Annotated[
        str, typer.Option(help="own: any model of kcap; peft: Hugging Face's, on the export.")
    ] = "own",
    seed: Annotated[int, typer.Option(help="Of the halves, adapters and batches.")] = 0,
    cell: CellGlob = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON objects.")] = False,
) -> None:
    """Fine-tune on questions about half of the people, and ask about the other half."""
    import torch

    from kcap_ray.extract.cell import collect, extract_cell, finished_cells
    from kcap_ray.runs.manifest import only_driver, read_cells
    from kcap_ray.runs.results import RunDirectory

    base = ExtractConfig(
        steps=steps,
        batch=batch,
        lr=lr,
        weight_decay=weight_decay,
        backend=backend,  # pyright: ignore[reportArgumentType]
        seed=seed,
    )
    configs = [base.with_ranks(*pair) for pair in map(_pair, ranks or [])]
    configs = configs or [base.with_ranks(*pair) for pair in RANKS]
    run, cells = RunDirectory(directory), read_cells(directory)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    records: list[ExtractionRecord] = []
    refused: list[str] = []
    with only_driver(directory):
        for one, row in finished_cells(run, cells, cell):
            for config in configs:
                try:
                    on_step = _progress(f"{one.cell_id} {config.label}", config.steps)
                    records.append(
                        extract_cell(run, one, row, config, device=device, on_step=on_step)
                    )
                except UserError as error:
                    refused.append(f"{one.cell_id} {config.label}: {error}")
                    typer.echo(refused[-1], err=True)
                else:
                    if not as_json:
                        typer.echo(f"{one.cell_id} {config.label}: done", err=True)
        if not records:
            raise UserError(f"no model could be asked: {refused[-1]}")
        file = collect(run, cells)
    if as_json:
        typer.echo(json.dumps([record.to_dict() for record in records], indent=1))
    else:
        print_table(_table(records))
        typer.echo(with_urls(f"table:  {file}"))
    if refused:
        raise typer.Exit(1)


def _progress(name: str, n_steps: int) -> Callable[[int, float], None]:
    """Says once in a while how far the teaching has come, and when it will be done."""
    said = time.monotonic()
    first: tuple[int, float] | None = None

    def on_step(step: int, loss: float) -> None:
        nonlocal first, said
        now = time.monotonic()
        if first is None:
            first = step, now
        elif now - said >= _SAY_EVERY_S:
            said = now
            left = (n_steps - step) * (now - first[1]) / (step - first[0]) / 60
            typer.echo(
                f"{name}: step {step:,} of {n_steps:,}, loss {loss:.3f}, about {left:,.0f} minutes "
                "left",
                err=True,
            )

    return on_step


def _pair(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdigit() for part in parts):
        raise UserError(f"--ranks {text}: write two numbers, for instance --ranks 8,2")
    return int(parts[0]), int(parts[1])


def _table(records: Sequence[ExtractionRecord]) -> Any:
    from rich.table import Table

    table = Table(
        caption="Share of values: said when a biography stops before them; given when asked, about "
        "people that no question was about before; the commonest answer's; asked and taught.",
    )
    for heading in (
        "People",
        "Exposures",
        "Model",
        "Ranks",
        "R",
        "R_max",
        "Value bits",
        "Memorized",
        "Extracted",
        "Guessed",
        "Taught",
    ):
        table.add_column(heading, justify="right")
    for record in records:
        shares = (
            record.memorized_accuracy,
            record.extracted_accuracy,
            record.guessed_accuracy,
            record.taught_accuracy,
        )
        table.add_row(
            f"{record.n_people:,}",
            f"{record.exposures:g}",
            record.model,
            f"{record.rank_embedding},{record.rank_attention}",
            f"{record.capacity_ratio:.3f}",
            f"{record.max_capacity_ratio:.3f}",
            _percent(record.value_bits_frac),
            *map(_percent, shares),
        )
    return table


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}%"
