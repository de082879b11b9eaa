"""Files of facts that tests write."""

import json
from pathlib import Path
from typing import Any

from kcap_ray.config.data import DataConfig


def facts_file(folder: Path, facts: dict[str, dict[str, str]]) -> str:
    """A file of the facts."""
    records = [
        {"name": name, "attribute": attribute, "value": value}
        for name, materialized in facts.items()
        for attribute, value in materialized.items()
    ]
    (folder / "facts.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(folder / "facts.jsonl")


def config(
    folder: Path, facts: dict[str, dict[str, str]], templates: dict[str, Any] | None = None
) -> DataConfig:
    """Everybody in the facts, in the default sentences or in these."""
    path = folder / "templates.yaml"
    if templates is not None:
        path.write_text(json.dumps(templates))  # JSON is YAML
    return DataConfig(
        kind="tuples",
        file=facts_file(folder, facts),
        templates=None if templates is None else str(path),
        n_people=len(facts),
        name_space=2**40,
    )
