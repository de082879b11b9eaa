from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.planning.run_length import MAX_FUSED, ROUND_FLOPS, round_trials, spec_of
from tests.tiny import tiny_cell

LR = Range(low=1e-4, high=1e-2)


def test_a_round_has_as_many_trials_as_the_cell_wishes() -> None:
    """`tune.fused` is obeyed, but there are never more than the cell has trials."""
    for fused, trials, expected in ((1, 6, 1), (3, 6, 3), (20, 6, 6)):
        cell = tiny_cell(tune=TuneConfig(trials=trials, lr=LR, fused=fused))
        assert round_trials(cell, spec_of(cell)) == expected


def test_rounds_of_small_models_are_larger() -> None:
    """As many as keep a step below `ROUND_FLOPS`, at most `MAX_FUSED`, at least one."""
    tune = TuneConfig(trials=100, lr=LR)
    small = tiny_cell(tune=tune)
    assert round_trials(small, spec_of(small)) == MAX_FUSED
    seen = set()
    for batch_windows in (16, 64, 128, 256, 1_024, 16_384):
        cell = tiny_cell(tune=tune, model="gpt2-8-16", batch_windows=batch_windows)
        spec = spec_of(cell)
        n_fused = round_trials(cell, spec)
        flops = 6 * batch_windows * cell.train.window_tokens * spec.n_params
        assert n_fused == 1 or n_fused * flops <= ROUND_FLOPS
        assert n_fused == MAX_FUSED or (n_fused + 1) * flops > ROUND_FLOPS
        seen.add(n_fused)
    assert len(seen) > 2
    assert round_trials(tiny_cell(), spec_of(tiny_cell())) == 1
