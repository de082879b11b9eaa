from dataclasses import replace

import pytest

from kcap_ray.config.cell import Cell, Range, TuneConfig
from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.planning.run_length import MAX_FUSED, ROUND_FLOPS, length_of, spec_of, trials_at_once
from tests.tiny import tiny_cell

LR = Range(low=1e-4, high=1e-2)


def test_a_round_has_as_many_trials_as_the_cell_wishes() -> None:
    """`tune.fused` is obeyed, but there are never more than the cell has trials."""
    for fused, trials, expected in ((1, 6, 1), (3, 6, 3), (20, 3, 3), (20, 6, MAX_FUSED)):
        cell = tiny_cell(tune=TuneConfig(trials=trials, lr=LR, fused=fused))
        assert trials_at_once(cell, spec_of(cell)) == expected


def test_rounds_of_small_models_are_larger() -> None:
    """As many as keep a step below `ROUND_FLOPS`, at most `MAX_FUSED`, at least one."""
    tune = TuneConfig(trials=100, lr=LR)
    small = tiny_cell(tune=tune)
    assert trials_at_once(small, spec_of(small)) == MAX_FUSED
    seen = set()
    for batch_windows in (16, 64, 128, 256, 1_024, 16_384):
        cell = tiny_cell(tune=tune, model="gpt2-8-16", batch_windows=batch_windows)
        spec = spec_of(cell)
        n_fused = trials_at_once(cell, spec)
        flops = 6 * batch_windows * cell.train.window_tokens * spec.n_params
        assert n_fused == 1 or n_fused * flops <= ROUND_FLOPS
        assert n_fused == MAX_FUSED or (n_fused + 1) * flops > ROUND_FLOPS
        seen.add(n_fused)
    assert len(seen) > 2
    assert trials_at_once(tiny_cell(), spec_of(tiny_cell())) == 1


def bios(n_people: int, exposures: int, batch_windows: int, **train: object) -> Cell:
    """A cell of bioS in windows of 512."""
    settings = {"exposures": exposures, "batch_windows": batch_windows, "window_tokens": 512}
    return tiny_cell(DataConfig(n_people=n_people), **{**settings, **train})


@pytest.mark.parametrize(
    "n_people, batch, steps",
    [(10_000, 24, 140_000), (200_000, 192, 349_000), (10_000_000, 1536, 1_000_000)],
)
def test_the_printed_length_is_that_of_the_paper(n_people: int, batch: int, steps: int) -> None:
    """At 1000 exposures, the people of Param 1 and its batch, the steps are those it prints."""
    assert length_of(bios(n_people, 1000, batch, length="printed")).steps == steps
    assert length_of(bios(n_people, 1000, 2 * batch, length="printed")).steps == steps // 2


def test_where_no_steps_are_printed_tokens_per_exposure_are_kept() -> None:
    """GPT2-2-2 on bioS(50K) at 100 exposures: 140,000 steps of Param 2's batch, not 61,405."""
    assert length_of(bios(50_000, 100, 12)).steps == 61_405
    assert length_of(bios(50_000, 100, 12, length="printed")).steps == 140_000
    # The border between 200K and 500K is their geometric mean, as with the other settings.
    per_person = [
        length_of(bios(n, 100, 1, length="printed")).tokens / n for n in (316_000, 317_000)
    ]
    assert per_person == pytest.approx([17_154, 8_552], rel=1e-3)


def test_a_length_may_be_given_in_tokens_per_exposure_or_steps() -> None:
    """And in one way only; other tables and junk come on top of the first, not of the second."""
    cell = tiny_cell(exposures=50)
    tokens_per_step = cell.train.batch_windows * cell.train.window_tokens
    own = replace(cell, train=replace(cell.train, tokens_per_exposure=100.0))
    wanted = cell.data.n_people * 50 * 100
    assert length_of(own).tokens == pytest.approx(wanted, abs=tokens_per_step)
    assert length_of(replace(cell, train=replace(cell.train, steps=77))).steps == 77
    with pytest.raises(UserError, match=r"train\.tokens_per_exposure and train\.steps"):
        replace(own.train, steps=77)


def test_data_for_which_no_length_is_printed_are_refused() -> None:
    """A biography of bioD has another length."""
    with pytest.raises(UserError, match="prints no steps"):
        length_of(tiny_cell(length="printed"))
