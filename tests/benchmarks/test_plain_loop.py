"""The loop that shares nothing with the package trains the same and measures the same."""

import ast
import itertools
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def tiny(load):
    """The baseline of the plateau study with 12 people."""
    return load("plateau_cpu").cell_of(load("independent_loop").BASELINE, 0, is_tiny=True)


def test_it_imports_nothing_of_the_package():
    """Neither model nor optimizer nor loss, nor anything else."""
    tree = ast.parse((BENCHMARKS / "plain_loop.py").read_text(encoding="utf-8"))
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "torch" in imported
    assert imported <= {"torch", "numpy", "math", "time", "collections", "dataclasses", "typing"}


@pytest.mark.slow
def test_same_windows_and_weights_have_the_same_loss_at_every_step(load, tiny):
    """Rounding of float32 apart, which 14 steps carry on by little; and the plain evaluator of the
    plain model says what the package's own says of the package's model.
    """
    found = load("independent_loop").same_windows(tiny)
    assert found["n_steps"] == 14
    assert found["apart_largest"] < 1e-5
    (ours,) = load("plateau_cpu").run(load("independent_loop").BASELINE, 0, is_tiny=True)
    for name in ("loss_name_nats", "loss_value_nats"):
        assert found["final"][name] == pytest.approx(ours["final"][name], rel=1e-5)
        assert found["final"][name] == pytest.approx(found["ours_final"][name], rel=1e-5)


@pytest.mark.slow
def test_another_recipe_is_found_out(load, tiny, monkeypatch):
    """Another eps of AdamW is seen in the losses: so equal losses say something."""
    independent = load("independent_loop")
    recipe_of = independent.recipe_of

    def other(cell, point):
        recipe = recipe_of(cell, point)
        return load("plain_loop").Recipe(**{**vars(recipe), "eps": 1e-3})

    monkeypatch.setattr(independent, "recipe_of", other)
    assert independent.same_windows(tiny)["apart_largest"] > 1e-3


def test_every_biography_of_every_exposure_is_trained_on_once(load, tiny):
    """Whatever the order: the row of windows is made of the lines of `kcap data`."""
    plain, texts = load("plain_loop"), load("plateau_texts")
    recipe = load("plateau_run").recipe_of(
        tiny, load("plateau_run").points_of(load("independent_loop").BASELINE, tiny)[0]
    )
    records, _ = texts.records_of(tiny)
    vocab = plain.Vocabulary(records)
    batches = plain.shuffled_windows(records, vocab, recipe, seed=3)
    n_tokens = sum(len(record["token_ids"]) + 1 for record in records)
    width = recipe.window_tokens
    n_steps = n_tokens // (width * recipe.batch_windows)
    row = np.concatenate([b[:, :-1].ravel() for b in itertools.islice(batches, n_steps)]).tolist()
    ends = [place for place, token in enumerate(row) if token == vocab.eos]
    found = [tuple(row[a + 1 : b]) for a, b in itertools.pairwise(ends)]
    told = [tuple(vocab(record["token_ids"])) for record in records]
    n_people = tiny.data.n_people
    # Whole exposures, one after another; the last is cut off by the last window.
    n_whole = len(found) // n_people
    assert n_whole >= 3
    for exposure in range(n_whole):
        part = slice(exposure * n_people, (exposure + 1) * n_people)
        assert sorted(found[part]) == sorted(told[part])
    assert found[:n_people] != told[:n_people]


def test_full_name_stands_in_every_sentence(load, tiny):
    """In place of the pronoun; what is measured of the name is its first place alone."""
    texts = load("plateau_texts")
    (record, *_), _ = texts.records_of(tiny)
    name = [
        i
        for i, label in zip(record["token_ids"], record["counted"], strict=True)
        if label == "name"
    ]
    changed = texts.with_name_everywhere(record)
    row = changed["token_ids"]
    starts = [i for i in range(len(row)) if row[i : i + len(name)] == name]
    assert len(starts) == 6
    assert changed["counted"].count("name") == len(name)
    assert "pronoun" in record["counted"] and "pronoun" not in changed["counted"]
    assert len(changed["counted"]) == len(row)
