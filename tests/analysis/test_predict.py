"""The joint law, and what it predicts of cells that it never saw."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.__main__ import app
from analysis.groups import full_pool_bits
from analysis.held_out import held_out, summary
from analysis.joint import fit_joint, joint_cells
from analysis.law import CapacityLaw
from analysis.load import ResultsError
from analysis.predict import (
    Predictor,
    Question,
    demand_bits,
    fit_predictor,
)
from analysis.published import published_rows

PEOPLE = (50_000, 100_000, 200_000, 500_000)


def planted(make_rows, *, log_sd=0.03, seed=0):
    """c = 1.2 (exposures / 100)^0.25 (people / 200,000)^0.15, s = 5."""
    rows = make_rows(n_people=PEOPLE, exposures=(30, 100, 300, 1000), log_sd=0.0)
    rng, ratios = np.random.default_rng(seed), []
    for row in rows.to_dict("records"):
        law = CapacityLaw(capacity=capacity(row["exposures"], row["n_people"]), sharpness=5.0)
        ratios.append(float(law.sample_ratio(row["max_capacity_ratio"], log_sd=log_sd, rng=rng)))
    rows["capacity_ratio"] = ratios
    rows["stored_bits"] = rows["capacity_ratio"] * rows["n_params"]
    return rows


def capacity(exposures, n_people):
    return 1.2 * (exposures / 100) ** 0.25 * (n_people / 200_000) ** 0.15


@pytest.mark.slow
def test_a_planted_law_is_recovered(make_rows):
    """The exponents of exposures and people come back from noise-free cells, to 1e-3."""
    cells, _ = joint_cells(planted(make_rows, log_sd=0.0))
    law = fit_joint(cells)
    found = law.coefficients()
    assert law.form is not None and law.form.name == "power"
    assert found["power 1"] == pytest.approx(0.25, abs=1e-3)
    assert found["people exponent"] == pytest.approx(0.15, abs=1e-3)
    assert law.sharpness == pytest.approx(5.0, rel=0.01)


@pytest.fixture(scope="module")
def found(make_rows) -> Predictor:
    """What is learned from noisy cells of the planted law."""
    return fit_predictor(planted(make_rows))


@pytest.mark.slow
def test_intervals_hold_new_cells_of_a_planted_law(found):
    """Nine in ten or more of models, people and exposures that were not run, within the range."""
    rng, held = np.random.default_rng(1), []
    for _ in range(60):
        n_people, exposures = rng.uniform(60_000, 450_000), rng.uniform(40, 900)
        n_params = float(np.exp(rng.uniform(np.log(1e6), np.log(2e7))))
        law = CapacityLaw(capacity=capacity(exposures, n_people), sharpness=5.0)
        demand = float(full_pool_bits(np.array(n_people)))
        truth = float(law.sample_ratio(demand / n_params, log_sd=0.03, rng=rng))
        asked = Question(n_params=n_params, n_people=n_people, exposures=exposures, family="gpt2")
        said = found.predict(asked)
        assert said.ratio.low is not None and said.ratio.high is not None
        top = np.inf if said.ratio.high >= said.max_ratio else said.ratio.high
        held.append(said.ratio.low <= truth <= top)
    assert np.mean(held) >= 0.9


def test_demand_is_that_of_the_data_set(make_rows):
    """bioS of any number of people, from the demand of four: to 1e-6."""
    cells, _ = joint_cells(make_rows(n_people=PEOPLE, exposures=(100,)))
    for n_people in (20_000.0, 123_456.0, 10_000_000.0):
        expected = float(full_pool_bits(np.array(n_people)))
        assert demand_bits(cells, n_people) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ()),
        ({"exposures": 3000.0}, ("exposures",)),
        ({"n_people": 5_000_000.0}, ("people", "R_max")),
        ({"n_params": 1e9}, ("parameters", "R_max")),
    ],
)
def test_what_lies_outside_of_the_cells_is_flagged(changes, said, found):
    """By name and range; an interpolation has no flag."""
    usual = {"n_params": 5e6, "n_people": 100_000.0, "exposures": 300.0, "family": "gpt2"}
    outside = found.predict(Question(**{**usual, **changes})).outside
    assert tuple(text.split(" ")[0] for text in outside) == said


def test_a_family_that_was_not_run_is_refused(found):
    """Nothing is known of it; the message says what there is."""
    asked = Question(n_params=5e6, n_people=1e5, exposures=300.0, family="llama")
    with pytest.raises(ResultsError, match="there are: gpt2"):
        found.predict(asked)


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["n_params", "n_people", "exposures"])
def test_a_question_is_of_numbers_above_zero(name, wrong):
    """No R of nan, and none of a model of 0 parameters."""
    usual = {"n_params": 5e6, "n_people": 1e5, "exposures": 300.0}
    with pytest.raises(ResultsError, match="above 0"):
        Question(**{**usual, name: wrong}, family="gpt2")


def test_more_people_than_names_are_refused(found):
    """Their entropy would be negative."""
    asked = Question(n_params=5e6, n_people=1e30, exposures=300.0, family="gpt2")
    with pytest.raises(ResultsError, match="more than there are names"):
        found.predict(asked)


def saturated(rows):
    """The cells with R_max up to 1, which hold nearly all there is: R / R_max from 0.98 to 0.99."""
    small = rows[rows["max_capacity_ratio"] < 1.0]
    shares = np.linspace(0.98, 0.99, len(small))
    return small.assign(capacity_ratio=small["max_capacity_ratio"] * shares)


def test_a_family_that_does_not_reach_its_capacity_is_not_told_one(make_rows):
    """Beside gpt2 of known c, llama has saturated cells alone: within their R_max it is predicted,
    beyond there is no interval, and it is said why.
    """
    rows = make_rows(n_people=PEOPLE, exposures=(1000,))
    models = rows["model"].str.replace("gpt2", "llama")
    llama = saturated(rows.assign(arch="llama", model=models))
    found = fit_predictor(pd.concat([rows, llama], ignore_index=True))
    asked = {"n_people": 100_000.0, "exposures": 1000.0, "family": "llama"}
    within = found.predict(Question(n_params=2e7, **asked)).ratio
    beyond = found.predict(Question(n_params=1e6, **asked))
    assert within.low is not None and within.high is not None
    assert (beyond.ratio.low, beyond.ratio.high) == (None, None)
    assert "no cell of llama reaches its c" in beyond.outside


def test_cells_that_do_not_reach_the_capacity_predict_nothing(make_rows):
    """The message says so, and not that there is one shape."""
    with pytest.raises(ResultsError, match="c is not reached"):
        fit_predictor(saturated(make_rows(n_people=PEOPLE, exposures=(1000,))))


def test_a_new_exposures_setting_has_no_interval_where_nothing_tells_its_error(make_rows):
    """One exposures setting says nothing of another."""
    found = fit_predictor(make_rows(n_people=PEOPLE, exposures=(100,)))
    known = Question(n_params=5e6, n_people=1e5, exposures=100.0, family="gpt2")
    assert found.predict(known).ratio.low is not None
    other = Question(n_params=5e6, n_people=1e5, exposures=300.0, family="gpt2")
    assert found.predict(other).ratio.low is None
    assert found.predict(other).outside


@pytest.mark.slow
@pytest.mark.parametrize("by", ["people", "shape"])
def test_published_points_are_predicted_from_the_others(by):
    """Cells of people, or models, left out: nine in ten inside, within 5% where c limits them."""
    rows = published_rows()
    found = summary(held_out(rows[rows["exposures"] == 1000], by))
    limited = found["within range, limited by c"]
    assert isinstance(limited, dict)
    assert limited["n_cells"] >= 20
    assert limited["inside_frac"] >= 0.9
    assert limited["median_error"] < 0.05


def test_cells_of_which_none_can_be_left_out_are_refused(make_cells):
    """Each family has its own number of people: nothing is left that tells of it."""
    parts = [
        make_cells({name: 1.0}, n_people=(people,), sizes=((1, 1), (2, 1), (4, 1), (4, 2), (8, 2)))
        for name, people in {"gpt2": 400, "llama": 800, "mistral": 1600}.items()
    ]
    with pytest.raises(ResultsError, match="people is left out"):
        held_out(pd.concat(parts, ignore_index=True), "people")


def test_demand_of_other_people_from_one_number_is_said_to_be_that(make_cells):
    """The constant part of it cannot be told."""
    sizes = ((1, 1), (2, 1), (4, 1), (4, 2), (8, 2))
    found = fit_predictor(make_cells({"gpt2": 1.0}, n_people=(3200,), sizes=sizes))
    for people, is_said in ((1600.0, True), (3200.0, False)):
        asked = Question(n_params=5e3, n_people=people, exposures=100.0, family="gpt2")
        outside = found.predict(asked).outside
        assert ("R_max follows from 3,200 people alone" in outside) is is_said


@pytest.mark.slow
def test_predict_says_the_number_and_writes_json(tmp_path):
    """R with its interval in one line, extrapolation in another, the same as JSON."""
    path = tmp_path / "out.json"
    asked = ["--params", "1e7", "--people", "300000", "--exposures", "1000"]
    result = CliRunner().invoke(app, ["predict", "--published", *asked, "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("R = ")
    assert "extrapolated" not in result.stdout
    (said,) = json.loads(path.read_text())
    assert said["ratio"]["low"] < said["ratio"]["value"] < said["ratio"]["high"]
    assert said["is_outside"] is False


def test_predict_without_anything_to_learn_from_is_refused():
    """Status 2 and a line that says what to write."""
    asked = ["--params", "1e7", "--people", "300000", "--exposures", "1000"]
    result = CliRunner().invoke(app, ["predict", *asked])
    assert result.exit_code == 2
    assert "no run directory given" in result.stderr
