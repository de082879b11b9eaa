"""The verb of `kcap` that quantizes finished models; cli.py puts it beside the others."""

import fnmatch
import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kcap_ray.cli.options import AsJson, CellGlob
from kcap_ray.cli.output import print_json, print_table, report_of
from kcap_ray.config.errors import UserError
from kcap_ray.runs.working_copy import with_urls

if TYPE_CHECKING:
    from kcap_ray.config.cell import Cell
    from kcap_ray.quantize.cell import QuantizeJob
    from kcap_ray.runs.record import ResultRow
    from kcap_ray.runs.results import RunDirectory

_logger = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "gpu"]

DEFAULT_BITS = (8, 4)
"""Those of Figure 6 of arXiv 2404.05405."""


def quantize(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Run directory.")],
    bits: Annotated[
        list[int] | None, typer.Option("--bits", help="Bits of a weight, 2 to 8; again for more.")
    ] = None,
    method: Annotated[
        str, typer.Option(help="gptq, rtn (to nearest), hqq, or fp16 (16-bit floats, no more).")
    ] = "gptq",
    backend: Annotated[
        str, typer.Option(help="gptq: whose solver: native, auto-gptq or gptqmodel.")
    ] = "native",
    group_size: Annotated[
        str, typer.Option(metavar="G", help="Weights of a row that share a scale, or `row`.")
    ] = "128",
    act_order: Annotated[
        bool, typer.Option("--act-order", help="gptq: most active columns first.")
    ] = False,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="Each group has a zero point of its own.")
    ] = False,
    damping: Annotated[
        float, typer.Option(help="gptq: added to the Hessian, as a share of its mean diagonal.")
    ] = 0.01,
    embedding: Annotated[
        bool, typer.Option("--embedding", help="Quantize embedding and head too, to nearest.")
    ] = False,
    calibration_people: Annotated[
        int, typer.Option(metavar="N", help="gptq: people whose biographies are read.")
    ] = 1000,
    calibration: Annotated[
        str, typer.Option(help="gptq: what is read: people, junk or random_tokens.")
    ] = "people",
    finetune_exposures: Annotated[
        int, typer.Option(metavar="E", help="Exposures of training of the quantized model.")
    ] = 0,
    cell: CellGlob = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster (`auto` on its head); a local one if not given.")
    ] = None,
    device: Annotated[Device, typer.Option(help="What quantizes and measures.")] = "auto",
    in_process: Annotated[
        bool, typer.Option("--in-process", help="One model after another, without Ray.")
    ] = False,
    retry_failed: Annotated[bool, typer.Option(help="Try again what failed before.")] = False,
    as_json: AsJson = False,
) -> None:
    """Quantize the models of finished cells, and measure what they still know."""
    from kcap_ray.quantize.cell import jobs_of, to_do
    from kcap_ray.quantize.config import FP16_BITS, QuantizeConfig
    from kcap_ray.runs.log import command_logged_to
    from kcap_ray.runs.manifest import only_driver, read_cells
    from kcap_ray.runs.results import RunDirectory

    widths = tuple(bits or ()) or ((FP16_BITS,) if method == "fp16" else DEFAULT_BITS)
    configs = [
        QuantizeConfig(
            bits=width,
            method=method,  # pyright: ignore[reportArgumentType]
            backend=backend,  # pyright: ignore[reportArgumentType]
            group_size=_group_size(group_size),
            symmetric=not asymmetric,
            act_order=act_order,
            damping=damping,
            embedding=embedding,
            calibration_people=calibration_people,
            calibration=calibration,  # pyright: ignore[reportArgumentType]
            finetune_exposures=finetune_exposures,
        )
        for width in dict.fromkeys(widths)
    ]
    cells = read_cells(directory)
    run = RunDirectory(directory)
    jobs = jobs_of(run, _matching(cells, cell), configs)
    with only_driver(directory), command_logged_to(directory):
        todo = to_do(jobs, run, retry_failed=retry_failed)
        if todo:
            _quantize(todo, run, address=address, device=device, in_process=in_process)
        run.collect(cells)
    _print_summary(jobs, run, as_json=as_json)


def _group_size(text: str) -> int | None:
    if text == "row":
        return None
    try:
        return int(text)
    except ValueError:
        raise UserError(f"--group-size {text}: write a number such as 64, or row") from None


def _matching(cells: "list[Cell]", pattern: str | None) -> "list[Cell]":
    """The cells whose id matches the glob; all without one. `UserError` if none does."""
    found = [c for c in cells if pattern is None or fnmatch.fnmatchcase(c.cell_id, pattern)]
    if not found:
        first = f"the first of {len(cells)} is {cells[0].cell_id}" if cells else "there are none"
        raise UserError(f"--cell {pattern}: no such cell; {first}")
    return found


def _quantize(
    jobs: "Sequence[QuantizeJob]",
    run: "RunDirectory",
    *,
    address: str | None,
    device: Device,
    in_process: bool,
) -> None:
    on_done = _reporter(run, len(jobs))
    if in_process or importlib.util.find_spec("ray") is None:
        import torch

        from kcap_ray.quantize.cell import run_job

        has_gpu = torch.cuda.is_available() and device != "cpu"
        if device == "gpu" and not has_gpu:
            raise UserError("--device gpu: no GPU on this machine; write --device cpu, or auto")
        for job in jobs:
            on_done(job, run_job(job, run, device=torch.device("cuda" if has_gpu else "cpu")))
        return
    from kcap_ray.engine.quantize import quantize_on_ray

    quantize_on_ray(jobs, run, address=address, device=device, on_done=on_done)


def _reporter(run: "RunDirectory", n_jobs: int) -> "Callable[[QuantizeJob, ResultRow], None]":
    """Logs each job that is done."""
    from kcap_ray.runs.schema import shown

    n_done = 0

    def report(job: "QuantizeJob", row: "ResultRow") -> None:
        nonlocal n_done
        n_done += 1
        said = row.reason
        if row.status == "ok":
            said = (
                f"R {shown(row, 'capacity_ratio')}, was {_before(job, run):.3f} bit/param  "
                f"{shown(row, 'bits_per_weight')} bits per weight"
            )
        level = logging.INFO if row.status == "ok" else logging.WARNING
        where = f"{job.cell_id}  {job.config.label}"
        _logger.log(level, "[%d/%d] %s  %s  %s", n_done, n_jobs, where, row.status, said)

    return report


def _before(job: "QuantizeJob", run: "RunDirectory") -> float:
    """R of the weights that were quantized: those of the best trial, whatever fresh seeds gave."""
    row = run.cell(job.cell_id).result()
    assert row is not None and row.capacity_ratio is not None, "only finished cells are quantized"
    if row.n_confirm_seeds and row.selected_capacity_ratio is not None:
        return row.selected_capacity_ratio
    return row.capacity_ratio


def _print_summary(jobs: "Sequence[QuantizeJob]", run: "RunDirectory", *, as_json: bool) -> None:
    """Print the table (or the rows as JSON), write the report; exit status 1 if a model has no
    result.
    """
    from kcap_ray.cli.results_table import quantized_table

    rows: list[ResultRow] = []
    for job in jobs:
        row = job.directory(run).result()
        assert row is not None, "every job ends in a row"
        rows.append(row)
    if as_json:
        print_json(row.to_dict() for row in rows)
    else:
        print_table(quantized_table(rows, before=[_before(job, run) for job in jobs]))
    typer.echo(with_urls(f"report: {report_of(run.path)}"), err=as_json)
    typer.echo(with_urls(f"table:  {run.results_file}"), err=as_json)
    failed = [row for row in rows if row.status != "ok"]
    if failed:
        typer.echo(
            f"{len(failed)} of {len(rows)} quantized models have no result, for the reasons in the "
            "table; once those are gone, --retry-failed tries again.",
            err=True,
        )
        raise typer.Exit(1)
