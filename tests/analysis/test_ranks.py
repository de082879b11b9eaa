"""Whether two runs rank architectures alike."""

import json
import math

import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.load import ResultsError, load_results
from analysis.ranks import compare_rankings, rankings

LEVELS = {"gpt2": 1.0, "llama": 0.8, "mistral": 0.6, "gpt2-gated": 1.2, "gpt2-mlp0": 0.9}
PEOPLE = (3_200,)


@pytest.fixture(name="ranked")
def ranked_fixture(make_cells, write_run, tmp_path):
    def ranked(name, levels, n_people=PEOPLE, **columns):
        rows = make_cells(levels, n_people=n_people).assign(sweep=name, **columns)
        return write_run(tmp_path / name, rows, with_cells=False)

    return ranked


def agreements(*folders):
    return compare_rankings([one for f in folders for one in rankings(load_results([f]))])


def test_a_change_of_all_levels_leaves_the_ranks(ranked):
    """Correlation 1; of the 24 orders of four only two are as extreme: p 2/24."""
    a, b = ranked("a", LEVELS), ranked("b", {name: r**2 for name, r in LEVELS.items()})
    (found,) = agreements(a, b)
    assert found.names == ("a", "b")
    assert found.families == ("gpt2-gated", "gpt2-mlp0", "llama", "mistral")
    assert found.correlation == pytest.approx(1.0)
    assert found.p == pytest.approx(2 / 24)
    assert found.opposite == ()


def test_the_reverse_order_is_the_opposite(ranked):
    """And who is above gpt2 here and below it there is named."""
    (found,) = agreements(ranked("a", LEVELS), ranked("b", {n: 1 / r for n, r in LEVELS.items()}))
    assert found.correlation == pytest.approx(-1.0)
    assert found.opposite == found.families


def test_one_exchange_costs_what_the_formula_says(ranked):
    """Spearman's 1 - 6 sum d^2 / (n (n^2 - 1)): two neighbours of four exchanged give 0.8."""
    other = {**LEVELS, "llama": LEVELS["mistral"], "mistral": LEVELS["llama"]}
    (found,) = agreements(ranked("a", LEVELS), ranked("b", other))
    assert found.correlation == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert 2 / 24 < found.p <= 1


def test_runs_of_one_optimizer_each_are_compared(ranked):
    """Muon's architectures over gpt2 by Muon, against AdamW's over gpt2 by AdamW."""
    muon = {f"{name} (muon)": r**2 for name, r in LEVELS.items()}
    (found,) = agreements(ranked("a", LEVELS), ranked("b", muon))
    assert found.correlation == pytest.approx(1.0)


def test_optimizers_of_one_run_are_rankings_of_their_own(ranked):
    """A run of Muon alone is not set against the half of another that is AdamW's."""
    reverse = {f"{name} (muon)": 1 / r for name, r in LEVELS.items()}
    both = ranked("both", {**LEVELS, **reverse})
    muon = ranked("muon", {name: ratio**2 for name, ratio in reverse.items()})
    found = {one.names: one.correlation for one in agreements(both, muon)}
    by_optimizer = {
        names[0].split("(")[1].split(",")[0]: r for names, r in found.items() if names[1] == "muon"
    }
    assert by_optimizer == {"adamw": pytest.approx(-1.0), "muon": pytest.approx(1.0)}


def test_what_the_data_limit_is_named(ranked):
    """Where all store what there is, ranks are those of the parameters."""
    full = ranked("full", dict.fromkeys(LEVELS, 50.0), n_people=(100,))
    other = ranked("other", LEVELS, n_people=(100,))
    (found,) = agreements(full, other)
    assert found.limited == found.families
    assert "limited by the data" in found.line()


def test_copies_of_a_run_agree_by_no_merit(ranked):
    """Their correlation is 1 and says nothing."""
    (found,) = agreements(ranked("a", LEVELS), ranked("b", LEVELS))
    assert math.isnan(found.correlation)
    assert "the same cells" in found.line()


def test_settings_of_one_run_are_rankings_of_their_own(ranked):
    """Models at 3,200 people are not ranked among those at 6,400."""
    (found,) = agreements(ranked("a", LEVELS, n_people=(3_200, 6_400)))
    assert all("N=" in name for name in found.names)
    assert found.correlation == pytest.approx(1.0)


def test_ties_have_no_correlation(ranked):
    """One side says nothing: neither nan nor a p in the file."""
    same = ranked("b", LEVELS, capacity_ratio=0.5)
    found = agreements(ranked("a", LEVELS), same)
    assert math.isnan(found[0].correlation)
    assert "ties" in found[0].line()
    shown = CliRunner().invoke(app, ["ranks", str(same.with_name("a")), str(same), "--json", "-"])
    (record,) = json.loads(shown.output)
    assert (record["rank_correlation"], record["p"]) == (None, None)


def test_too_little_in_common_is_refused_in_one_line(ranked):
    """Two architectures always rank alike or opposite."""
    a, b = ranked("a", LEVELS), ranked("b", {n: LEVELS[n] for n in ("gpt2", "llama", "mistral")})
    with pytest.raises(ResultsError, match="share 3 architectures"):
        agreements(a, b)
    shown = CliRunner().invoke(app, ["ranks", str(a), str(b)])
    assert shown.exit_code == 2
    assert shown.output.count("\n") == 1
