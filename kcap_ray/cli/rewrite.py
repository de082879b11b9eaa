"""The verb of `kcap` that has biographies written by a language model; cli.py puts it beside the
others.
"""

import logging
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kcap_ray.cli.options import AsJson, CellGlob, Set, SweepFile, overrides
from kcap_ray.cli.output import print_json
from kcap_ray.config.errors import UserError

if TYPE_CHECKING:
    from kcap_ray.config.data import KnowledgeConfig
    from kcap_ray.rewriting.job import Tally, Writer
    from kcap_ray.rewriting.writers import WriterSettings

_logger = logging.getLogger(__name__)

_TELL_EVERY_S = 10.0


def rewrite(
    sweep_file: SweepFile,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory of a Hugging Face causal model.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(metavar="F", help="Judge and annotate these texts; Parquet or JSON lines."),
    ] = None,
    people_file: Annotated[
        Path | None, typer.Option("--people", metavar="F", help="Write who the people are, as CSV.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="F", help="Directory of Parquet files; default data.file."),
    ] = None,
    cell: CellGlob = None,
    settings: Set = None,
    per_person: Annotated[int, typer.Option(help="Biographies per person for training.")] = 40,
    for_evaluation: Annotated[int, typer.Option(help="And for measuring knowledge on.")] = 1,
    retries: Annotated[int, typer.Option(help="New attempts at a rejected biography.")] = 5,
    max_new_tokens: Annotated[int, typer.Option(help="Tokens at which a text is ended.")] = 400,
    temperature: Annotated[float, typer.Option(help="Temperature of sampling.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Share of the probability to sample from.")] = 0.95,
    seed: Annotated[int, typer.Option(help="Seed of prompts and sampling.")] = 0,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts at a time.")] = 64,
    people_per_part: Annotated[int, typer.Option(min=1, help="People per Parquet file.")] = 100,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    gpus_per_actor: Annotated[
        float | None, typer.Option(min=0, help="GPUs of one copy of the model; 1 if there are any.")
    ] = None,
    actors: Annotated[
        int | None, typer.Option(min=1, help="Copies of the model; as many as there are GPUs.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Let a language model write the biographies of a bioR cell; the same command goes on."""
    from kcap_ray.engine.rewrite import write_parts
    from kcap_ray.engine.session import ray_session
    from kcap_ray.planning.sweep import load_sweep
    from kcap_ray.rewriting.job import RewriteJob
    from kcap_ray.rewriting.output import RewriteOutput
    from kcap_ray.rewriting.writers import WriterSettings, model_digest

    cells = load_sweep(sweep_file, overrides(settings)).matching(cell)
    people = _people([one.data for one in cells])
    if people_file is not None:
        return _write_people(people, people_file, as_json=as_json)
    target = out or Path(people.file or "")
    if texts is not None:
        return _annotate(people, texts, target, as_json=as_json)
    if model is None:
        raise UserError("write --model DIR, or --texts FILE for texts that are written already")
    job = RewriteJob(
        people=people,
        model=model.resolve().name,
        model_digest=model_digest(model),
        per_person=per_person,
        for_evaluation=for_evaluation,
        retries=retries,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        seed=seed,
    )
    output = RewriteOutput(target)
    output.begin(job)
    sampling = WriterSettings(
        model=str(model.resolve()),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        batch_size=batch_size,
        n_gpus=0,
    )
    n_done = output.n_done(people.n_people)
    if n_done < people.n_people:
        with ray_session(address):
            write_parts(
                job,
                output,
                partial(_open_writer, sampling),
                people_per_part=people_per_part,
                actors=(actors, gpus_per_actor),
                on_part=_Progress(people.n_people, n_done),
            )
    _print_summary(output.tally(), output.path, as_json=as_json)


def _print_summary(tally: "Tally", file: Path, *, as_json: bool) -> None:
    """Say what became of the texts; exit status 1 if a person has none."""
    from kcap_ray.rewriting.output import summary

    if as_json:
        print_json([{"file": str(file), **vars(tally)}])
    else:
        typer.echo(summary(tally))
        typer.echo(f"file: {file}")
    if tally.n_people_without:
        raise typer.Exit(1)


def _write_people(people: "KnowledgeConfig", file: Path, *, as_json: bool) -> None:
    """The table of people as columns."""
    import csv

    from kcap_ray.rewriting.texts import people_table

    rows = people_table(people)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    if as_json:
        return print_json([{"people": str(file), "n_people": len(rows)}])
    typer.echo(f"people: {file}")


def _annotate(people: "KnowledgeConfig", texts: Path, out: Path, *, as_json: bool) -> None:
    """Write the texts that say everything as one Parquet file; never over another file."""
    from kcap_ray.rewriting.output import part_content
    from kcap_ray.rewriting.texts import annotate, read_texts
    from kcap_ray.runs.files import write_atomically

    if out.exists():
        raise UserError(f"--out {out} is there already; write the name of a new file")
    rows, tally = annotate(read_texts(texts), people)
    write_atomically(out, part_content(rows, tally))
    _print_summary(tally, out, as_json=as_json)


def _people(tables: list[Any]) -> "KnowledgeConfig":
    """The table with most people; of two tables with equal people, one is the other's beginning."""
    rewritten = [table for table in tables if table.kind == "bioR"]
    if not rewritten:
        raise UserError(
            f"data.kind: {tables[0].kind}; biographies are rewritten for cells of kind bioR"
        )
    most = max(rewritten, key=lambda table: table.n_people)
    if any((table.pools, table.seed) != (most.pools, most.seed) for table in rewritten):
        raise UserError("data.pools, data.seed: cells differ in them; choose some with --cell")
    return most


def _open_writer(settings: "WriterSettings", n_gpus: float) -> "Writer":
    from kcap_ray.rewriting.writers import open_writer

    return open_writer(replace(settings, n_gpus=n_gpus))


class _Progress:
    """Says now and then how many people are done."""

    def __init__(self, n_people: int, n_done: int) -> None:
        self._n_people, self._n_done = n_people, n_done
        self._told_s = time.monotonic()

    def __call__(self, start: int, stop: int) -> None:
        self._n_done += stop - start
        if time.monotonic() - self._told_s >= _TELL_EVERY_S:
            self._told_s = time.monotonic()
            _logger.info("%d of %d people", self._n_done, self._n_people)
