"""How ways of spending fewer trials are judged."""

import dataclasses

import pytest

from tests.tiny import tiny_cell

LOST = {"tiny": 10.0, "small": 0.0, "large": -5.0}


@pytest.fixture
def cells(load):
    """Three costly cells whose trial at the rule's point loses 10%, nothing, and -5%."""
    studied = load("tuning_ways").Studied
    found = []
    for seed, lost in enumerate(LOST.values()):
        by_rule = 1 - lost / 100
        found.append(
            studied(
                cell=dataclasses.replace(tiny_cell(), seed=seed),
                flops=1.0,
                max_ratio=2.0,
                ratios=[1.0, *[0.5] * 5],
                is_costly=True,
                probes=(),
                by_rule=by_rule,
                fresh=(1.0, by_rule),
            )
        )
    return found


def test_a_gain_is_no_loss_whether_on_the_same_seeds_or_on_fresh_ones(cells, load):
    """It is given by itself, and counts as a difference."""
    ways = load("tuning_ways")
    judged = ways.judge(cells, ways.WAYS["rule, 1 trial in costly cells"])
    assert judged["cost"] == pytest.approx(1 / 6, abs=1e-4)
    for found in (judged["costly_cells"], ways.judge_fresh(cells)["costly_cells"]):
        assert found["median_percent"] == 0.0
        assert found["worst_percent"] == 10.0
        assert found["largest_gain_percent"] == 5.0
        assert found["mean_percent"] == pytest.approx(5 / 3, abs=1e-3)
        assert found["within_3_percent"] == 2
        assert found["differ_by_at_most_3_percent"] == 1
