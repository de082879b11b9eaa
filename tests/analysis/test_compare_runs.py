"""Two runs, cell by cell and seed by seed."""

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.compare_runs import compare_runs
from analysis.load import ResultsError, load_results

FAMILIES = {"gpt2": 1.0, "llama": 0.8}
ALL = (100.0, "none")


@pytest.fixture(name="run")
def run_fixture(write_run, tmp_path):
    def run(name, rows):
        return write_run(tmp_path / name, rows.assign(sweep=name), with_cells=False)

    return run


def results(folder):
    return load_results([folder])


def test_a_run_against_its_copy_has_ratios_of_one_and_no_interval(make_cells, run):
    """Every cell is there, and that nothing scatters is no proof of anything: p was 0."""
    rows = make_cells(FAMILIES)
    found = compare_runs(results(run("a", rows)), results(run("b", rows)))
    assert len(found.pairs) == 2 * 3
    assert found.n_unpaired == (0, 0)
    for pair in found.pairs:
        ratio = pair.comparison.ratio
        assert ratio is not None
        assert ratio.value == pytest.approx(1.0)
        assert (ratio.low, ratio.high, pair.pooled.p_holm) == (None, None, None)


def test_cells_that_store_nothing_are_not_left_out_in_silence(make_cells, run):
    """The mean over cells has no place for a ratio of zero: it says how many it leaves out."""
    rows = make_cells(FAMILIES)
    is_lost = rows["arch"].eq("llama")
    a = run("a", rows)
    b = run("b", rows.assign(capacity_ratio=(rows["capacity_ratio"] * 1.1).mask(is_lost, -0.01)))
    assert compare_runs(results(a), results(b)).n_without_ratio == {ALL: 3}
    shown = CliRunner().invoke(app, ["compare", str(a), str(b)]).output
    assert "without 3 cell(s) of zero or negative bits" in shown
    lost = compare_runs(results(a), results(run("c", rows.assign(capacity_ratio=-0.01))))
    assert (
        lost.lines()[-1]
        == "all cells at 100 exposures: no mean; without 6 cell(s) of zero or negative bits"
    )
    assert (
        json.loads(json.dumps(lost.to_json(), allow_nan=False))["overall"][0]["n_without_ratio"]
        == 6
    )


def test_what_one_run_does_better_is_seen_in_every_cell(make_cells, run):
    """What cells of one seed share cancels; a factor of 1.1 is found, and its inverse the other way
    round.
    """
    rows = make_cells(FAMILIES, log_sd=0.02, common_log_sd=0.3, n_people=(3_200,))
    better = rows.assign(capacity_ratio=rows["capacity_ratio"] * 1.1)
    a, b = results(run("a", rows)), results(run("b", better))
    there, back = compare_runs(a, b), compare_runs(b, a)
    assert there.overall[ALL].value == pytest.approx(1.1)
    for one, other in zip(there.pairs, back.pairs, strict=True):
        assert one.comparison.ratio.value == pytest.approx(1.1)  # type: ignore
        assert one.comparison.ratio.value * other.comparison.ratio.value == pytest.approx(1.0)  # type: ignore


def test_seeds_and_cells_without_a_partner_are_counted(make_cells, run):
    """Not passed over in silence, and not compared with others."""
    a = make_cells(FAMILIES, seeds=(0, 1, 2))
    b = make_cells({"gpt2": 1.0}, seeds=(1, 2, 3))
    found = compare_runs(results(run("a", a)), results(run("b", b)))
    assert len(found.pairs) == 3
    assert {pair.comparison.n_replicates for pair in found.pairs} == {2}
    assert found.n_unpaired == (18 - 6, 9 - 6)


def test_optimizers_are_compared_where_each_run_has_one(make_cells, run):
    """Muon's cells against AdamW's; but not where one run has both."""
    adamw, muon = make_cells({"gpt2": 1.0}), make_cells({"gpt2 (muon)": 1.3})
    found = compare_runs(results(run("a", adamw)), results(run("b", muon)))
    assert found.overall[ALL].value > 1.2
    both = run("both", make_cells({"gpt2": 1.0, "gpt2 (muon)": 1.3}))
    pairs = compare_runs(results(both), results(run("c", adamw))).pairs
    assert {pair.model for pair in pairs} == {"gpt2 2-1", "gpt2 4-1", "gpt2 4-2"}


def test_muon_is_compared_with_muon_where_the_other_run_has_both(make_cells, run):
    """It was set against AdamW's cells, as every run lost its optimizer for itself."""
    muon = make_cells({"gpt2 (muon)": 1.3})
    both = pd.concat([muon, make_cells({"gpt2": 0.8})], ignore_index=True)
    found = compare_runs(results(run("both", both)), results(run("muon", muon)))
    assert found.overall[ALL].value == pytest.approx(1.0)
    assert found.n_unpaired == (9, 0)
    back = compare_runs(results(run("muon", muon)), results(run("both", both)))
    assert back.overall[ALL].value == pytest.approx(1.0)


def test_a_run_of_one_batch_meets_the_same_batch_of_a_run_of_several(make_cells, run):
    """The batch is part of a model's size in one of them, so it is in the other."""
    rows = make_cells({"gpt2": 1.0})
    other = rows.assign(batch_windows=8, capacity_ratio=rows["capacity_ratio"] * 0.9)
    other["cell_id"] += "b8"
    several = pd.concat([rows.assign(batch_windows=4), other], ignore_index=True)
    found = compare_runs(
        results(run("several", several)), results(run("one", rows.assign(batch_windows=4)))
    )
    assert found.overall[ALL].value == pytest.approx(1.0)
    assert found.n_unpaired == (9, 0)
    plain = compare_runs(results(run("a", rows.assign(batch_windows=4))), results(run("b", other)))
    assert plain.overall[ALL].value == pytest.approx(0.9), "a batch may be what is compared"


def test_batches_of_one_family_do_not_part_the_others(make_cells, run):
    """GPT-2 had one batch in each run: that is what is compared, whatever LLaMA had."""
    a, b = (make_cells({name: 1.0}).assign(batch_windows=4) for name in FAMILIES)
    more = b.assign(batch_windows=8, cell_id=b["cell_id"] + "b8")
    first = run("a", pd.concat([a, b, more], ignore_index=True))
    second = run("b", a.assign(batch_windows=8, capacity_ratio=a["capacity_ratio"] * 0.9))
    found = compare_runs(results(first), results(second))
    assert len(found.pairs) == 3
    assert found.overall[ALL].value == pytest.approx(0.9)


def test_a_mean_over_fresh_seeds_is_no_match_for_the_best_of_the_trials(make_cells, run):
    """The same trained trials had 1.2 times what the mean over fresh seeds has."""
    rows = make_cells({"gpt2": 1.0}, seeds=(0,))
    fresh = rows.assign(
        capacity_ratio=rows["capacity_ratio"] / 1.2,
        selected_capacity_ratio=rows["capacity_ratio"],
        confirmed=[json.dumps({"1000000": r / 1.2}) for r in rows["capacity_ratio"]],
        n_confirm_seeds=1,
    )
    a, b = run("fresh", fresh), run("chosen", rows)
    found = compare_runs(results(a), results(b))
    assert found.overall[ALL].value == pytest.approx(1.0)
    shown = CliRunner().invoke(app, ["compare", str(a), str(b)]).output
    assert shown.count("R of the chosen trials") == 1


def test_quantized_weights_do_not_make_a_run_surer_of_what_they_were(make_cells, run):
    """Their ratios follow those of the weights they were made of."""
    a, b = make_cells({"gpt2": 1.0}), make_cells({"gpt2": 1.0}, rng_seed=1)

    def with_quantized(rows):
        own = [rows.assign(quantization=f"gptq-int{bits}-g128") for bits in (8, 6, 5)]
        return pd.concat([rows, *own], ignore_index=True)

    alone = compare_runs(results(run("a", a)), results(run("b", b)))
    found = compare_runs(results(run("c", with_quantized(a))), results(run("d", with_quantized(b))))
    assert found.overall[ALL] == alone.overall[ALL]
    assert len(found.overall) == 4
    expected = {pair.model: pair.pooled for pair in alone.pairs}
    assert {p.model: p.pooled for p in found.pairs if "gptq" not in p.model} == expected


def test_runs_without_a_common_cell_are_refused(make_cells, run):
    """By the library with an error, by the command with status 2 and one line."""
    a, b = run("a", make_cells({"gpt2": 1.0})), run("b", make_cells({"llama": 1.0}))
    with pytest.raises(ResultsError, match="share no cell"):
        compare_runs(results(a), results(b))
    found = CliRunner().invoke(app, ["compare", str(a), str(b)])
    assert found.exit_code == 2
    assert found.stderr.startswith("error: a and b share no cell")


def test_commands_print_and_write_what_they_find(make_cells, run, tmp_path):
    """`compare` a line for each cell, `power` one for each exposures; both as JSON."""
    a, b = run("a", make_cells(FAMILIES)), run("b", make_cells(FAMILIES, rng_seed=1))
    out = tmp_path / "new" / "out.json"
    found = CliRunner().invoke(app, ["compare", str(a), str(b), "--json", str(out)])
    assert found.exit_code == 0
    (record,) = json.loads(out.read_text())
    assert len(record["cells"]) == 6
    assert found.stdout.count("p ") >= 6
    found = CliRunner().invoke(app, ["power", str(a), "--difference", "0.1", "--json", str(out)])
    assert found.exit_code == 0
    (record,) = json.loads(out.read_text())
    assert record["exposures"] == 100.0
    assert f": {record['n_seeds']} [" in found.stdout
    assert CliRunner().invoke(app, ["power", str(a), "--difference", "0"]).exit_code == 2
