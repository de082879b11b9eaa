"""Junk: read off the name of the data set, and compared with the cells without it."""

import pandas as pd
import pytest

from analysis.junk import compare_junk, parse_junk
from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart

PART = MixturePart(kind="bioD", n_people=10, K=1, C=1, D=2, L=1, T=4, weight=0.5)


@pytest.mark.parametrize("n_people", [50, 1_000, 1_500, 100_000_000])
@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("parts", [(), (PART,)])
@pytest.mark.parametrize("mixing", ["windows", "biographies"])
def test_a_label_tells_the_junk_and_the_label_without_it(n_people, token, parts, mixing):
    """Inverse of the label that a sweep writes; without junk it is the label of the same data."""
    junk = JunkConfig(n_people=n_people, ratio=7.0, token=token)
    frequency = FrequencyConfig(zipf=1.0)
    data = {"n_people": 10, "pools": "mini", "frequency": frequency, "parts": parts}
    table, case = parse_junk(DataConfig(junk=junk, mixing=mixing, **data).label)
    assert case is not None
    assert (case.n_people, case.ratio, case.token) == (n_people, 7.0, token)
    assert table == DataConfig(mixing=mixing, **data).label
    assert parse_junk(table) == (table, None)


def make_junk(make_cells):
    return pd.concat(
        [
            make_cells({"gpt2": 1.0}, log_sd=0.0, exposures=(100,)),
            make_cells({"gpt2": 2.0}, log_sd=0.0, exposures=(300,)),
            make_cells({"gpt2": 0.5}, log_sd=0.0, exposures=(300,), dataset="bioS-mini-junk7x1M"),
        ]
    ).assign(max_capacity_ratio=100.0)


def test_junk_is_measured_by_the_fewest_exposures_and_by_equal_ones(make_cells):
    """The paper's reference is 100 exposures without junk, whatever the exposures with it."""
    points = compare_junk(make_junk(make_cells))
    assert [point.case is None for point in points] == [True, True, False]
    alone, alone_longer, with_junk = (point.comparison.ratio for point in points)
    assert alone is not None and alone_longer is not None and with_junk is not None
    assert alone.value == pytest.approx(1.0)
    assert points[2].comparison.baseline.exposures == 100
    same_exposures = points[2].same_exposures
    assert same_exposures is not None and same_exposures.ratio is not None
    assert with_junk.value / same_exposures.ratio.value == pytest.approx(alone_longer.value)


def test_junk_needs_cells_without_it(make_cells):
    """Of the same table, family and people."""
    rows = make_junk(make_cells)
    with_junk = rows[rows["dataset"].str.contains("junk")]
    assert compare_junk(with_junk) == []
    others = rows[~rows["dataset"].str.contains("junk")].assign(n_people=5)
    assert compare_junk(pd.concat([with_junk, others])) == []


def test_controls_of_the_same_run_count_where_there_are_any(make_cells):
    """Others may have been tuned otherwise; they stand in only where the run has none."""
    own = make_junk(make_cells)
    other = make_cells({"gpt2": 4.0}, log_sd=0.0, exposures=(100,)).assign(run_dir="other")
    both = pd.concat([own, other])
    assert [point.to_record() for point in compare_junk(both)] == [
        point.to_record() for point in compare_junk(own)
    ]
    is_junk = own["dataset"].str.contains("junk")
    (_, point) = compare_junk(pd.concat([own[is_junk], other]))
    assert point.comparison.ratio is not None
    assert point.comparison.ratio.value == pytest.approx(0.5 / 4.0, rel=0.1)  # noise of seeds
