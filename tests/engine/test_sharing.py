"""Programs that share a device, on real Ray with a GPU that is there in name only."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.conftest import TIMEOUT_S

ROOT = Path(__file__).parents[2]

SWEEP = """
import os, sys, time
from pathlib import Path

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.engine.queue import SweepQueue
from kcap_ray.engine.session import ray_session
from kcap_ray.runs.record import TrialRecord
from kcap_ray.runs.results import RunDirectory
from tests.tiny import tiny_cell

tune = TuneConfig(trials=3, fused=1, lr=Range(low=1e-4, high=1e-1))
cells = [tiny_cell(exposures=exposures, tune=tune) for exposures in (2, 4)]
shares = {cells[0].cell_id: 2, cells[1].cell_id: int(sys.argv[2])}
out = Path(sys.argv[1])


def run(program, directory):
    # Runs until all programs of the first round that may run at the same time do.
    cell_id, first = program.cell.cell_id, program.first_trial
    began = time.monotonic()
    (out / f"{cell_id}-{first}.pid").write_text(str(os.getpid()))
    with_other = len(set(shares.values())) == 1
    end = time.monotonic() + 60
    while with_other and first == 0 and len(list(out.glob("*-0.pid"))) < 2:
        assert time.monotonic() < end, "waited for the other cell"
        time.sleep(0.01)
    records = [
        TrialRecord(trial=program.first_in_place + i, lr=p.lr, weight_decay=p.weight_decay,
                    status="ok", bits=1.0, capacity_ratio=p.lr)
        for i, p in enumerate(program.points)
    ]
    program.place(directory).add_trials(records)
    (out / f"{cell_id}-{first}.time").write_text(f"{cell_id} {began} {time.monotonic()}")


def resources(program):
    return {"CPU": 0.5, "GPU": 1 / shares[program.cell.cell_id]}


with ray_session(None):
    from kcap_ray.engine.tune import run_queue

    directory = RunDirectory(out / "run")
    directory.prepare()
    queue = SweepQueue(cells, {}, directory, sweep="shared")
    run_queue(queue, directory, run, resources=resources)
print(len(directory.rows(cells)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("second", [2, 1])
def test_programs_take_the_share_of_a_gpu_that_their_cell_asks_for(tmp_path, second):
    """Two cells of half a GPU each run at the same time (each waits for the other), and every
    worker is kept for the next program of its share; with a cell that takes all of it, each waits
    for its turn.
    """
    done = subprocess.run(
        [sys.executable, "-c", SWEEP, str(tmp_path), str(second)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        cwd=ROOT,
        env={**os.environ, "RAY_OVERRIDE_RESOURCES": '{"CPU": 2, "GPU": 1}'},
    )
    assert done.stdout.split() == ["2"], done.stderr
    pids = [file.read_text() for file in tmp_path.glob("*.pid")]
    assert len(pids) == 6
    if second == 2:
        assert len(set(pids)) == 2
        return
    times = [file.read_text().split() for file in tmp_path.glob("*.time")]
    for cell_id, began, ended in times:
        assert all(
            float(end) < float(began) or float(ended) < float(begin)
            for other, begin, end in times
            if other != cell_id
        )
