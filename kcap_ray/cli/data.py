"""`kcap data`: biographies as they are trained on and measured."""

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from kcap_ray.cli.options import CellGlob, Set, SweepFile, overrides
from kcap_ray.config.errors import UserError


def data(
    sweep_file: SweepFile,
    cell: CellGlob = None,
    n: Annotated[int, typer.Option("--n", min=1, help="People.")] = 3,
    exposure: Annotated[int, typer.Option(min=0, help="Exposure that is rendered.")] = 0,
    split: Annotated[
        Literal["train", "eval"], typer.Option(help="Rendered for training or for evaluation.")
    ] = "train",
    junk: Annotated[bool, typer.Option("--junk", help="Of junk people.")] = False,
    part: Annotated[
        int, typer.Option("--part", min=0, help="0: the main table; 1, ...: one of data.parts.")
    ] = 0,
    settings: Set = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="F", help="File; standard output if not given.")
    ] = None,
) -> None:
    """Write biographies as JSON lines: text, GPT-2 tokens, and where the values are."""
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.text.kinds.render import biography_records, first_people, source_of
    from kcap_ray.text.stream.corpus import build_corpus

    chosen = load_sweep(sweep_file, overrides(settings)).matching(cell)[0]
    corpus = build_corpus(chosen.data)
    source = source_of(corpus, part=part, is_junk=junk)
    people = first_people(corpus, source, n)
    records = biography_records(source, people, exposure, split, seed=chosen.seed)
    lines = (json.dumps(record) for record in records)
    if out is None:
        for line in lines:
            typer.echo(line)
        return
    try:
        out.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"--out {out}: cannot write there ({error.strerror})") from error
