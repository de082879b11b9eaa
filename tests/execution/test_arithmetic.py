"""`train.precision: auto`: chosen once for a cell, whichever program asks first."""

import dataclasses
import threading
from pathlib import Path

import pytest
import torch

import kcap_ray.execution.trial_batch
from kcap_ray.config.cell import Cell, Precision, TuneConfig
from kcap_ray.execution.arithmetic import Arithmetic, keep_arithmetic, saved_arithmetic
from kcap_ray.execution.cell import run_cell
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory
from kcap_ray.training.cpu_timing import MeasuredArithmetic
from tests.tiny import tiny_cell

TUNE = TuneConfig(confirm_seeds=1)
"""One trial: further points would follow from the cell's identity, of which the precision is part.
"""

DIFFERS = {"cell_id", "train_time_s", "measure_time_s", "tokens_per_s", "config"}


def cell_in(precision: str) -> Cell:
    """One with fresh seeds, so that its trials lie in two places."""
    return tiny_cell(exposures=2, batch_windows=4, tune=TUNE, precision=precision)


def finish(cell: Cell, path: Path) -> ResultRow:
    """Run it to its end, on a CPU."""
    run = CellRun(cell=cell, directory=CellDirectory(path), device=torch.device("cpu"))
    return run_cell(run, sweep="s")


def numbers(row: ResultRow) -> dict[str, object]:
    """What two rows of the same training share."""
    return {key: v for key, v in dataclasses.asdict(row).items() if key not in DIFFERS}


def finds(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Measurements that find this precision the fastest; the cells that were measured."""
    asked = []

    def measure(cell: Cell, *_: object, **__: object) -> MeasuredArithmetic:
        asked.append(cell.cell_id)
        seconds = {"fp32": 1.0, "bf16": 1.0}
        return MeasuredArithmetic(precision=precision, compile="off", seconds=seconds)

    module = kcap_ray.execution.trial_batch
    monkeypatch.setattr(module, "is_long", lambda *_, **__: True)
    monkeypatch.setattr(module, "measure_arithmetic", measure)
    return asked


def test_a_run_that_is_too_short_to_measure_is_in_float32(tmp_path: Path) -> None:
    """Its row says so, and all its numbers are those of a cell that asks for it."""
    row = finish(cell_in("auto"), tmp_path / "auto")
    assert row.precision == "fp32"
    assert numbers(row) == numbers(finish(cell_in("fp32"), tmp_path / "fp32"))


def test_what_is_found_trains_every_trial_and_fresh_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One measurement for the cell; then its numbers are those of a cell that asks for bf16. The
    next program on another machine, where float32 would be faster, does as the first one did.
    """
    asked = finds("bf16", monkeypatch)
    found = finish(cell_in("auto"), tmp_path / "auto")
    assert len(asked) == 1
    assert found.precision == "bf16"
    finds("fp32", monkeypatch)
    (tmp_path / "auto" / "result.json").unlink()
    for place in (tmp_path / "auto").glob("parts/*/trials.jsonl"):
        place.unlink()
    assert numbers(finish(cell_in("auto"), tmp_path / "auto")) == numbers(found)
    monkeypatch.undo()
    said = finish(cell_in("bf16"), tmp_path / "bf16")
    assert numbers(said) == numbers(found)
    assert said.stored_bits != finish(cell_in("fp32"), tmp_path / "fp32").stored_bits


def test_of_programs_that_begin_at_once_one_decides(tmp_path: Path) -> None:
    """Whatever each has measured, in the cell's own place and in those of its parts."""
    whole = CellDirectory(tmp_path / "cells" / "c")
    places = [whole, *(whole.part(f"trial{i}") for i in range(7))]
    kept = []

    def begin(index: int) -> None:
        precision: Precision = "bf16" if index % 2 else "fp32"
        kept.append(keep_arithmetic(places[index], Arithmetic(precision=precision, compile="off")))

    threads = [threading.Thread(target=begin, args=(index,)) for index in range(len(places))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(kept)) == 1
    assert {saved_arithmetic(place) for place in places} == set(kept)


def test_a_damaged_choice_is_made_anew(tmp_path: Path) -> None:
    """A changed byte counts as no choice."""
    directory = CellDirectory(tmp_path / "c")
    keep_arithmetic(directory, Arithmetic(precision="bf16", compile="off"))
    file = tmp_path / "c" / "arithmetic.json"
    file.write_text(file.read_text().replace("bf16", "fp16"))
    assert saved_arithmetic(directory) is None
    chosen = Arithmetic(precision="fp32", compile="off")
    assert keep_arithmetic(directory, chosen) == chosen
    assert saved_arithmetic(directory) == chosen
