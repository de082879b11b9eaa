"""What runs in miniature say of the paper's statements, and what deciding them would take."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
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
    """A seed more takes what one took of each model that is compared, and of no other: its search,
    or a run after it.
    """
    cells = make_cells({"gpt2": 1.0, "gpt2-mlp1/4": 1.0, "gpt2-mlp0": 0.5}, seeds=(0,), **SETTING)
    run = write_run(tmp_path / "run", cells)
    hours, names = {"gpt2": 1.0, "gpt2-mlp1/4": 2.0, "gpt2-mlp0": 4.0}, {}
    for row in cells.to_dict("records"):
        family = "gpt2" + row["model"].removeprefix("gpt2-2-2")
        trials = [{"train_time_s": 3600 * hours[family] * 3, "n_trials_fused": 3}] * 3
        file = run / "cells" / row["cell_id"] / "trials.jsonl"
        file.write_text("".join(json.dumps(trial) + "\n" for trial in trials))
        names[family] = row["cell_id"]

    def hours_of_a_seed() -> float:
        (one,) = [a for a in read_answers([run]) if a.part.name == "gpt2-mlp1/4 of gpt2"]
        return one.hours_needed / (one.n_needed - 1)

    assert hours_of_a_seed() == pytest.approx(3 * 1.0 + 3 * 2.0)
    after = run / "cells" / names["gpt2"] / "parts" / "lr0.01-wd0.01-seed1000000"
    after.mkdir(parents=True)
    trial = {"train_time_s": 1800.0, "n_trials_fused": 1}
    (after / "trials.jsonl").write_text(json.dumps(trial) + "\n")
    assert hours_of_a_seed() == pytest.approx(0.5 + 3 * 2.0)


def test_one_model_is_no_peak(answers: Callable) -> None:
    """Two are, or one that is high enough; and one of 2.1 is shown to be below 2.3."""
    alone = answers({"gpt2": 1.5}, exposures=(1000,))
    assert not any(claim == "1a, 3" for claim, _ in alone)
    high = answers({"gpt2": 2.2}, "high", exposures=(1000,), log_sd=0.01)
    assert high["1a, 3", "peak of gpt2"].word is Word.AGREES
    sizes = ((2, 1), (2, 2))
    quiet = {"log_sd": 0.01, "common_log_sd": 0.01}
    found = answers({"gpt2": 2.1}, "two", exposures=(1000,), sizes=sizes, **quiet)
    assert found["1a, 3", "peak of gpt2"].word is Word.AGREES
    assert found["1c", "largest R of gpt2"].word is Word.AGREES


@pytest.mark.parametrize("dataset", ["bioS_simple-mini", "bioR-mini"])
def test_fixed_and_free_sentences_are_judged_by_their_own_claim(
    answers: Callable, dataset: str
) -> None:
    """They may peak slightly lower than bioS: at 1.7, where bioS and bioD would be too low."""
    settings = {"exposures": (1000,), "sizes": ((2, 1), (2, 2)), "log_sd": 0.01}
    settings["common_log_sd"] = 0.01
    found = answers({"gpt2": 1.7}, dataset=dataset, **settings)
    assert {key: one.word for key, one in found.items()} == {("2", "peak of gpt2"): Word.AGREES}
    bio_d = answers({"gpt2": 1.7}, "bioD", **settings)
    assert bio_d["1a, 3", "peak of gpt2"].word is Word.DIFFERS
    assert not any(claim == "2" for claim, _ in bio_d)


def test_other_exposures_stand_in_only_where_nothing_else_does(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """300 exposures for 1000, and not 20 for 100; they say nothing of the statement itself."""
    parts = [
        make_cells({"gpt2": 1.0, "gpt2-mlp0": 1.0}, exposures=(own,), rng_seed=own, **SETTING)
        for own in (20, 100, 300)
    ]
    run = write_run(tmp_path / "run", pd.concat(parts, ignore_index=True))
    own = [one for one in read_answers([run]) if "mlp0" in one.part.name]
    assert {(one.claim, one.exposures) for one in own} == {("5", 300), ("6", 100)}
    assert {one.claim for one in own if one.word is Word.ASIDE} == {"5"}


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
    """Models of other sizes and people are replicates; another tool or optimizer is none."""
    settings = {"seeds": (0,), "n_people": (800, 1600), "exposures": (1000,)}
    trained = make_cells({"gpt2": 1.0, "gpt2 (muon)": 1.2}, **settings)
    rows = [trained]
    for tool, factor in (("", 0.3), ("-auto-gptq", 0.3)):
        ratio = trained["capacity_ratio"] * factor
        label = f"gptq-int4-g128{tool}"
        rows.append(trained.assign(quantization=label, capacity_ratio=ratio + 0.01 * ratio**2))
    run = write_run(tmp_path / "run", pd.concat(rows, ignore_index=True), with_cells=False)
    (one,) = [one for one in read_answers([run]) if one.claim == "8"]
    assert one.part.name == "int4 of gpt2"
    assert (one.n_seeds, one.n_people) == (len(trained) / 2, (800, 1600))
    assert one.word is Word.AGREES


def test_architectures_are_compared_under_one_optimizer(answers: Callable) -> None:
    """A model trained by Muon with another one trained by it, and never with one by AdamW."""
    capacities = {"gpt2": 1.0, "gpt2-mlp0": 1.0, "gpt2 (muon)": 1.4, "gpt2-mlp0 (muon)": 0.8}
    found = answers(capacities, log_sd=0.01)
    words = {part: one.word for (claim, part), one in found.items() if claim == "6"}
    assert words == {
        "gpt2-mlp0 of gpt2": Word.DIFFERS,
        "gpt2-mlp0 (muon) of gpt2 (muon)": Word.AGREES,
    }


def test_mixtures_of_8_and_of_32_experts_are_statements_of_their_own(answers: Callable) -> None:
    """The paper's 32 where a run has them; 8 do not stand for them, nor lower their number."""
    capacities = {"gpt2": 1.0, "gpt2-moe8": 0.68, "gpt2-moe32": 0.3}
    found = answers(capacities, log_sd=0.01)
    words = {part: one.word for (claim, part), one in found.items() if claim == "9"}
    assert words == {
        "gpt2-moe32 of gpt2": Word.DIFFERS,
        "gpt2-moe8 of gpt2": Word.AGREES,
    }


def test_what_seeds_scatter_under_one_optimizer_says_nothing_of_the_other(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """Muon's interval is the same whether noisy runs by AdamW stand beside it or not."""
    families = ("gpt2", "gpt2-mlp0", "gpt2-mlp1/4")
    quiet = make_cells({f"{name} (muon)": 1.0 for name in families}, log_sd=0.01, **SETTING)
    noisy = make_cells(dict.fromkeys(families, 1.0), log_sd=0.3, rng_seed=1, **SETTING)

    def spreads(name: str, rows: pd.DataFrame) -> dict[str, object]:
        found = read_answers([write_run(tmp_path / name, rows)])
        parts = [one.part for one in found if one.claim == "6" and "muon" in one.part.name]
        return {part.name: part.units[0].peaks.spread for part in parts}

    alone = spreads("alone", quiet)
    assert len(alone) == 2
    assert spreads("both", pd.concat([quiet, noisy], ignore_index=True)) == alone


def test_peaks_of_rounded_models_are_over_shapes(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """In bits per parameter, over two shapes or more; the models as trained have no part in it."""

    def int4_peaks(name: str, factor: float = 0.35, **settings: object) -> list[Answer]:
        own = {"exposures": (1000,), "sizes": ((2, 1), (2, 2)), "log_sd": 0.01} | settings
        trained = make_cells({"gpt2": 2.0}, **own)
        rounded = trained.assign(
            quantization="gptq-int4-g128", capacity_ratio=trained["capacity_ratio"] * factor
        )
        rows = pd.concat([trained, rounded], ignore_index=True)
        found = read_answers([write_run(tmp_path / name, rows, with_cells=False)])
        return [one for one in found if one.claim == "8b"]

    assert not int4_peaks("alone", sizes=((2, 2),))
    assert not int4_peaks("limited", n_people=(50,)), "by its data"
    full = {"dataset": "bioS", "mini": False}
    assert int4_peaks("few", n_people=(40_000,), **full), "the claim begins at 50,000"
    assert not int4_peaks("papers", n_people=(50_000,), **full)
    # One shape for each of two numbers of people makes no peak.
    apart = [
        make_cells({"gpt2": 2.0}, n_people=(n,), exposures=(1000,), sizes=((2, k),))
        for n, k in ((800, 1), (1600, 2))
    ]
    rows = pd.concat(apart, ignore_index=True).assign(quantization="gptq-int4-g128")
    run = write_run(tmp_path / "apart", rows, with_cells=False)
    assert not [one for one in read_answers([run]) if one.claim == "8b"]
    found = int4_peaks("two")
    assert {one.part.name for one in found} == {"peak of gpt2 in int4"}
    assert all(one.word is Word.AGREES for one in found)
    assert all(0.6 < one.part.units[0].peaks.value < 0.8 for one in found)


def test_a_number_that_two_claims_ask_for_is_pooled_once(answers: Callable) -> None:
    """Claims 5 and 6 both compare LLaMA with GPT-2: that tells nothing of the variance twice."""
    capacities = {"gpt2": 1.0, "gpt2-mlp1/4": 0.9, "gpt2-mlp0": 0.8, "llama-tied": 0.7}
    found = answers(capacities, exposures=(300,), log_sd=0.2)
    alone = answers(capacities, "alone", exposures=(100,), log_sd=0.2)
    once = [found["5", f"{name} of gpt2"].part.units[0].peaks for name in list(capacities)[1:]]
    # Three ratios of two degrees of freedom each: none knows more than all of them.
    assert all(peaks.spread.df <= 6 + 1e-9 for peaks in once)
    twice = [alone["6", f"{name} of gpt2"].part.units[0].peaks for name in list(capacities)[1:]]
    assert all(peaks.spread.df <= 6 + 1e-9 for peaks in twice)


def test_a_peak_that_its_data_limit_is_none(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """The highest of two shapes must demand half as much again as the statement needs. Another one
    that demands enough, and stores less, does not make its R a capacity.
    """
    cells = make_cells({"gpt2": 1.9}, exposures=(1000,), sizes=((2, 1), (4, 1)), log_sd=0.01)
    is_small = cells["n_params"] == cells["n_params"].min()
    demand = cells["n_params"].where(~is_small, cells["n_params"] * 3.2 / 2.4) * 2.4
    stored = cells["capacity_ratio"].where(~is_small, 1.5).clip(upper=1.75)
    noise = np.exp(np.random.default_rng(0).normal(0, 0.01, len(cells)))
    cells = cells.assign(
        demand_bits=demand,
        max_capacity_ratio=demand / cells["n_params"],
        capacity_ratio=stored * noise,
        stored_bits=stored * noise * cells["n_params"],
    )
    answers = read_answers([write_run(tmp_path / "run", cells)])
    assert not [one for one in answers if one.claim == "1a, 3"]


def test_rows_of_the_papers_own_setting_are_no_miniatures(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """They have their verdict already."""
    cells = make_cells(
        {"gpt2": 2.0}, dataset="bioS", n_people=(50_000,), exposures=(1000,), mini=False
    )
    assert not read_answers([write_run(tmp_path / "run", cells)])


def test_peaks_of_one_optimizer_are_as_sure_as_they_are_alone(
    make_cells: Callable, write_run: Callable, tmp_path: Path
) -> None:
    """Muon's peak was as unsure as AdamW's beside it, and AdamW's as sure as Muon's."""
    quiet = make_cells({"gpt2 (muon)": 1.3}, log_sd=0.01, **SETTING)
    noisy = make_cells({"gpt2": 1.3}, log_sd=0.3, rng_seed=1, **SETTING)

    def spreads(name: str, rows: pd.DataFrame) -> dict[str, object]:
        found = read_answers([write_run(tmp_path / name, rows)])
        return {a.part.name: a.part.units[0].peaks.spread for a in found if a.claim == "4"}

    apart = spreads("muon", quiet) | spreads("adamw", noisy)
    assert len(apart) == 2
    assert spreads("both", pd.concat([quiet, noisy], ignore_index=True)) == apart
