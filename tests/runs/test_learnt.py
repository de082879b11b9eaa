import dataclasses

import numpy as np
import pytest

from kcap_ray.runs.learnt import CONFIDENCE, is_nothing, learnt_notes, what_is_missing
from kcap_ray.runs.record import ResultRow
from tests.runs.test_record import values_of

ROW = ResultRow.from_dict(values_of(ResultRow, quantization="none", reason=""))


@pytest.mark.parametrize("n_people", [30, 1000])
def test_knowing_nobody_is_nothing_as_often_as_is_said(n_people: int) -> None:
    """Of models whose bits of a person are 0 on average; the share found is binomial."""
    n_models = 4_000
    bits_MP = np.random.default_rng(0).normal(0.0, 3.0, (n_models, n_people))
    sums = bits_MP.sum(axis=1)
    errors = np.sqrt(n_people) * bits_MP.std(axis=1, ddof=1)
    found = np.mean([is_nothing(*pair) for pair in zip(sums, errors, strict=True)])
    # The normal quantile in place of Student's: 0.9701 at 29 degrees of freedom.
    expected = 0.9701 if n_people == 30 else CONFIDENCE
    assert found == pytest.approx(expected, abs=4 * np.sqrt(0.975 * 0.025 / n_models))


@pytest.mark.parametrize(
    ("stored", "values", "missing"),
    [
        (-50.0, -60.0, "nothing learnt"),
        (19.0, 5.0, "nothing learnt"),
        (21.0, -1.0, "no values learnt"),
        (300.0, 19.0, "no values learnt"),
        (300.0, 21.0, ""),
    ],
)
def test_a_row_says_what_is_missing(stored: float, values: float, missing: str) -> None:
    """With a standard error of 10 bits the bound is 19.6; and the note gives R and exposures."""
    row = dataclasses.replace(
        ROW,
        stored_bits=stored,
        value_bits=values,
        loss_value_nats=1.0,
        stored_bits_se=10.0,
        value_bits_se=10.0,
        capacity_ratio=stored / 1000,
    )
    assert what_is_missing(row) == missing
    notes = learnt_notes([row, row])
    assert len(notes) == bool(missing)
    for note in notes:
        assert f"R {stored / 1000:.3f} at {row.exposures:,} exposures" in note
        assert "more exposures or a higher rate" in note


def test_only_what_was_trained_here_is_judged() -> None:
    """Not a failed cell, and not quantized weights, which no exposures would mend."""
    nothing = {"stored_bits": -1.0, "capacity_ratio": -0.1}
    failed = {"status": "failed", "reason": "x", "stored_bits": None, "capacity_ratio": None}
    rows: list[ResultRow] = [
        dataclasses.replace(ROW, **nothing, quantization="gptq-int2-g64"),
        dataclasses.replace(ROW, **failed),
    ]
    assert [what_is_missing(row) for row in rows] == ["", ""]
    assert learnt_notes(rows) == []
