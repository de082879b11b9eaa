"""The rule of the plan on plateaus: when a curve leaves, and the fit."""

import itertools

import pytest
import yaml

from kcap_ray.planning.plateau import FILE, PlateauRule


def test_a_curve_leaves_where_it_crosses_three_nats_below_the_pools(load):
    """Between two measurements by a straight line; never, if it ends above."""
    left_at = load("plateau_rule").left_at
    assert left_at([10, 20, 30], [40.0, 34.0, 26.0], 33.0) == pytest.approx(25.0)
    assert left_at([10, 20, 30], [40.0, 34.0, 30.5], 33.0) is None
    assert left_at([10, 20], [29.0, 20.0], 33.0) == 10


def test_fit_recovers_a_planted_rule_from_runs_of_which_some_were_too_short(load):
    """Runs that never left count as far as the rule says that they should have, and no further."""
    truth = PlateauRule(scale=900.0, people=0.4, width=-1.5, step_tokens=0.2)
    runs = []
    for people, width, tokens in itertools.product((100, 1000, 10_000), (32, 128), (256, 4096)):
        needed = truth.exposures(people, width, tokens)
        left = needed if needed < 300 else None
        runs.append(
            {
                "people": people,
                "width": width,
                "step_tokens": tokens,
                "exposures": 300.0,
                "left_at_exposure": left,
            }
        )
    assert 0 < sum(run["left_at_exposure"] is None for run in runs) < len(runs) - 4
    assert load("plateau_rule").fit(runs) == pytest.approx(vars(truth), rel=1e-4)


def test_the_committed_rule_is_the_fit_of_the_committed_runs(load):
    """The file is what the command makes of the committed results."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    rule = load("plateau_rule")
    assert content["runs"] == rule.measured_runs()
    assert content["rule"] == pytest.approx(rule.fit(content["runs"]), rel=1e-3)
