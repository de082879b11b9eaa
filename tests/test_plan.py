"""The plan: lengths, counts and costs before anything runs."""

import dataclasses
import json
import subprocess
import sys

import pytest

from kcap_ray.budget import run_length
from kcap_ray.cost import DEVICES, flops_per_token
from kcap_ray.models.spec import parse_model
from kcap_ray.plan import plan_cells, render_plan, rows_as_json, summary
from kcap_ray.sweep import load_sweep
from kcap_ray.text.corpus import facts_of
from kcap_ray.user_error import UserError

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
def test_what_is_told_around_the_people_makes_a_run_longer(load, around, times):
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

    monkeypatch.setattr("kcap_ray.text.corpus.draw_people", drawn)
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
    assert "active" not in render_plan(plan_cells(load())).split("\n")[0]
    rows = plan_cells(load(model="[gpt2-1-1, gpt2-2-2-moe8]"))
    assert "active" in render_plan(rows).split("\n")[0]
    assert f"{rows[-1].n_params_active:,}" in render_plan(rows)


def test_rows_follow_the_cells(load):
    """One row per cell, in order; R_max is demand over parameters."""
    sweep = load()
    rows = plan_cells(sweep)
    assert [row.cell_id for row in rows] == [cell.cell_id for cell in sweep.cells]
    for row in rows:
        assert row.max_capacity_ratio * row.n_params == pytest.approx(row.demand_bits)
        assert row.n_params > row.n_params_non_embedding > 0


def test_cost_is_proportional_to_trials_and_price(load, tmp_path):
    """Twice the trials cost twice the hours; the price is hours times the price per hour."""
    ranges = {"tune__lr": "{low: 1e-4, high: 1e-2}"}
    one, two = (plan_cells(load(tune__trials=n, **ranges)) for n in ("1", "2"))
    assert summary(two)["device_hours"] == pytest.approx(2 * summary(one)["device_hours"])
    assert summary(two)["flops"] == pytest.approx(2 * summary(one)["flops"])
    prices = tmp_path / "prices.yaml"
    prices.write_text("h200: 3\n")
    for row in plan_cells(load(), device="h200", prices=prices):
        assert row.price == pytest.approx(3 * row.device_hours)


def test_price_of_an_unpriced_device_is_not_made_up(load):
    """Without a price per hour the price is None, and the table says so."""
    rows = plan_cells(load(), device="cpu")
    assert {row.price for row in rows} == {None} and summary(rows)["price"] is None
    assert "no price known for cpu" in render_plan(rows)


@pytest.mark.parametrize("device", DEVICES)
def test_step_takes_longer_with_more_tokens_and_more_layers(device):
    """Time of a step grows with work, and never falls below the cost of launching it."""
    small, deep = (parse_model(f"gpt2-{n}-2", head_dim=64, vocab_size=3275) for n in (2, 20))
    times = [
        DEVICES[device].step_s(spec, tokens=tokens, window_tokens=512)
        for spec, tokens in ((small, 512), (small, 6144), (deep, 6144))
    ]
    assert times == sorted(set(times))


def test_measured_cpu_steps_are_reproduced():
    """The model of a core gives back the steps it was taken from: 1.8 ms and 8.3 ms, to 20%."""
    spec = parse_model("gpt2-2-1", head_dim=16, vocab_size=450)
    assert spec.n_params == pytest.approx(14_000, rel=0.05)
    for n_windows, measured_s in ((1, 1.8e-3), (8, 8.3e-3)):
        step_s = DEVICES["cpu"].step_s(spec, tokens=n_windows * 128, window_tokens=128)
        assert step_s == pytest.approx(measured_s, rel=0.2)


def test_operations_match_the_closed_formula_of_gpt2():
    """6 (12 L d^2 + V d) + 12 L d T per token, biases and norms aside."""
    spec = parse_model("gpt2-12-12", head_dim=64, vocab_size=3275)
    closed = 6 * (12 * 12 * 768**2 + 3275 * 768) + 12 * 12 * 768 * 512
    assert flops_per_token(spec, 512) == pytest.approx(closed, rel=0.01)


def test_json_holds_every_row(load):
    """`--json` is a list of objects, one per cell, that carry the rows' values."""
    rows = plan_cells(load())
    assert json.loads(rows_as_json(rows)) == [dataclasses.asdict(row) for row in rows]


def test_table_shows_every_cell_and_the_totals(load):
    """The text has a line per cell, the total, and says that hours are an estimate."""
    rows = plan_cells(load())
    text = render_plan(rows, n_left_out=2)
    assert all(row.cell_id in text for row in rows)
    assert "4 cells (2 points of the grid left out" in text and "estimate" in text


@pytest.mark.parametrize("text", ["a1000: 2", "a100: free", "- 1", "a100: -1"])
def test_wrong_prices_are_answered_with_the_file(load, tmp_path, text):
    """A file of prices that is not `device: number` is a user error that names the file."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(text)
    with pytest.raises(UserError, match=r"prices\.yaml"):
        plan_cells(load(), prices=prices)


def test_unknown_device_names_the_known_ones(load):
    """A device without a model of its speed is refused, with those that have one."""
    with pytest.raises(UserError, match="a100, h200, cpu"):
        plan_cells(load(), device="h20")


def test_planning_loads_neither_torch_nor_ray(load):
    """`kcap plan` starts fast because nothing heavy is imported, directly or by others."""
    program = (
        "import sys; from kcap_ray.sweep import load_sweep; from kcap_ray.plan import plan_cells;"
        "plan_cells(load_sweep(sys.argv[1]));"
        "print([m for m in ('torch', 'ray', 'transformers', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(load().path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
