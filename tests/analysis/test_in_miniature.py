"""What runs in miniature say of the paper's statements, and what deciding them would take."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.board import hours_of
from analysis.claims.in_miniature import Answer, Word, read_answers
from analysis.load import load_results

SETTING = {"dataset": "bioD-K6-C1-D50-L1-T2000-mini", "sizes": ((2, 2),)}


@pytest.fixture(name="answers")
def answers_fixture(make_cells: Callable, write_run: Callable, tmp_path: Path) -> Callable:
    """From capacities by family to the answers of a run of such models, by claim and statement."""

    def answers(
        capacities: dict[str, float], name: str = "run", **settings: object
    ) -> dict[tuple[str, str], Answer]:
        cells = make_cells(capacities, n_people=(3200,), **{**SETTING, **settings})
        found = read_answers([write_run(tmp_path / name, cells)])
        return {(one.claim, one.part.name): one for one in found}

    return answers


def test_a_miniature_agrees_differs_or_leaves_it_open(answers: Callable) -> None:
    """By the regions of the paper's own statements, each by itself."""
    capacities = {"gpt2": 1.0, "gpt2-mlp1/4": 1.0, "gpt2-mlp0": 1.0, "llama-tied": 0.96}
    found = answers(capacities, log_sd=0.01)
    words = {name: found["6", f"{name} of gpt2"].word for name in list(capacities)[1:]}
    assert words["gpt2-mlp1/4"] is Word.AGREES  # costs nothing
    assert words["gpt2-mlp0"] is Word.DIFFERS  # 1.5 times lower
    assert words["llama-tied"] is Word.OPEN  # 0.962 at most


def test_what_is_open_says_how_many_seeds_and_hours_would_do(answers: Callable) -> None:
    """As many as decide it, if nothing else changes; never fewer than a verdict needs."""
    one = answers({"gpt2": 1.0, "gpt2-mlp1/4": 1.0}, seeds=(0,))["6", "gpt2-mlp1/4 of gpt2"]
    assert (one.word, one.n_seeds) == (Word.OPEN, 1)
    assert one.n_needed > 3
    found = answers({"gpt2": 1.0, "gpt2-mlp1/4": 0.97}, "more", seeds=range(4), log_sd=0.2)
    more = found["6", "gpt2-mlp1/4 of gpt2"]
    assert (more.word, more.n_seeds) == (Word.OPEN, 4)
    assert more.n_needed > 4


def test_hours_are_those_of_the_missing_seeds_of_both_sides(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """A seed more takes one run of training of each model that is compared, and of no other."""
    cells = make_cells({"gpt2": 1.0, "gpt2-mlp1/4": 1.0, "gpt2-mlp0": 0.5}, seeds=(0,), **SETTING)
    run = write_run(tmp_path / "run", cells)
    hours = {"gpt2": 1.0, "gpt2-mlp1/4": 2.0, "gpt2-mlp0": 4.0}
    for row in cells.to_dict("records"):
        family = "gpt2" + row["model"].removeprefix("gpt2-2-2")
        trials = [{"train_time_s": 3600 * hours[family] * 3, "n_trials_fused": 3}] * 3
        file = run / "cells" / row["cell_id"] / "trials.jsonl"
        file.write_text("".join(json.dumps(trial) + "\n" for trial in trials))
    found = {one.part.name: one for one in read_answers([run])}
    one = found["gpt2-mlp1/4 of gpt2"]
    assert one.hours_needed == pytest.approx((one.n_needed - 1) * 3.0)


def test_one_model_is_no_peak(answers: Callable) -> None:
    """Two are, or one that is high enough; and one of 2.1 is shown to be below 2.3."""
    alone = answers({"gpt2": 1.5}, exposures=(1000,))
    assert not any(claim == "1a, 3" for claim, _ in alone)
    high = answers({"gpt2": 2.2}, "high", exposures=(1000,), log_sd=0.01)
    assert high["1a, 3", "peak of gpt2"].word is Word.AGREES
    sizes = ((2, 1), (2, 2))
    found = answers({"gpt2": 2.1}, "two", exposures=(1000,), sizes=sizes, log_sd=0.01)
    assert found["1a, 3", "peak of gpt2"].word is Word.AGREES
    assert found["1c", "largest R of gpt2"].word is Word.AGREES


def test_other_exposures_stand_in_only_where_nothing_else_does(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """300 exposures for 1000, and not 30 for 100; nothing beside the paper's own exposures."""
    parts = [
        make_cells({"gpt2": 1.0, "gpt2-mlp0": 1.0}, exposures=(own,), rng_seed=own, **SETTING)
        for own in (20, 100, 300)
    ]
    run = write_run(tmp_path / "run", pd.concat(parts, ignore_index=True))
    found = {(one.claim, one.exposures) for one in read_answers([run]) if "mlp0" in one.part.name}
    assert found == {("5", 300), ("6", 100)}


def test_cells_taken_over_from_another_run_count_once(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    cells = make_cells({"gpt2": 1.0, "gpt2-mlp0": 1.0}, **SETTING)
    runs = [write_run(tmp_path / name, cells) for name in ("first", "second")]
    assert {one.run for one in read_answers(runs)} == {"first"}


def test_hours_count_what_was_trained_after_the_search(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """Fresh seeds of the best point are training too."""
    cells = make_cells({"gpt2": 1.0}, seeds=(0,), **SETTING)
    run = write_run(tmp_path / "run", cells)
    (name,) = cells["cell_id"]
    folder = run / "cells" / name
    line = json.dumps({"train_time_s": 1800.0, "n_trials_fused": 1}) + "\n"
    (folder / "trials.jsonl").write_text(line)
    after = folder / "parts" / "lr0.01-wd0.01-seed1000000"
    after.mkdir(parents=True)
    (after / "trials.jsonl").write_text(line * 3)
    assert hours_of(load_results([run]).used) == {name: pytest.approx(2.0)}


def test_rounded_weights_scatter_over_models(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """Models of other sizes, people and optimizers are replicates; another tool is none."""
    trained = make_cells({"gpt2": 1.0, "gpt2 (muon)": 1.2}, seeds=(0,), n_people=(800, 1600))
    rows = [trained]
    for tool, factor in (("", 0.3), ("-auto-gptq", 0.3)):
        ratio = trained["capacity_ratio"] * factor
        label = f"gptq-int4-g128{tool}"
        rows.append(trained.assign(quantization=label, capacity_ratio=ratio + 0.01 * ratio**2))
    run = write_run(tmp_path / "run", pd.concat(rows, ignore_index=True), with_cells=False)
    (one,) = [one for one in read_answers([run]) if one.claim == "8"]
    assert one.part.name.startswith("int4 of")
    assert (one.n_seeds, one.n_people, one.word) == (len(trained), (800, 1600), Word.AGREES)
