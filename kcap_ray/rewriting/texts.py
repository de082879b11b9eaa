"""Texts that another program wrote about the people of a table: judged, and their values found."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from kcap_ray.config.data import KnowledgeConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import people_rows
from kcap_ray.knowledge.person import Person, person_of
from kcap_ray.rewriting.find_values import Rejected, find_values
from kcap_ray.rewriting.free_text import clean_text
from kcap_ray.rewriting.job import Tally
from kcap_ray.text.kinds.rewritten_file import USES


def read_texts(file: Path) -> list[dict[str, Any]]:
    """Rows of a Parquet file or of JSON lines with `person_id`, `text` and perhaps `use` (train or
    eval); `UserError` where they are not there.
    """
    import pyarrow as pa
    import pyarrow.json as json_lines
    import pyarrow.parquet as pq

    try:
        is_json = file.suffix == ".jsonl"
        table = json_lines.read_json(file) if is_json else pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise UserError(f"--texts {file}: cannot be read ({error})") from None
    missing = {"person_id", "text"} - set(table.column_names)
    if missing:
        raise UserError(
            f"--texts {file} has no column {sorted(missing)[0]}; write person_id and text, one row "
            "for each text, and use (train or eval) where some are for measuring on"
        )
    return table.to_pylist()


def annotate(rows: list[dict[str, Any]], people: KnowledgeConfig) -> tuple[list[dict], Tally]:
    """Rows as `kcap rewrite` writes them of the texts that say everything, and what became of all.

    Texts are tidied, and a last sentence without a period gets one. A text for evaluation that
    knowledge cannot be measured on is rejected, one for training is kept with its doubt.
    `UserError` for people who are not in the table.
    """
    tally = Tally(n_people=people.n_people, n_wanted=len(rows), n_written=len(rows))
    table_PC = people_rows(people, np.arange(people.n_people))
    n_variants: defaultdict[tuple[int, str], int] = defaultdict(int)
    found_rows = []
    for row in rows:
        number, use = row["person_id"], row.get("use") or "train"
        if not isinstance(number, int) or not 0 <= number < people.n_people:
            raise UserError(
                f"--texts: person_id {number!r}; the table has 0 to {people.n_people - 1}: `kcap "
                "rewrite SWEEP --people FILE` lists them"
            )
        if use not in USES:
            raise UserError(f"--texts: use {use!r} of person {number}; write train or eval")
        text = clean_text(row["text"] or "")
        text += "" if text.endswith((".", "!", "?", '"', "'", ")")) else "."
        found = find_values(text, person_of(people.pools, table_PC[number]))
        if not isinstance(found, Rejected) and found.doubt and use == "eval":
            found = Rejected(f"for evaluation: {found.doubt}")
        if isinstance(found, Rejected):
            tally.rejected[found.reason] += 1
            tally.n_given_up += 1
            continue
        if found.doubt:
            tally.train_only[found.doubt] += 1
        found_rows.append(
            {
                "person_id": number,
                "variant": n_variants[number, use],
                "use": use,
                "text": text,
                "spans": [span._asdict() for span in found.spans],
                "model": row.get("model") or "texts",
                "doubt": found.doubt,
            }
        )
        n_variants[number, use] += 1
    trained = {row["person_id"] for row in found_rows if row["use"] == "train"}
    tally.n_people_without = people.n_people - len(trained)
    return found_rows, tally


def people_table(people: KnowledgeConfig) -> list[dict[str, Any]]:
    """Who the people are: number, name and values as columns, for a program that writes of them."""
    rows = []
    for number, values_C in enumerate(people_rows(people, np.arange(people.n_people))):
        person: Person = person_of(people.pools, values_C)
        rest = {key: value for key, value in person._asdict().items() if key != "date_text"}
        rows.append({"person_id": number, **rest, "birth_date": person.date_text})
    return rows
