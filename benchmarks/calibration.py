"""Does it matter what GPTQ reads?

Quantizes the finished models of a run after calibration on 10, 100, 1,000 and 10,000 people: people
of the data, other people, or as many random tokens. A table is read whole where it has no more
people than that, and then larger numbers are left out. Rows and packed models are those of
`kcap quantize`, beside which this may run again and again: what is done is skipped.

    python benchmarks/calibration.py runs/laptop_exposure --bits 4 --bits 3
    python -m analysis plot runs/laptop_exposure --figure calibration --out calibration.pdf
"""

import argparse
import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import torch

from kcap_ray.config.cell import Cell
from kcap_ray.quantize.cell import QuantizeJob, jobs_of, run_job, to_do
from kcap_ray.quantize.config import Calibration, QuantizeConfig
from kcap_ray.runs.manifest import only_driver, read_cells
from kcap_ray.runs.results import RunDirectory

N_PEOPLE = (10, 100, 1_000, 10_000)


def configs_of(cell: Cell, bits: Sequence[int]) -> list[QuantizeConfig]:
    """All calibrations that differ for this cell, at each width."""
    # The default is always among them, so that its row of `kcap quantize` is not made twice.
    whole = 1_000 if cell.data.n_people <= 1_000 else 10_000
    counts = [n for n in N_PEOPLE if n < cell.data.n_people or n == whole]
    kinds: list[Calibration] = [
        kind for kind in get_args(Calibration) if kind != "junk" or cell.data.file is None
    ]
    return [
        QuantizeConfig(bits=width, calibration=kind, calibration_people=n_people)
        for width in bits
        for kind in kinds
        for n_people in counts
    ]


def main() -> None:
    """Quantize, measure, add to the run's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--bits", type=int, action="append")
    parser.add_argument("--cell", default="*", help="glob of cell ids; all without it")
    chosen = parser.parse_args()
    run = RunDirectory(chosen.directory)
    cells = read_cells(chosen.directory)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with only_driver(chosen.directory):
        jobs: list[QuantizeJob] = []
        for cell in cells:
            row = run.cell(cell.cell_id).result()
            is_finished = row is not None and row.status == "ok"
            if is_finished and fnmatch.fnmatchcase(cell.cell_id, chosen.cell):
                jobs += jobs_of(run, [cell], configs_of(cell, chosen.bits or [4]))
        todo = to_do(jobs, run, retry_failed=False)
        for number, job in enumerate(todo, start=1):
            row = run_job(job, run, device=device)
            said = f"R {row.capacity_ratio:.3f}" if row.capacity_ratio is not None else row.reason
            print(f"[{number}/{len(todo)}] {job.cell_id}  {job.config.label}  {said}", flush=True)
        run.collect(cells)


if __name__ == "__main__":
    main()
