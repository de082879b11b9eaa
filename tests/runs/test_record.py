"""Records, their schema, and what is made of it: files, tables, the page, older versions."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from analysis.load import load_results
from analysis.report_tables import SHOWN, head_of
from kcap_ray.cli.results_table import results_table
from kcap_ray.config.errors import UserError
from kcap_ray.measure.bits import NATS_PER_BIT
from kcap_ray.runs.columns_extraction import ExtractionRecord
from kcap_ray.runs.columns_json import GroupRecord, SiteRecord, list_text, read_list
from kcap_ray.runs.columns_page import page
from kcap_ray.runs.record import (
    CurvePoint,
    MeasuredModel,
    ResultRow,
    TrainingProgress,
    TrialRecord,
    TrialRow,
)
from kcap_ray.runs.schema import (
    SCHEMA_VERSION,
    Record,
    RecordError,
    arrow_schema,
    fields_of,
    names_of,
)
from kcap_ray.runs.versions import N_BIOS_ATTRIBUTES, n_attributes_of, upgraded
from kcap_ray.text.kinds.bios import ATTRIBUTES

ROOT = Path(__file__).parents[2]
COMMITTED = sorted((ROOT / "docs" / "results").glob("*/results.parquet"))
RECORDS = (ResultRow, TrialRecord, CurvePoint, TrialRow, GroupRecord, SiteRecord, ExtractionRecord)
SAMPLE: dict[type, Any] = {int: 3, float: 0.1 + 0.2, str: "x", bool: True}
HELD: dict[type | None, Any] = {
    None: lambda one: one,
    tuple: lambda one: (one, one),
    dict: lambda one: {"x": one},
}


def values_of(record: type, **values: Any) -> dict[str, Any]:
    """Something in every column."""
    given = {field.name: HELD[field.holder](SAMPLE[field.kind]) for field in fields_of(record)}
    own = {"schema_version": SCHEMA_VERSION, "status": "ok"}
    return {**given, **{name: value for name, value in own.items() if name in given}, **values}


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_comes_back_as_it_was_written(record: type[Record]) -> None:
    """Through JSON, to the last bit; what is no column is ignored."""
    one = record.from_dict(values_of(record))
    again = record.from_dict(json.loads(json.dumps({**one.to_dict(), "of_a_stranger": 1})))
    assert again == one
    assert list(one.to_dict()) == list(names_of(record))


@pytest.mark.parametrize("groups", [None, [{"table": "bioS", "n_people": 3}]])
def test_what_was_measured_of_a_model_comes_back_from_json(groups: list[Any] | None) -> None:
    """Groups are a list there, and the class is `class`."""
    text = None if groups is None else json.dumps(groups)
    one = MeasuredModel(**values_of(MeasuredModel, groups=text))
    written = json.loads(json.dumps(one.to_dict()))
    assert MeasuredModel.from_dict(written) == one
    assert (written["groups"], written["class"]) == (groups, one.model_class)


def test_lists_of_records_come_back_from_their_column() -> None:
    """With the names and values that files from before the records were typed have; and what is no
    list of them is refused.
    """
    site = {"table": "bioS", "attribute": "name", "demand_bits": None, "stored_bits": None}
    text = json.dumps([site | {"loss_nats": 3.5, "token_nats": [2.0, 1.5]}])
    (found,) = read_list(SiteRecord, text)
    assert found.token_nats == (2.0, 1.5)
    assert list_text([found]) == text
    for wrong in ("null", "{", "[1]", text.replace("1.5", '"x"'), text.replace("[2.0, 1.5]", "3")):
        with pytest.raises(ValueError):
            read_list(SiteRecord, wrong)


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_committed_lists_of_records_are_written_as_they_are(path: Path) -> None:
    """Byte by byte: the records have the fields of the files, in their order."""
    table = pq.read_table(path)
    for name, kind in (("groups", GroupRecord), ("sites", SiteRecord)):
        for text in table[name].to_pylist() if name in table.column_names else ():
            assert not text or list_text(read_list(kind, text)) == text


def test_a_committed_extraction_is_written_as_it_is() -> None:
    """Byte by byte."""
    (path,) = (ROOT / "docs" / "results").glob("*/extraction.json")
    text = path.read_text(encoding="utf-8")
    records = [record.to_dict() for record in read_list(ExtractionRecord, text)]
    assert json.dumps(records, indent=1) + "\n" == text


def test_progress_comes_back_from_json() -> None:
    """And is shown with the share that is done."""
    one = TrainingProgress(step=3, n_steps=12, losses=(1.5, 2.0))
    assert TrainingProgress.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    assert str(one).split() == ["25%", "step", "3", "of", "12", "loss", "1.500,", "2.000", "nats"]


@pytest.mark.parametrize(
    "wrong",
    [{"step": -1}, {"step": 13}, {"step": 1.0}, {"n_steps": None}, {"losses": 1}, {"losses": "a"}],
)
def test_what_is_no_progress_is_refused(wrong: dict[str, Any]) -> None:
    """A file that something else has written."""
    with pytest.raises(RecordError, match="no progress"):
        TrainingProgress.from_dict({"step": 3, "n_steps": 12, "losses": [1.5], **wrong})


def wrong(record: type) -> Iterator[tuple[str, Any]]:
    """A value of another kind for every column; nothing where there must be something."""
    for field in fields_of(record):
        yield field.name, 1 if field.kind is str else "1"
        yield field.name, 1 if field.kind is bool else True
        if not field.is_optional:
            yield field.name, None


@pytest.mark.parametrize("record", RECORDS)
def test_a_value_of_another_kind_is_refused_by_the_name_of_its_column(record: Any) -> None:
    """Whoever makes the record: the file that is read, or the code that writes it."""
    for name, value in wrong(record):
        with pytest.raises(RecordError, match=f"column {name}: got {value!r}"):
            record(**values_of(record, **{name: value}))


def test_what_may_be_absent_is_nothing_and_what_may_not_is_named() -> None:
    """Columns that hold a number only if there is one need not be in a file."""
    least = {"schema_version": 2, "trial": 0, "lr": 0.1, "weight_decay": 0.1, "status": "ok"}
    assert TrialRecord.from_dict(least).bits is None
    with pytest.raises(RecordError, match="'lr'"):
        TrialRecord.from_dict({name: value for name, value in least.items() if name != "lr"})
    with pytest.raises(RecordError, match="column status: got 'fine'; allowed are ok, diverged"):
        TrialRecord.from_dict({**least, "status": "fine"})
    with pytest.raises(RecordError, match="stored_bits: holds nothing"):
        ResultRow.from_dict(values_of(ResultRow, stored_bits=None))


def test_a_record_of_a_later_version_is_not_read_as_if_it_were_of_this() -> None:
    """The user is told what to do."""
    with pytest.raises(UserError, match="knows up to 2; update"):
        ResultRow.from_dict(values_of(ResultRow, schema_version=3))


def test_every_column_says_what_it_is() -> None:
    """One schema: label, meaning, unit; where records share a column they mean the same."""
    for record in RECORDS:
        for field in fields_of(record):
            column = field.column
            assert column.label and column.meaning.endswith("."), field.name
            assert 1 <= column.since <= SCHEMA_VERSION
            units = {"nats": "nats", "bits": "bits", "s": "s"}
            unit = units.get(field.name.rpartition("_")[2])
            if unit and field.name != "tokens_per_s":
                assert column.unit.split("/")[0] == unit, field.name
    (row, trial) = ({field.name: field for field in fields_of(one)} for one in RECORDS[:2])
    for name in row.keys() & trial.keys():
        assert row[name].column is trial[name].column or row[name].column == trial[name].column


def test_files_tables_and_page_have_the_schemas_columns() -> None:
    """None of them has a list of its own."""
    assert arrow_schema(ResultRow).names == list(names_of(ResultRow))
    (row,) = (ResultRow.from_dict(values_of(ResultRow)),)
    fields = {field.name: field for field in fields_of(ResultRow)}
    headings = [column.header for column in results_table([row]).columns]
    assert set(map(str, headings)) <= {field.column.heading for field in fields.values()}
    for name in SHOWN:
        head = head_of(name)
        assert (head.name, head.unit) == (fields[name].column.label, fields[name].column.unit)
    for record in RECORDS:
        for field in fields_of(record):
            assert f"`{field.name}`" in page()


def test_the_page_in_the_docs_is_the_schemas() -> None:
    """`make columns` was run."""
    assert (ROOT / "docs" / "columns.md").read_text(encoding="utf-8") == page()


def test_the_terminal_shows_the_numbers_of_a_row() -> None:
    """In the form that the schema gives them; `-` for nothing."""
    row = ResultRow.from_dict(
        values_of(ResultRow, n_people=12_345, lr=None, capacity_ratio=0.12345, stored_bits=1234.5)
    )
    console = Console(width=300)
    with console.capture() as capture:
        console.print(results_table([row]))
    cells = capture.get().splitlines()[1].split()
    assert cells[:6] == ["12,345", "3", "x", "3", "1,234", "0.123"]
    assert "-" in cells and "3/3" in cells


def test_attributes_of_bios_are_those_that_its_texts_count() -> None:
    """What the conversion knows of version 1 is what was counted then, and is now."""
    assert len(ATTRIBUTES) == N_BIOS_ATTRIBUTES
    assert n_attributes_of("bioS_simple-mini-junk7x1K") == N_BIOS_ATTRIBUTES
    assert n_attributes_of("bioD-K13-C1-D50-L1-T2000-mini") == 13
    assert n_attributes_of("tuples-bioD-K6-") is None


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_older_files_are_read_with_todays_meaning(path: Path) -> None:
    """For every kind: bits of value follow from the losses by one formula, and nothing else moves.

    N (value bits of a person - loss_value_nats / ln 2) = value_bits, of which the difference of
    two models of the same data knows only the loss.
    """
    old = pq.read_table(path).to_pylist()
    new = [ResultRow.from_dict(values) for values in old]
    by_data: dict[tuple[str, int], list[ResultRow]] = {}
    for before, row in zip(old, new, strict=True):
        assert row.schema_version == SCHEMA_VERSION
        losses = {"loss_value_nats", "loss_value1_nats", "groups", "schema_version"}
        assert all(getattr(row, n) == v for n, v in before.items() if n not in losses and v)
        if row.stored_bits is not None and row.groups is None:
            by_data.setdefault((row.dataset, row.n_people), []).append(row)
    for rows in by_data.values():
        first, *others = rows
        for row in others:
            assert row.value_bits and first.value_bits
            assert row.loss_value_nats is not None and first.loss_value_nats is not None
            lost = row.n_people * (row.loss_value_nats - first.loss_value_nats) / NATS_PER_BIT
            assert first.value_bits - row.value_bits == pytest.approx(lost, rel=1e-9, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.parent.name)
def test_the_analysis_reads_what_the_record_reads(path: Path) -> None:
    """Converted once, in one place, whoever reads."""
    rows = load_results([path.parent]).rows
    records = [ResultRow.from_dict(values) for values in pq.read_table(path).to_pylist()]
    for name in ("loss_value_nats", "loss_value_attribute_nats", "loss_value1_nats"):
        ours = [math.nan if v is None else v for v in (getattr(r, name) for r in records)]
        pd.testing.assert_series_equal(
            rows[name].astype(float), pd.Series(ours, name=name), check_exact=True
        )
    assert [v if isinstance(v, str) else None for v in rows["groups"]] == [
        record.groups for record in records
    ]


def test_groups_of_an_older_row_are_converted_table_by_table() -> None:
    """Each by its own kind; bits stay."""
    tables = ("bioS-mini", "bioD-K4-C2-D20-L2-T100-mini")
    groups = [{"table": table, "loss_value_nats": 2.0, "stored_bits": 5.0} for table in tables]
    row = values_of(ResultRow, dataset=f"{tables[0]}+0.5x{tables[1]}:200", loss_value_nats=2.0)
    row |= {"schema_version": 1, "groups": json.dumps(groups)}
    found = ResultRow.from_dict(row)
    assert (found.loss_value_nats, found.loss_value_attribute_nats) == (2.0, 2.0 / 6)
    new = json.loads(found.groups or "")
    assert [group["loss_value_nats"] for group in new] == [2.0, 8.0]
    assert [group["stored_bits"] for group in new] == [5.0, 5.0]
    assert upgraded(found.to_dict(), found.dataset) == found.to_dict()


def test_a_trial_of_an_older_version_keeps_its_meaning_until_its_data_are_known() -> None:
    """A line of trials.jsonl does not say which data it is of; the cell that is finished does."""
    line = {"trial": 0, "lr": 0.1, "weight_decay": 0.1, "status": "ok", "loss_value_nats": 0.5}
    trial = TrialRecord.from_dict(line)
    assert (trial.schema_version, trial.loss_value_nats) == (1, 0.5)
    assert TrialRecord.from_dict(trial.to_dict()) == trial
    today = trial.of_table("bioD-K6-C1-D50-L1-T2000-mini")
    assert (today.schema_version, today.loss_value_nats) == (SCHEMA_VERSION, 3.0)
    assert today.loss_value_attribute_nats == 0.5
    assert today.of_table("bioD-K6-C1-D50-L1-T2000-mini") == today


def test_what_cells_differ_in_is_a_column_of_the_terminals_table() -> None:
    """Two kinds of data, or two optimizers: otherwise rows of different cells look alike."""
    one, other = (
        ResultRow.from_dict(values_of(ResultRow, dataset=dataset, optimizer=optimizer))
        for dataset, optimizer in (("bioS-mini", "adamw"), ("bioD-mini", "muon"))
    )
    fields = {field.name: field.column.heading for field in fields_of(ResultRow)}
    alike = [column.header for column in results_table([one, one]).columns]
    apart = [column.header for column in results_table([one, other]).columns]
    assert set(apart) - set(alike) == {fields["dataset"], fields["optimizer"]}
