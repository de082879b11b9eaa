"""`run` of the Python interface, and what `kcap run-cell` does: a sweep's cells in this process."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from kcap_ray.config.cell import Cell
from kcap_ray.planning.sweep import Sweep
from kcap_ray.runs.results import RunDirectory

if TYPE_CHECKING:
    import pandas as pd


def run(
    sweep: Sweep,
    out: str | Path | None = None,
    *,
    on_ray: bool = False,
    address: str | None = None,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    retry_failed: bool = False,
) -> "pd.DataFrame":
    """Run a sweep, or what is left of it, and return its rows (`read_results`).

    Cells run one after another in this process, or with `on_ray` as `kcap sweep` runs them: on all
    of this machine, or on the cluster at `address`. `out`: the run directory, `runs/<name>` if not
    given. A cell that fails is a row with its reason. Raises `UserError` (a `ValueError`) for a
    mistake in what is asked for.
    """
    from kcap_ray.api.results import read_results
    from kcap_ray.runs.opening import opened

    with opened(out if out is not None else Path("runs") / sweep.name) as path:
        directory = RunDirectory(path)
        if on_ray:
            from kcap_ray.engine.driver import Options, run_sweep

            options = Options(address=address, device=device, retry_failed=retry_failed)
            run_sweep(sweep, directory, options)
        else:
            run_here(sweep, sweep.cells, directory, device=device, retry_failed=retry_failed)
        return read_results(directory.path)


def run_here(
    sweep: Sweep,
    cells: Sequence[Cell],
    directory: RunDirectory,
    *,
    device: Literal["auto", "cpu", "gpu"] = "auto",
    retry_failed: bool = False,
    save_every_s: float = 300.0,
) -> None:
    """Run some cells of the sweep one after another in this process, without Ray, and write the
    table of the directory.
    """
    import torch

    from kcap_ray.execution.cell import run_cells
    from kcap_ray.planning.outlook import SweepOutlook
    from kcap_ray.runs.interrupt import saves_first
    from kcap_ray.runs.log import command_logged_to
    from kcap_ray.runs.manifest import clear_failed, only_driver, table_at_end, write_manifest
    from kcap_ray.runs.model_files import with_kept_files
    from kcap_ray.runs.watch import Watch

    directory.prepare()
    with only_driver(directory.path), command_logged_to(directory.path):
        cells = with_kept_files(cells, directory)
        write_manifest(
            directory,
            name=sweep.name,
            question=sweep.question,
            sweep_file=sweep.path,
            cells=with_kept_files(sweep.cells, directory),
        )
        use_gpu = device == "gpu" or (device == "auto" and torch.cuda.is_available())
        clear_failed(cells, directory, mistakes=retry_failed)
        with (
            table_at_end(directory),
            Watch(cells, directory, SweepOutlook(cells)),
            saves_first(cells, directory),
            redirect_stdout(sys.stderr),  # what a model's own code prints is no result
        ):
            run_cells(
                cells,
                sweep.neighbour,
                directory,
                sweep=sweep.name,
                device=torch.device("cuda" if use_gpu else "cpu"),
                save_every_s=save_every_s,
            )
