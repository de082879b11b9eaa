"""docs/columns.md, from the schema: `python -m kcap_ray.runs.columns_page > docs/columns.md`."""

from kcap_ray.runs.columns import Asked, Measured, Outcome, Provenance, Stored, Trained
from kcap_ray.runs.columns_extraction import ExtractionRecord
from kcap_ray.runs.columns_json import GroupRecord, SiteRecord
from kcap_ray.runs.columns_quantized import Quantized
from kcap_ray.runs.columns_search import Confirmed
from kcap_ray.runs.record import CurvePoint, ResultRow, TrialRecord, TrialRow
from kcap_ray.runs.schema import SCHEMA_VERSION, Field, fields_of, names_of

_SECTIONS = (Outcome, Asked, Trained, Measured, Stored, Confirmed, Quantized, Provenance)
_TABLE = ("| column | type | unit | meaning |", "|---|---|---|---|")


def page() -> str:
    """The page as Markdown."""
    in_sections = {name for section in _SECTIONS for name in names_of(section)}
    own = [field for field in fields_of(ResultRow) if field.name not in in_sections]
    lines = [
        "# Columns",
        "",
        "`make columns` writes this page from `kcap_ray/runs/columns.py`, `columns_search.py`, "
        "`columns_quantized.py`, `columns_json.py`, `columns_extraction.py` and `record.py`.",
        "",
        f"The schema version is {SCHEMA_VERSION}. A file without the column `schema_version` is of "
        "version 1, where `loss_value_nats` and `loss_value1_nats` of bioD were means over the "
        "attributes of a person; `kcap` and the analysis convert it when they read it.",
        "",
        "N: people; K, C, D, L, T: the numbers of bioD, and U of the T symbols those that a "
        "compact vocabulary holds (with `vocab: full` U is T, as in rows made before U was "
        "counted); N0: possible names; S0: possible values of a person (arXiv 2404.05405, "
        "definitions 4.1 and 4.3). Of several tables, losses are those "
        "of the first, bits the sum over all.",
        "",
        "## results.parquet: a row per cell, and per quantized model",
        "",
    ]
    for section in _SECTIONS:
        title = (section.__doc__ or "").rstrip(".")
        lines += [f"### {title}", "", *_TABLE, *map(_line, fields_of(section)), ""]
    lines += ["### Best trial and settings", "", *_TABLE, *map(_line, own), ""]
    for name, kind in (("groups", GroupRecord), ("sites", SiteRecord)):
        lines += [f"### An object of the list in `{name}`", ""]
        lines += [*_TABLE, *map(_line, fields_of(kind)), ""]
    shared = {*names_of(ResultRow)} & {*names_of(TrialRecord)}
    trial = [field for field in fields_of(TrialRecord) if field.name not in shared]
    lines += ["## trials.jsonl: a line per tuning trial", ""]
    lines += [f"As above: {', '.join(f'`{n}`' for n in names_of(TrialRecord) if n in shared)}.", ""]
    lines += [*_TABLE, *map(_line, trial), ""]
    lines += ["## trials.parquet: a row per trial of a compact run", ""]
    lines += ["The columns of trials.jsonl, empty where a line lacks them, and:", ""]
    beside = [field for field in fields_of(TrialRow) if field.name not in names_of(TrialRecord)]
    lines += [*_TABLE, *map(_line, beside), ""]
    lines += ["## history.parquet: the loss curve of the best trial", ""]
    lines += [*_TABLE, *map(_line, fields_of(CurvePoint)), ""]
    lines += ["## extraction.json: a record per cell and settings of `kcap extract`", ""]
    lines += [*_TABLE, *map(_line, fields_of(ExtractionRecord))]
    return "\n".join(lines) + "\n"


def _line(field: Field) -> str:
    column = field.column
    since = f" (since version {column.since})" if column.since > 1 else ""
    return f"| `{field.name}` | {field.kind_text} | {column.unit} | {column.meaning}{since} |"


if __name__ == "__main__":
    print(page(), end="")
