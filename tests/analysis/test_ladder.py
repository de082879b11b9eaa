"""The ladder from LLaMA to GPT-2."""

import pytest

from analysis.ladder import Step, find_ladders

STEPS = {
    "llama": 0.5,
    "llama-tied": 0.6,
    "llama-tied-gelu": 0.6,
    "llama-standard": 0.8,
    "llama-standard-tied": 0.9,
    "gpt2": 1.0,
}


def _change(step: Step) -> float:
    assert step.change is not None and step.change.ratio is not None
    return step.change.ratio.value


def test_each_step_comes_from_the_one_that_it_adds_a_variant_to(make_cells):
    """In the order of the sweep's models, GPT-2 last."""
    (ladder,) = find_ladders(make_cells(STEPS, n_people=(12_800,), log_sd=0.0))
    assert [step.side.name for step in ladder] == list(STEPS)
    origins = ["", "llama", "llama-tied", "llama", "llama-standard", "llama-standard-tied"]
    assert [step.before for step in ladder] == origins
    changes = [_change(step) for step in ladder[1:]]
    expected = [0.6 / 0.5, 1.0, 0.8 / 0.5, 0.9 / 0.8, 1.0 / 0.9]
    assert changes == pytest.approx(expected, rel=0.01)


def test_changes_along_a_path_multiply_to_the_whole(make_cells):
    """From LLaMA over each step to GPT-2, the product is GPT-2 over LLaMA, exactly."""
    (ladder,) = find_ladders(make_cells(STEPS, n_people=(12_800,)))
    path = [step for step in ladder[1:] if "tied-" not in step.side.name][1:]
    product = 1.0
    for step in path:
        product *= _change(step)
    first, last = (ladder[i].side.capacity for i in (0, -1))
    assert first is not None and last is not None
    assert [step.side.name for step in path] == ["llama-standard", "llama-standard-tied", "gpt2"]
    assert product == pytest.approx(last.value / first.value)


def test_an_architecture_table_is_no_ladder(make_cells):
    """LLaMA with one variant, and variants that do not lead to GPT-2."""
    rows = make_cells({"gpt2": 1.0, "llama": 0.8, "llama-tied": 0.8, "llama-tied-canon": 0.9})
    assert find_ladders(rows) == []
    assert find_ladders(make_cells({name: c for name, c in STEPS.items() if name != "llama"})) == []
