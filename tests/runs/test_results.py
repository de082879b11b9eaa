import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import fail_cell
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.record import ResultRow, TrialRecord
from kcap_ray.runs.results import CellDirectory, RunDirectory
from kcap_ray.runs.schema import SCHEMA_VERSION, fields_of, names_of
from tests.tiny import tiny_cell

CELLS = [tiny_cell(seed=seed) for seed in range(4)]


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    """An empty run directory."""
    directory = RunDirectory(tmp_path / "run")
    directory.prepare()
    return directory


def table_of(run: RunDirectory) -> pa.Table:
    """results.parquet."""
    return pq.read_table(run.results_file)


def row_of(**values: Any) -> ResultRow:
    """A finished row with numbers in all of its columns."""
    sample = {int: 3, float: 0.5, str: "x", bool: True}
    given = {field.name: sample[field.kind] for field in fields_of(ResultRow)}
    own = {"status": "ok", "reason": "", "schema_version": SCHEMA_VERSION}
    return ResultRow(**{**given, **own, **values})


def trial_of(number: int, **values: Any) -> TrialRecord:
    """The record of a trial."""
    given = {"trial": number, "lr": 0.1, "weight_decay": 0.1, "status": "ok", **values}
    return TrialRecord(**given)


def test_collect_keeps_the_order_of_the_cells_and_skips_what_is_not_done(
    run: RunDirectory,
) -> None:
    """Rows come in the order of the sweep, whatever the order in which cells finished."""
    for index in (3, 0, 2):
        cell = CELLS[index]
        fail_cell(cell, run.cell(cell.cell_id), sweep="s", reason=f"reason {index}")
    assert run.collect(CELLS) == 3
    assert table_of(run)["seed"].to_pylist() == [0, 2, 3]
    assert table_of(run)["reason"].to_pylist() == ["reason 0", "reason 2", "reason 3"]


def test_the_table_has_the_columns_of_a_row_whatever_is_in_it(run: RunDirectory) -> None:
    """No rows, a failed row without numbers or a full one: names, order and types are the same."""
    run.collect([])
    empty = table_of(run).schema
    fail_cell(CELLS[0], run.cell(CELLS[0].cell_id), sweep="s", reason="none")
    run.collect(CELLS)
    failed = table_of(run)
    run.cell(CELLS[1].cell_id).finish(row_of(cell_id=CELLS[1].cell_id, lr=1))
    run.collect(CELLS)
    both = table_of(run)
    assert tuple(empty.names) == names_of(ResultRow)
    assert empty.equals(failed.schema)
    assert empty.equals(both.schema)
    assert both["lr"].to_pylist() == [None, 1.0]
    assert failed["stored_bits"].null_count == 1
    assert set(empty.types) == {pa.bool_(), pa.int64(), pa.float64(), pa.string()}


def test_a_row_comes_back_as_it_was_written(run: RunDirectory) -> None:
    """The ledger holds each number exactly, and so does the table."""
    row = row_of(cell_id=CELLS[0].cell_id, stored_bits=0.1 + 0.2, tokens=2**53 + 1)
    directory = run.cell(CELLS[0].cell_id)
    directory.finish(row)
    assert directory.result() == row
    run.collect(CELLS)
    assert [ResultRow.from_dict(values) for values in table_of(run).to_pylist()] == [row]


@pytest.mark.parametrize(
    "content",
    [b"", b'{"status": "ok", "r', b"\xff\xfe\x00", b"\0" * 64, b"[]", b"{}", b"1", b"[" * 9_999],
)
def test_a_result_that_cannot_be_read_is_no_result(run: RunDirectory, content: bytes) -> None:
    """A cell with such a file is not done: it runs again and is not in the table."""
    directory = run.cell(CELLS[0].cell_id)
    directory.path.mkdir(parents=True)
    directory.result_file.write_bytes(content)
    assert directory.result() is None
    assert run.collect(CELLS) == 0


def test_trials_are_added_in_order(tmp_path: Path) -> None:
    """`trials` is the inverse of `add_trials`; without a file there are none."""
    directory = CellDirectory(tmp_path / "cell")
    assert directory.trials() == []
    trials = [trial_of(0, bits=1.5), trial_of(1, status="diverged"), trial_of(2, bits=0.1 + 0.2)]
    directory.add_trials(trials[:2])
    directory.add_trials(trials[2:])
    assert directory.trials() == trials


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[]", b"{}", b"1", b"[" * 9_999, b"\0"])
def test_trials_are_read_up_to_what_cannot_be(tmp_path: Path, content: bytes) -> None:
    """What follows is trained again; and then the file is whole."""
    directory = CellDirectory(tmp_path)
    directory.add_trials([trial_of(0), trial_of(1)])
    whole = directory.trials_file.read_bytes().splitlines(keepends=True)
    directory.trials_file.write_bytes(whole[0] + content + b"\n" + whole[1])
    assert directory.trials() == [trial_of(0)]
    directory.add_trials([trial_of(1)])
    assert directory.trials() == [trial_of(0), trial_of(1)]
    directory.trials_file.unlink()
    directory.trials_file.mkdir()
    assert directory.trials() == []


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_flipped_bit_is_found(run: RunDirectory, data: st.DataObject) -> None:
    """Wherever it is in a row or in a trial: it never reads as another number."""
    directory = run.cell(CELLS[0].cell_id)
    directory.trials_file.unlink(missing_ok=True)
    directory.add_trials([trial_of(0, bits=1.5)])
    directory.finish(row_of(cell_id=CELLS[0].cell_id))
    row, trials = directory.result(), directory.trials()
    for file, now, before in (
        (directory.result_file, directory.result, (row, None)),
        (directory.trials_file, directory.trials, (trials, [])),
    ):
        content = bytearray(file.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        file.write_bytes(content)
        # A flip in white space, or in the name of the checksum alone, changes nothing that is said.
        assert now() in before


def test_finishing_a_cell_removes_what_only_a_running_one_needs(run: RunDirectory) -> None:
    """A finished cell keeps its trials and no state to resume from; a failed one can go on."""
    for cell, is_done in ((CELLS[0], True), (CELLS[1], False)):
        directory = run.cell(cell.cell_id)
        directory.add_trials([trial_of(0)])
        write_atomically(directory.progress_file, "{}")
        write_atomically(directory.resume_file(1), "state")
        if is_done:
            directory.finish(row_of(cell_id=cell.cell_id))
        else:
            fail_cell(cell, directory, sweep="s", reason="none")
        assert directory.resume_file(1).exists() == (not is_done)
        assert not directory.progress_file.exists()
        assert directory.trials() == [trial_of(0)]


def test_a_table_that_cannot_be_written_leaves_the_old_one(
    run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """results.parquet is replaced whole."""
    fail_cell(CELLS[0], run.cell(CELLS[0].cell_id), sweep="s", reason="none")
    run.collect(CELLS)
    fail_cell(CELLS[1], run.cell(CELLS[1].cell_id), sweep="s", reason="none")

    def half(table: pa.Table, path: Path) -> None:
        Path(path).write_bytes(b"PAR1")
        raise OSError("No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(OSError, match="No space"):
        run.collect(CELLS)
    assert table_of(run).num_rows == 1


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    """The message names the option and says what to do."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"--out .*file: cannot write there .*another directory"):
        RunDirectory(tmp_path / "file").prepare()


def test_preparing_twice_changes_nothing(run: RunDirectory) -> None:
    """A run goes on in the directory of the run before, and no probe is left in it."""
    fail_cell(CELLS[0], run.cell(CELLS[0].cell_id), sweep="s", reason="none")
    before = sorted(run.path.rglob("*"))
    run.prepare()
    assert sorted(run.path.rglob("*")) == before
    assert json.loads(run.cell(CELLS[0].cell_id).result_file.read_text())["reason"] == "none"


def test_files_of_another_cell_count_as_none(tmp_path: Path) -> None:
    """A row or trials that were copied between cells are not taken for the cell's own."""
    run = RunDirectory(tmp_path)
    one, other = (run.cell(cell.cell_id) for cell in CELLS[:2])
    for cell, directory in zip(CELLS[:2], (one, other), strict=True):
        fail_cell(cell, directory, sweep="tiny", reason="")
        directory.add_trials([trial_of(0)])
    assert one.result() is not None and len(one.trials()) == 1
    for name in ("result.json", "trials.jsonl"):
        shutil.copyfile(other.path / name, one.path / name)
    assert one.result() is None
    assert one.trials() == []
