"""The plan: lengths, counts and costs before anything runs."""

import dataclasses
import json

import pytest
import yaml

from kcap_ray.config.errors import UserError
from kcap_ray.planning.cost import BUILT_IN, device_of
from kcap_ray.planning.plan import plan_cells, render_plan, rows_as_json, summary
from kcap_ray.planning.run_length import (
    programs_of,
    run_length,
    spec_of,
    trial_batch_size,
    trials_at_once,
)
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.planning.training_time import program_s, training_s
from kcap_ray.text.stream.corpus import facts_of

TEXT = """\
base:
  data.pools: mini
  train: {exposures: 20, lr: 1e-3, weight_decay: 0.01, batch_windows: 8, precision: fp32}
  train.window_tokens: 128
grid:
  model: [gpt2-1-1, gpt2-2-2]
  data.n_people: [100, 1000]
"""


@pytest.fixture
def load(tmp_path):
    """Loads the sweep above, with overrides."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TEXT)
    return lambda **overrides: load_sweep(
        path, {key.replace("__", "."): value for key, value in overrides.items()}
    )


@pytest.fixture
def device_file(tmp_path):
    """Writes the file of a core with these fields, and names it."""

    def write(**fields):
        path = tmp_path / f"{len(list(tmp_path.glob('device*')))}.device.yaml"
        path = path.with_name("device" + path.name)
        given = {"name": "mine", "unit": "core", "precision": "fp32", "source": "a test"}
        path.write_text(yaml.safe_dump({**given, **fields}))
        return str(path)

    return write


def test_run_is_as_long_as_its_exposures(load):
    """The tokens of a run are people * exposures * tokens of a biography, to half a step."""
    for cell in load().cells:
        facts = facts_of(cell.data)
        length = run_length(cell, facts)
        wanted = cell.data.n_people * cell.train.exposures * facts.tokens_per_biography
        assert length.tokens == length.steps * 8 * 128
        assert abs(length.tokens - wanted) <= 8 * 128 / 2


def test_shortest_run_has_one_step(load):
    """Fewer tokens than half a step still make a step."""
    (cell,) = load(model="gpt2-1-1", data__n_people="1", train__exposures="1").cells
    assert run_length(cell, facts_of(cell.data)).steps == 1


@pytest.mark.parametrize("around, times", [("junk", 8), ("parts", 3)])
def test_junk_and_other_tables_make_a_run_longer(load, around, times):
    """Seven tokens of junk for each useful one make it eight times as long; parts add theirs."""
    given = {
        "junk": {"data__junk": "{ratio: 7, n_people: 1000}"},
        "parts": {"data__parts": "[{n_people: 10, pools: mini, weight: 2}]"},
    }[around]
    for alone, among in zip(plan_cells(load()), plan_cells(load(**given)), strict=True):
        assert among.steps == pytest.approx(times * alone.steps, abs=times)
        assert among.n_people == alone.n_people


def test_planning_draws_no_people(load, monkeypatch):
    """A plan takes no longer for more people, because it never makes a table of them."""

    def drawn(*_):
        raise AssertionError("planning drew people")

    monkeypatch.setattr("kcap_ray.text.stream.corpus.draw_people", drawn)
    rows = plan_cells(load(data__pools="full", data__n_people="20_000_000"))
    assert all(row.n_people == 20_000_000 for row in rows)


def test_experts_that_a_token_does_not_use_cost_parameters_but_no_work(load):
    """Twice the experts: more parameters, and per token only the wider router is more work."""
    few, many = (plan_cells(load(model=f"gpt2-2-2-moe{n}"))[0] for n in (8, 16))
    assert many.n_params > few.n_params
    router = 2 * 128 * 8
    assert many.n_params_active - few.n_params_active == router
    assert many.flops - few.flops == pytest.approx(6 * few.tokens * router)


def test_active_parameters_are_shown_where_they_are_not_all(load):
    """The column is there for a mixture of experts, and not for dense models alone."""
    assert "active" not in render_plan(plan_cells(load()), device="a100").split("\n")[0]
    rows = plan_cells(load(model="[gpt2-1-1, gpt2-2-2-moe8]"))
    assert "active" in render_plan(rows, device="a100").split("\n")[0]
    assert f"{rows[-1].n_params_active:,}" in render_plan(rows, device="a100")


def test_rows_follow_the_cells(load):
    """One row per cell, in order; R_max is demand over parameters."""
    sweep = load()
    rows = plan_cells(sweep)
    assert [row.cell_id for row in rows] == [cell.cell_id for cell in sweep.cells]
    for row in rows:
        assert row.max_capacity_ratio * row.n_params == pytest.approx(row.demand_bits)
        assert row.n_params > row.n_params_non_embedding > 0


def test_cost_is_proportional_to_trials_and_price(load, tmp_path):
    """Twice the trials, one after the other, cost twice the hours; the price is hours times the
    price per hour.
    """
    settings = {"tune__lr": "{low: 1e-4, high: 1e-2}", "tune__fused": "1"}
    one, two = (plan_cells(load(tune__trials=n, **settings)) for n in ("1", "2"))
    assert summary(two)["device_hours"] == pytest.approx(2 * summary(one)["device_hours"])
    assert summary(two)["flops"] == pytest.approx(2 * summary(one)["flops"])
    prices = tmp_path / "prices.yaml"
    prices.write_text("h200: 3\n")
    for row in plan_cells(load(), device="h200", prices=prices):
        assert row.price == pytest.approx(3 * row.device_hours)


def test_fresh_seeds_are_priced_as_runs_of_their_own(load):
    """Three of them cost what three single trials do, beside the search; trials beyond the ranges
    are at most as many as asked for, and none where nothing is searched.
    """
    ranges = {"tune__lr": "{low: 1e-4, high: 1e-2}"}
    search, single = load(tune__trials="4", **ranges), load(tune__trials="1")
    more = load(tune__trials="4", tune__confirm_seeds="3", tune__widen="2", **ranges)
    rows = [plan_cells(sweep) for sweep in (search, single, more)]
    for searched, one, all_of_it in zip(*rows, strict=True):
        assert (all_of_it.n_trials, all_of_it.n_after) == (4, 5)
        hours = searched.device_hours + 5 * one.device_hours
        assert all_of_it.device_hours == pytest.approx(hours)
        assert all_of_it.flops == pytest.approx(9 * one.flops)
        assert all_of_it.cell_id == searched.cell_id
    assert summary(rows[2])["tokens"] == 9 * summary(rows[1])["tokens"]
    assert {row.n_after for row in plan_cells(load(tune__widen="2"))} == {0}
    assert "4+5" in render_plan(rows[2], device="a100")


def test_fused_trials_share_what_does_not_grow_with_them(load):
    """Trials that train together cost more than one of them, and less than one after another."""
    ranges = {"tune__lr": "{low: 1e-4, high: 1e-2}"}
    for device in BUILT_IN:
        one, fused, apart = (
            summary(plan_cells(load(tune__trials=n, tune__fused=k, **ranges), device=device))
            for n, k in (("1", "1"), ("4", "4"), ("4", "1"))
        )
        assert one["device_hours"] < fused["device_hours"] < apart["device_hours"]


def test_a_search_costs_what_its_programs_do(load):
    """Rounds that programs do not divide end with smaller ones: 3, 1, 3, 1 of 8 trials in rounds
    of 4, where 3, 3, 2 were priced.
    """
    assert programs_of(8, 4, 3) == [(0, 3), (3, 1), (4, 3), (7, 1)]
    searched = load(tune__trials="8", tune__fused="3", tune__lr="{low: 1e-4, high: 1e-2}")
    cell = next(iter(searched.cells))
    spec, device = spec_of(cell), device_of("a100")
    found = programs_of(8, trial_batch_size(cell, spec), trials_at_once(cell, spec))
    assert trial_batch_size(cell, spec) % trials_at_once(cell, spec), "rounds are not divided"
    seconds = sum(program_s(cell, spec, device, n) for _, n in found)
    assert training_s(cell, spec, device) == pytest.approx(seconds)


@pytest.mark.parametrize("device", BUILT_IN)
@pytest.mark.parametrize(
    "key, less, more",
    [
        ("data__n_people", "100", "1000"),
        ("train__exposures", "20", "90"),
        ("model__head_dim", "16", "24"),
        ("model", "gpt2-1-1", "gpt2-1-2"),
        ("model", "gpt2-1-1", "gpt2-2-1"),
        ("model", "gpt2-1-1", "gpt2-1-1-gated"),
        ("model", "gpt2-1-1", "gpt2-1-1-canon"),
        ("tune__trials", "1", "3"),
    ],
)
def test_more_of_anything_is_never_cheaper(load, device, key, less, more):
    """More people, exposures, width, layers, parts or trials: more hours."""
    settings = {"data__n_people": "100", "model": "gpt2-1-1", "tune__lr": "{low: 1e-4, high: 1e-2}"}
    hours = [
        summary(plan_cells(load(**{**settings, key: value}), device=device))["device_hours"]
        for value in (less, more)
    ]
    assert hours[0] < hours[1]


def test_a_compiled_run_on_a_core_takes_its_share_of_the_time(load, device_file):
    """Where the cell asks for it, and the device file knows the share."""
    settings = {"model": "gpt2-1-1", "data__n_people": "1000"}
    device = device_file(seconds={"step": 1.0}, compiled_ratio=0.5)
    (written,) = plan_cells(load(**settings), device=device)
    (compiled,) = plan_cells(load(**settings, train__compile="on"), device=device)
    assert compiled.device_hours == pytest.approx(written.device_hours / 2)


def test_hours_follow_the_file_of_a_device(load, device_file):
    """With only a time per step, hours are steps times that time, and the start of each program."""
    device = device_file(seconds={"step": 2.0}, start_s=5.0)
    for row in plan_cells(load(), device=device):
        assert row.device == "mine"
        assert row.device_hours == pytest.approx((5 + 2 * row.steps) / 3600)


def test_trials_on_a_core_are_planned_in_the_parts_that_are_fastest(load, device_file):
    """Where fusing gains nothing, four trials take as long as four single ones; where the steps
    alone cost, as long as one.
    """
    settings = {"model": "gpt2-1-1", "tune__trials": "4", "tune__lr": "{low: 1e-4, high: 1e-2}"}
    for seconds, times in (({"weights": 1e-3}, 4), ({"step": 1.0}, 1)):
        device = device_file(seconds=seconds)
        one = summary(plan_cells(load(model="gpt2-1-1"), device=device))["device_hours"]
        four = summary(plan_cells(load(**settings), device=device))["device_hours"]
        assert four == pytest.approx(times * one)


def test_parts_of_a_batch_call_every_operator_again(load, device_file):
    """A batch of 8 windows, 2 at a time, calls operators four times as often."""
    device = device_file(seconds={"operators": 1e-3})
    whole, parts = (
        summary(plan_cells(load(**more), device=device))["device_hours"]
        for more in ({}, {"train__micro_windows": "2"})
    )
    assert parts == pytest.approx(4 * whole)


def test_price_of_an_own_device_can_be_given(load, device_file, tmp_path):
    """A file of prices may name the device that is planned for."""
    prices = tmp_path / "prices.yaml"
    prices.write_text("mine: 0.5\n")
    for row in plan_cells(load(), device=device_file(seconds={"step": 1.0}), prices=prices):
        assert row.price == pytest.approx(0.5 * row.device_hours)


def test_plan_says_what_its_hours_rest_on(load, device_file):
    """Measured hours come with their error, others are called an estimate; and a precision that
    was not measured is named.
    """
    measured = device_file(seconds={"step": 1.0}, error=0.081)
    text = render_plan(plan_cells(load(), device=measured), device=measured)
    assert "measured step times" in text and "8%" in text and "estimate" not in text
    assert "bf16" not in text
    own = load(train__precision="bf16")
    text = render_plan(plan_cells(own, device=measured), device=measured)
    assert "measured at fp32; 4 cells" in text
    assert "estimate" in render_plan(plan_cells(load(), device="a100"), device="a100")


def test_price_of_an_unpriced_device_is_not_made_up(load):
    """Without a price per hour the price is None, and the table says so."""
    rows = plan_cells(load(), device="cpu")
    assert {row.price for row in rows} == {None} and summary(rows)["price"] is None
    assert "no price known for cpu" in render_plan(rows, device="cpu")


def test_json_holds_every_row(load):
    """`--json` is a list of objects, one per cell, that carry the rows' values."""
    rows = plan_cells(load())
    assert json.loads(rows_as_json(rows)) == [dataclasses.asdict(row) for row in rows]


def test_table_shows_every_cell_and_the_totals(load):
    """The text has a line per cell, the total, and says that hours are an estimate."""
    rows = plan_cells(load())
    text = render_plan(rows, device="a100", n_left_out=2)
    assert all(row.cell_id in text for row in rows)
    assert "4 cells (2 points of the grid left out" in text and "estimate" in text


@pytest.mark.parametrize("text", ["a1000: 2", "a100: free", "- 1", "a100: -1", "a100: .inf"])
def test_wrong_prices_are_answered_with_the_file(load, tmp_path, text):
    """A file of prices that is not `device: number` is a user error that names the file."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(text)
    with pytest.raises(UserError, match=r"prices\.yaml"):
        plan_cells(load(), prices=prices)


def test_unknown_device_names_the_known_ones(load):
    """A device without a model of its speed is refused, with those that have one."""
    with pytest.raises(UserError, match="a100, h100, h200, cpu"):
        plan_cells(load(), device="h20")
