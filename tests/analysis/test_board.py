"""The board of capacities: the best of each kind of model, and the committed page."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.board import read_entries, render
from analysis.estimate import mean

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "capacity.md"


@pytest.fixture(name="folder")
def folder_fixture(make_rows: Callable, write_run: Callable, tmp_path: Path) -> Path:
    """A run of three models at two numbers of exposures, with two seeds each."""
    rows = make_rows(n_people=(50_000,), exposures=(30, 1000), sizes=((2, 2), (4, 2), (4, 4)))
    again = rows.assign(seed=1, capacity_ratio=rows["capacity_ratio"] * 1.1)
    again["cell_id"] = again["cell_id"] + "-again"
    return write_run(tmp_path / "run", pd.concat([rows, again], ignore_index=True))


def test_the_best_size_is_the_largest_mean_over_seeds(folder: Path) -> None:
    """With the interval of its seeds; what was seen less often than 100 times is left out."""
    (entry,) = read_entries(folder)
    rows = pd.read_parquet(folder / "results.parquet")
    seen = rows[rows["exposures"] == 1000]
    means = {model: mean(own["capacity_ratio"].to_list()) for model, own in seen.groupby("model")}
    best = max(means, key=lambda model: means[model].value)
    assert (entry.model, entry.ratio) == (best, means[best])
    assert (entry.n_seeds, entry.n_models, entry.key.exposures) == (2, 3, 1000)
    assert entry.command == "kcap sweep sweeps/synthetic.yaml"


def test_cells_taken_over_from_another_run_stand_once(folder: Path) -> None:
    """In the run that comes first."""
    (entry,) = read_entries(folder)
    page = render([entry, replace(entry, folder="copied"), replace(entry, n_people=1)])
    assert page.count(f"| {entry.model} |") == 2
    assert "copied" not in page


def test_seeds_that_store_less_than_nothing_count(folder: Path) -> None:
    """A seed is not left out for what it shows, nor a model whose seeds all are below 0."""
    rows = pd.read_parquet(folder / "results.parquet")
    rows = rows[rows["exposures"] == 1000]
    (small, *_, large) = rows["model"].unique()
    rows = rows[rows["model"].isin([small, large])]
    rows.loc[rows["model"] == small, "capacity_ratio"] = [-0.03, 0.01]
    rows.loc[rows["model"] == large, "capacity_ratio"] = [-0.9, -0.7]
    rows.to_parquet(folder / "results.parquet")
    (entry,) = read_entries(folder)
    assert (entry.model, entry.n_seeds, entry.n_models) == (small, 2, 2)
    # t of one degree of freedom at 97.5%: 12.706
    found = entry.ratio.value, entry.ratio.low, entry.ratio.high
    assert found == pytest.approx((-0.01, -0.01 - 12.706 * 0.02, -0.01 + 12.706 * 0.02), abs=1e-4)
    rows.assign(capacity_ratio=-0.5).to_parquet(folder / "results.parquet")
    assert read_entries(folder)[0].ratio.value == -0.5


def test_another_batch_is_no_seed(folder: Path) -> None:
    """The same model on batches of another size is another candidate for the best."""
    rows = pd.read_parquet(folder / "results.parquet").assign(batch_windows=4)
    (before,) = read_entries(folder)
    other = rows.assign(
        batch_windows=2,
        capacity_ratio=0.9 * rows["capacity_ratio"],
        cell_id=rows["cell_id"] + "-batch",
    )
    pd.concat([rows, other], ignore_index=True).to_parquet(folder / "results.parquet")
    (entry,) = read_entries(folder)
    assert (entry.n_seeds, entry.n_models) == (2, 6)
    assert entry.ratio == before.ratio


def test_other_settings_are_no_seeds(folder: Path) -> None:
    """Five initial weights by one seed were five seeds, with an interval."""
    rows = pd.read_parquet(folder / "results.parquet")
    rows = rows[(rows["seed"] == 0) & (rows["exposures"] == 1000)]
    settings = {"seed": 0, "data": {"kind": "bioS", "seed": 0}, "keep_checkpoint": True}
    several = [
        rows.assign(
            capacity_ratio=rows["capacity_ratio"] * std,
            cell_id=rows["cell_id"] + f"-{std}",
            config=json.dumps(settings | {"train": {"init_std": std}}),
        )
        for std in (0.8, 0.9, 1.0)
    ]
    pd.concat(several, ignore_index=True).to_parquet(folder / "results.parquet")
    (entry,) = read_entries(folder)
    assert (entry.n_seeds, entry.n_models, entry.ratio.low) == (1, 9, None)
    assert entry.ratio.value == rows["capacity_ratio"].max()
    assert "one seed" in entry.cells
    # Seeds that are equal to the last digit are seeds, and say nothing of how sure they are.
    same = [rows.assign(seed=seed, cell_id=rows["cell_id"] + str(seed)) for seed in (0, 1, 2)]
    pd.concat(same, ignore_index=True).to_parquet(folder / "results.parquet")
    (entry,) = read_entries(folder)
    assert entry.n_seeds == 3
    assert "all equal" in entry.cells
    # So are those of which some were kept and others not.
    kept = [
        own.assign(config=json.dumps(settings | {"seed": i, "keep_checkpoint": i == 0}))
        for i, own in enumerate(same)
    ]
    pd.concat(kept, ignore_index=True).to_parquet(folder / "results.parquet")
    assert read_entries(folder)[0].n_seeds == 3
    # Rows of one seed that nothing tells apart are one seed.
    pd.concat([own.assign(seed=0) for own in same]).to_parquet(folder / "results.parquet")
    assert read_entries(folder)[0].n_seeds == 1


def test_a_single_model_has_no_interval_and_no_rival(folder: Path) -> None:
    """It comes last, under its own data."""
    rows = pd.read_parquet(folder / "results.parquet")
    rows[(rows["seed"] != 1) & (rows["model"] == "gpt2-2-2")].to_parquet(folder / "results.parquet")
    page = render(read_entries(folder))
    (line,) = [line for line in page.splitlines() if "gpt2-2-2" in line]
    assert "one seed" in line and line.startswith("| 1000 exposures, ")
    assert page.index("Alone at their") < page.index(line)


@pytest.mark.slow
def test_the_committed_page_is_what_the_tables_say() -> None:
    """`make board` changes nothing."""
    found = [*ROOT.glob("docs/results/*/results.parquet")]
    found = sorted(file.parent for file in found if file.parent.name != "behind_strangers")
    found += sorted(file.parent for file in ROOT.glob("docs/results/contact/*/results.parquet"))
    entries = [entry for folder in found for entry in read_entries(folder)]
    assert PAGE.read_text(encoding="utf-8") == render(entries)
