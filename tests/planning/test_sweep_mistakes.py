"""How mistakes in sweep files are answered."""

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.planning.sweep import load_sweep
from tests.planning.complete_sweep import COMPLETE

HUNDRED = ", ".join(map(str, range(1, 101)))
SIX_AXES = COMPLETE[: COMPLETE.index("grid:")] + "  model: gpt2-1-1\ngrid:\n"
SIX_AXES = SIX_AXES.replace("exposures: 20, ", "")
SIX_AXES = SIX_AXES.replace("batch_windows: 8, ", "") + "".join(
    f"  {key}: [{HUNDRED}]\n"
    for key in (
        "data.n_people",
        "seed",
        "data.seed",
        "train.exposures",
        "train.batch_windows",
        "train.warmup_steps",
    )
)
"""A million million cells, which nobody waits for."""


def refused(load_text, text, **overrides):
    """The message with which the sweep is refused; every message is at most two lines."""
    with pytest.raises(UserError) as caught:
        load_text(text, **overrides)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


def test_batches_of_other_windows_must_be_written(load_text):
    """A batch is counted in windows: with shorter ones it would be another batch."""
    text = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    message = refused(load_text, text, train__window_tokens="128")
    assert "512 tokens" in message and "128" in message and "train.batch_windows" in message
    assert load_text(text, train__window_tokens="128", train__batch_windows="48").cells[0].train.lr


@pytest.mark.parametrize(
    "line, named",
    [
        ("train.exposuers: 20", "train.exposures"),
        ("exposures: 20", "train.exposures"),
        ("data: {npeople: 20}", "data.n_people"),
        ("modle: gpt2-2-2", "model"),
        ("data.n_peopel: 5", "data.n_people"),
        ("tune.trails: 5", "tune.trials"),
        ("tune.lr.hihg: 5", "tune.lr.high"),
    ],
)
def test_unknown_key_names_the_closest(load_text, line, named):
    """A mistyped key is answered with the field that was meant, and with the file."""
    message = refused(load_text, f"base:\n  {line}\n")
    assert f"did you mean {named}?" in message
    assert "some.yaml" in message


@pytest.mark.parametrize(
    "line, given",
    [
        ("train.exposures: many", "'many'"),
        ("train.exposures: true", "True"),
        ("train.exposures: 1.5", "1.5"),
        ("train.lr: .inf", "inf"),
        # More than a float holds, and more than any count.
        (f"seed: {10**400}", f"{10**400}"),
        (f"train.lr: {10**400}", f"{10**400}"),
        (f"data.n_people: {2**63}", f"{2**63}"),
        ("train.lr: '1e-3'", "'1e-3'"),
        ("train.precision: fp8", "fp16"),
        ("train.compile: 1", "auto, on, off"),
        ("keep_checkpoint: 1", "true or false"),
        ("data.pools: 3", "3"),
        ("data.pools: no/such/dir", "no/such/dir"),
        ("tune.lr: 3", "tune.lr.low"),
        ("tune: {trials: 1, lr: {low: 1.0}}", "tune.lr.high"),
        ("tune: {lr: {low: 2, high: 1}}", "tune.lr"),
        ("train.batch_windows: 0", "train.batch_windows"),
    ],
)
def test_wrong_value_says_what_was_given_and_what_is_allowed(load_text, line, given):
    """Every wrong value names its key and what was given, or what may be written instead."""
    base = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    key, value = line.split(": ", 1)
    message = refused(load_text, base, **{key: value})
    assert key in message and given in message


@pytest.mark.parametrize(
    "text, part",
    [
        ("base: {a: 1", "line"),
        ("? [a]\n: 3", "line 1: a key must be"),
        ("base: {tune.lr.many: 3}", "allowed are tune.lr.low, tune.lr.high, tune.lr.log"),
        ("name: a\nname: b", "line 2: name is given twice"),
        ("[1, 2]", "mapping"),
        ("train.lr: 1", "goes under `base:`"),
        ("gird: {}", "did you mean grid?"),
        ("name: ../up", "name"),
        ("grid: {data.n_people: []}", "no values"),
        ("grid: {data.n_people: 5}", "is a list"),
        ("base: {train.exposures: [1, 2]}", "train.exposures: got a list"),
        ("base: {train.lr: 1, train: {lr: 2}}", "train.lr is given twice"),
        ("base: {tune.trials: 1}\ntune: {trials: 2}", "tune.trials is given twice"),
        ("base: {model: gpt2-2-2}\ngrid: {model: [gpt2-2-2]}", "model is given twice"),
        ("base: " + "{a: " * 5_000 + "1" + "}" * 5_000, "nested too deep"),
        ("base: {data.n_people: " + "9" * 5_000 + "}", "cannot be read"),
        (SIX_AXES, "1,000,000,000,000 points; at most 100,000"),
        ("base: {seed: 1}", "data.n_people, model, train.exposures"),
        (COMPLETE.replace("[100, 200]", "[100, 1e2]"), "same cell: data.n_people=100"),
        (COMPLETE.replace("gpt2-1-1", "gpt3-1-1"), "model 'gpt3-1-1'"),
        (COMPLETE + "where: {max_capacity_ratio: {high: 0}}", "leaves out all 6"),
        (COMPLETE + "where: {max_capacity_ratio: {hgih: 0}}", "where.max_capacity_ratio"),
        (COMPLETE + "where: {n_people: 3}", "where"),
    ],
)
def test_wrong_file_is_answered_with_its_name_and_the_place(load_text, text, part):
    """The message names the file and the section, line or key that is wrong."""
    message = refused(load_text, text)
    assert "some.yaml" in message and part in message


def test_missing_file_is_named(tmp_path):
    """A path without a file is a user error, not a traceback."""
    with pytest.raises(UserError, match=r"none\.yaml: there is no such file"):
        load_sweep(tmp_path / "none.yaml")
