"""Which cells are costly, and what that changes of a sweep."""

from pathlib import Path

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.costly import trial_flops
from kcap_ray.planning.plan import plan_cells, summary
from kcap_ray.planning.sweep import Sweep, load_sweep
from tests.small_sweep import sweep_text

TUNED = (
    sweep_text(exposures=10).replace("trials: 2", "trials: 6").replace("[20, 40]", "[20, 30, 40]")
)


@pytest.fixture
def load(tmp_path: Path):
    """Load a sweep's text."""

    def load(**overrides: str) -> Sweep:
        path = tmp_path / "sweep.yaml"
        path.write_text(TUNED)
        return load_sweep(path, {key.replace("__", "."): value for key, value in overrides.items()})

    return load


def test_cells_above_a_number_of_operations_have_few_trials_and_learn_from_all_others(load):
    """The others stay as they are, and no id moves: how long to search is no part of a cell."""
    whole = load()
    flops = sorted({trial_flops(cell) for cell in whole.cells})
    limit = flops[0]
    sweep = load(tune__costly_flops=f"{limit:.17g}", tune__costly_trials="2")
    cheap = tuple(cell.cell_id for cell in sweep.cells if trial_flops(cell) <= limit)
    assert 0 < len(cheap) < len(sweep.cells)
    assert [cell.cell_id for cell in sweep.cells] == [cell.cell_id for cell in whole.cells]
    for cell in sweep.cells:
        is_costly = cell.cell_id not in cheap
        assert cell.tune.is_costly == is_costly
        assert cell.tune.trials == (2 if is_costly else 6)
        if is_costly:
            assert sweep.neighbour[cell.cell_id] == cheap
        else:
            assert sweep.neighbour[cell.cell_id] in (None, *cheap)
    before, after = (summary(plan_cells(one)) for one in (whole, sweep))
    expected = sum(trial_flops(cell) * cell.tune.trials for cell in sweep.cells)
    assert after["flops"] == pytest.approx(expected) and expected < before["flops"]
    assert any("is costly: 2 trials" in note for note in sweep.notes)
    assert not any("there is no rule" in note for note in sweep.notes)


def test_without_a_limit_or_with_as_many_trials_no_cell_is_costly(load):
    """And where all cells are above the limit, none of them has a rule to begin from."""
    assert not any(cell.tune.is_costly for cell in load().cells)
    assert load(tune__costly_flops="0", tune__costly_trials="6").cells[0].tune.trials == 6
    all_of_them = load(tune__costly_flops="0")
    assert {cell.tune.trials for cell in all_of_them.cells} == {1}
    assert set(all_of_them.neighbour.values()) == {None}
    assert any("there is no rule" in note for note in all_of_them.notes)


@pytest.mark.parametrize("setting", [{"tune__costly_trials": "0"}, {"tune__costly_flops": "-1"}])
def test_wrong_settings_are_refused(load, setting):
    """With the key."""
    with pytest.raises(UserError, match=r"tune\.costly"):
        load(**setting)


def test_whether_a_cell_is_costly_is_no_key(load):
    """It follows from the cell."""
    with pytest.raises(UserError, match="is_costly"):
        load(tune__is_costly="true")
