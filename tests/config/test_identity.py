"""Which settings make a cell another cell, and another search."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest

from kcap_ray.config import identity
from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.contents import NAME_POOLS, VALUE_POOLS, with_contents
from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.config.schema import field_types, is_group
from tests.tiny import BIOD, BIOS, tiny_cell

RANGES = TuneConfig(
    trials=3, lr=Range(low=1e-4, high=1e-2), weight_decay=Range(low=0.1, high=1.0), fused=2
)
CELLS = [
    tiny_cell(BIOS),
    tiny_cell(BIOD, grad_clip=1.0, micro_windows=1, probe_exposures=1),
    tiny_cell(tune=RANGES),
    tiny_cell(
        DataConfig(
            n_people=10,
            pools="mini",
            junk=JunkConfig(n_people=5),
            parts=(MixturePart(n_people=3, weight=0.5),),
            frequency=FrequencyConfig(zipf=1.0),
        ),
        model="gpt2-2-2-mlp1/4",
    ),
]
GOLDEN = {
    "bioS-n10-e10-gpt2-1-1-s0": tiny_cell(BIOS),
    "bioD-n12-e10-gpt2-1-1-s0": tiny_cell(tune=RANGES),
    "bioS-n10-e10-gpt2-2-2-mlp1_4-s0": CELLS[3],
}

POOLS = Path(__file__).parents[2] / "kcap_ray" / "knowledge" / "pools"


def changed(value: Any) -> Any:
    """Another value of the same kind; None where there is no plain one."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 or 0.5
    if isinstance(value, int):
        return 2 * value or 2
    return None


def variants(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """Values that differ from a dataclass in one number or flag each, however deep, and its key."""
    found = []
    for field in dataclasses.fields(value):
        key, inside = prefix + field.name, getattr(value, field.name)
        if key == "tune.trials" and inside == 1:  # more need a range
            continue
        others = [(key, changed(inside))]
        if field.name == "workers":
            others = [(key, 2)]
        if field.name == "rotary_frac":  # a share
            others = [(key, 0.5 * inside)]
        if dataclasses.is_dataclass(inside):
            others = variants(inside, f"{key}.")
        elif isinstance(inside, tuple):
            others = [(name, (other,)) for item in inside for name, other in variants(item, key)]
        found += [
            (name, dataclasses.replace(value, **{field.name: other}))
            for name, other in others
            if other is not None
        ]
    return found


@pytest.mark.parametrize("cell", CELLS)
def test_the_science_of_a_cell_is_its_identity_and_nothing_else_is(cell: Cell) -> None:
    """Cells that differ in a number of data, model, training or search have different ids; in where
    they run, what they keep and how long they search they are the same.
    """
    science = {key: other for key, other in variants(cell) if key not in identity.NOT_SCIENCE}
    ids = {other.cell_id for other in science.values()}
    assert len(science) >= 18
    assert len(ids | {cell.cell_id}) == len(science) + 1
    others = [other for key, other in variants(cell) if key in identity.NOT_SCIENCE]
    assert len(others) >= 3
    assert {other.cell_id for other in others} == {cell.cell_id}
    assert {other.search_seed for other in others} == {cell.search_seed}


def test_the_search_does_not_depend_on_where_it_starts() -> None:
    """Its seed is that of data, model and training; not of the first point, the seed or ranges."""
    cell = tiny_cell(tune=RANGES)
    for other in (tiny_cell(lr=0.5), tiny_cell(weight_decay=0.5), tiny_cell(seed=7)):
        assert other.search_seed == cell.search_seed
        assert other.cell_id != cell.cell_id
    for other in (tiny_cell(BIOS), tiny_cell(model="gpt2-2-1"), tiny_cell(exposures=11)):
        assert other.search_seed != cell.search_seed


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("bioS-n10-e10-gpt2-1-1-s0", "039ca4c4"),
        ("bioD-n12-e10-gpt2-1-1-s0", "3e766125"),
        ("bioS-n10-e10-gpt2-2-2-mlp1_4-s0", "c426e1f6"),
    ],
)
def test_ids_stay_as_they_are(name: str, digest: str) -> None:
    """Runs are found again by them: no later version may give these cells another id."""
    assert GOLDEN[name].cell_id == f"{name}-{digest}"


def test_search_seeds_stay_as_they_are() -> None:
    """A search goes on where another version left it."""
    assert tiny_cell().search_seed == 3715775369


def test_every_setting_has_a_value_that_changes_no_id_or_is_no_science() -> None:
    """A new setting without a line in `DEFAULTS` would give every cell another id."""
    needed = ("n_people", "exposures", "lr", "weight_decay", "batch_windows", "precision", "name")
    ends = ("low", "high", "data.junk.n_people")
    for key in field_types():
        is_known = key in identity.DEFAULTS or key in identity.NOT_SCIENCE
        is_required = key.rpartition(".")[2] in needed or key.endswith(ends)
        assert is_known or is_required or is_group(key), key
    assert not set(identity.DEFAULTS) & set(identity.NOT_SCIENCE)


def test_a_setting_that_is_left_out_is_one_at_its_default() -> None:
    """What an earlier version did not write has the value that it had then."""
    settings = tiny_cell().to_dict()
    short = {**settings, "data": {k: v for k, v in settings["data"].items() if v is not None}}
    short["train"] = {k: v for k, v in settings["train"].items() if k != "optimizer"}
    assert identity.cell_id(short) == tiny_cell().cell_id


def test_a_file_is_known_by_what_it_holds(tmp_path: Path) -> None:
    """Another file of the same name makes another cell; the same file elsewhere does not."""
    for folder, value in (("a", "Fe"), ("b", "Ir"), ("c", "Fe")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "facts.csv").write_text(f"name,attribute,value\nIron,symbol,{value}\n")
    tables = [
        DataConfig(kind="tuples", file=str(tmp_path / name / "facts.csv"), n_people=1)
        for name in "abc"
    ]
    ids = [tiny_cell(with_contents(table)).cell_id for table in tables]
    assert ids[0] == ids[2] != ids[1]
    seeds = [tiny_cell(with_contents(table)).search_seed for table in tables]
    assert seeds[0] == seeds[2] != seeds[1]


@pytest.mark.parametrize("name", [*NAME_POOLS, *VALUE_POOLS])
def test_pools_of_ones_own_are_known_by_what_they_hold(tmp_path: Path, name: str) -> None:
    """By every file that is drawn from, and by nothing else in their directory."""
    for file in (POOLS / "mini").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    table = dataclasses.replace(BIOS, pools=str(tmp_path))
    names_only = dataclasses.replace(BIOD, pools=str(tmp_path))
    before = [with_contents(one).contents for one in (table, names_only)]
    (tmp_path / "README").write_text("how they were made")
    assert [with_contents(one).contents for one in (table, names_only)] == before
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    after = [with_contents(one).contents for one in (table, names_only)]
    assert after[0] != before[0]
    assert (after[1] != before[1]) == (name in NAME_POOLS)


@pytest.mark.parametrize(
    ("pools", "digest"), [("full", "5c87c2d6998b917f"), ("mini", "739ebd004fd75b9b")]
)
def test_built_in_pools_stay_as_they_are(pools: str, digest: str) -> None:
    """They are known by name: others get another name, or cells would not be what their ids say."""
    texts = [(POOLS / pools / name).read_bytes() for name in (*NAME_POOLS, *VALUE_POOLS)]
    assert hashlib.sha256(b"".join(texts)).hexdigest()[:16] == digest
