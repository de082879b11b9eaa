"""The processes that time steps concurrently."""

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("takes_turns", [False, True])
def test_every_shape_is_timed_once_for_each_process_that_has_it(load, takes_turns):
    """Shapes in all places of a wave or in one of them come back once, with a time; places may be
    empty.
    """
    step_times = load("step_times")
    sizes = {"batch_windows": 1, "window_tokens": 16, "vocab_size": 50, "head_dim": 8}
    both, alone = (step_times.Shape(model=model, **sizes) for model in ("gpt2-1-1", "gpt2-2-1"))
    records = step_times.run_waves(
        [[both, both], [None, alone]], "cpu", 0.01, takes_turns=takes_turns
    )
    assert [record["model"] for record in records] == ["gpt2-1-1", "gpt2-2-1"]
    for record in records:
        assert record["step_s_range"][0] <= record["step_s"] <= record["step_s_range"][1]
        assert record["prepare_s"] > 0


@pytest.mark.slow
def test_a_process_that_dies_ends_the_measurement(load, capfd):
    """A shape that cannot be is a mistake of the script's, which the others do not wait out."""
    step_times = load("step_times")
    shape = step_times.Shape(model="gpt2-1", batch_windows=1, window_tokens=16, vocab_size=50)
    with pytest.raises(RuntimeError, match="has died"):
        step_times.run_waves([[shape]], "cpu", 0.01, takes_turns=False)
    assert "gpt2-1" in capfd.readouterr().err
