import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.knowledge.entropy import entropy_of

RESULTS = Path(__file__).parents[2] / "docs" / "results"
CORRECTIONS = RESULTS.parents[1] / "benchmarks" / "results" / "corrections.json"


def test_no_committed_run_is_credited_by_the_alphabet() -> None:
    """Of every table: what a run of bioD demands is what kcap says of such data today."""
    seen = set()
    for path in RESULTS.glob("*/results.parquet"):
        for row in pq.read_table(path).to_pylist():
            data = json.loads(row["config"])["data"] if row.get("config") else {}
            if data.get("kind") != "bioD" or row["vocab"] != "compact":
                continue
            names = ("n_people", "pools", "seed", "K", "C", "D", "L", "T")
            asked = DataConfig(kind="bioD", **{name: data[name] for name in names if name in data})
            demand = entropy_of(asked).demand_bits
            if not data.get("parts"):
                assert row["demand_bits"] == pytest.approx(demand, rel=1e-12), (
                    path,
                    row["cell_id"],
                )
                assert row["stored_bits"] <= row["demand_bits"] * (1 + 1e-6)
                seen.add(path.parent.name)
    assert {"laptop", "laptop_zipf", "laptop_quantization", "quickstart"} <= seen


def test_converted_tables_hold_what_was_worked_out_before(load) -> None:
    """The rows of corrections.json were found from the tables as they were made. `quickstart` was
    run again instead, and `laptop_junk` since, with fresh seeds.
    """
    before = json.loads(CORRECTIONS.read_text(encoding="utf-8"))["biod"]
    before = [row for row in before if row["run"] not in ("quickstart", "laptop_junk")]
    now = load("corrections").committed_biod()
    assert len(now) == len(before) > 200
    for one, other in zip(now, before, strict=True):
        assert one == {key: pytest.approx(value, abs=1e-12) for key, value in other.items()}


def test_bits_add_up_after_conversion_and_losses_stay(load, tmp_path: Path) -> None:
    """The parts of a row, its bands and its trials change by one and the same number of bits; a
    second conversion changes nothing.
    """
    script, label = load("convert_credit"), "bioD-K6-C1-D50-L1-T2000-mini-zipf1"
    less = script.uncredited_bits(label, 0)
    bits = {"name_bits": 1000.0, "value_bits": 500.0, "diversity_bits": 900.0}
    bands = [
        {"table": label, "n_people": n, "demand_bits": 30.0 * n, "stored_bits": 24.0 * n}
        | {"diversity_bits": 9.0 * n}
        for n in (25, 75)
    ]
    row = {"cell_id": "one", "dataset": label, "data_seed": 0, "vocab": "compact"}
    row |= {"n_params": 100, "n_params_non_embedding": 50, "loss_name_nats": 5.0}
    row |= bits | {"demand_bits": 3000.0, "stored_bits": 2400.0, "capacity_ratio": 24.0}
    row |= {"max_capacity_ratio": 30.0, "capacity_ratio_non_embedding": 48.0}
    row |= {"groups": json.dumps(bands), "knowledge_per_stored_bit": 0.75}
    trial = {"cell_id": "one", "bits": 2400.0, "capacity_ratio": 24.0} | bits
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "results.parquet")
    pq.write_table(pa.Table.from_pylist([trial]), tmp_path / "trials.parquet")
    assert script.convert_run(tmp_path)
    (found,) = pq.read_table(tmp_path / "results.parquet").to_pylist()
    (tried,) = pq.read_table(tmp_path / "trials.parquet").to_pylist()
    assert found["stored_bits"] == pytest.approx(2400 - less)
    assert found["stored_bits"] == pytest.approx(sum(found[name] for name in bits))
    assert found["demand_bits"] == pytest.approx(3000 - less)
    assert found["capacity_ratio"] == pytest.approx(found["stored_bits"] / 100)
    assert found["capacity_ratio_non_embedding"] == pytest.approx(found["stored_bits"] / 50)
    assert found["max_capacity_ratio"] == pytest.approx(found["demand_bits"] / 100)
    assert found["knowledge_per_stored_bit"] == pytest.approx(found["capacity_ratio"] / 32)
    assert found["loss_name_nats"] == 5.0
    groups = json.loads(found["groups"])
    for name in ("stored_bits", "demand_bits"):
        assert sum(group[name] for group in groups) == pytest.approx(found[name])
    assert tried["bits"] == pytest.approx(found["stored_bits"])
    assert tried["capacity_ratio"] == pytest.approx(found["capacity_ratio"])
    assert not script.convert_run(tmp_path)
    assert pq.read_table(tmp_path / "results.parquet").to_pylist() == [found]
