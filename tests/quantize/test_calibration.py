"""The text that a quantizer is calibrated on."""

from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.cell import Cell
from kcap_ray.config.data import DataConfig, JunkConfig, MixturePart
from kcap_ray.config.errors import UserError
from kcap_ray.quantize.calibration import calibration_windows
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.text.stream.batches import stream_of
from kcap_ray.text.stream.corpus import build_corpus
from tests.tiny import BIOD, BIOS, tiny_cell

PEOPLE = tiny_cell(replace(BIOS, n_people=40))
PARTS = tiny_cell(
    replace(
        BIOD,
        n_people=40,
        parts=(
            MixturePart(
                kind="bioD", n_people=25, K=3, C=1, D=4, L=2, T=20, pools="mini", weight=2.0, seed=1
            ),
        ),
    )
)


def biographies(cell: Cell, **settings: object) -> list[str]:
    """Texts of the whole biographies in the calibration text, which is one row of tokens."""
    vocab = build_corpus(cell.data).vocab
    tokens = calibration_windows(cell, QuantizeConfig(**settings)).reshape(-1)  # pyright: ignore
    ends = np.flatnonzero(tokens == vocab.eos)
    parts = np.split(tokens, ends + 1)
    return [vocab.decode(part[:-1].astype(np.uint16)) for part in parts[:-1]]


def names_of(cell: Cell, first: int, last: int) -> set[str]:
    """Names of people first..last-1 of the table, and of those behind it."""
    source = replace(build_corpus(cell.data).main, materialized=None)
    occurrences = source.once_each(np.arange(first, last), 0, seed=0)
    found = set()
    for biography in source.as_text(occurrences):
        start, end = next((s.start, s.end) for s in biography.spans if s.attribute == "name")
        found.add(biography.text[start:end])
    return found


def named_in(texts: list[str], names: set[str]) -> set[str]:
    """Those of the names that begin a text."""
    begin = [(name, (f" {name} ", f" {name}'s ")) for name in names]
    return {name for name, forms in begin if any(text.startswith(forms) for text in texts)}


@pytest.mark.parametrize("n_people", [1, 7, 40, 1000])
def test_so_many_people_of_the_table_occur_once(n_people: int) -> None:
    """All of them where the table is smaller; the rest of the last window begins again."""
    n_samples = min(n_people, 40)
    texts = biographies(PEOPLE, calibration_people=n_people)
    table = names_of(PEOPLE, 0, 40)
    assert len(named_in(texts[:n_samples], table)) == n_samples
    assert named_in(texts[n_samples:], table) <= named_in(texts[:n_samples], table)


def test_calibration_is_rendered_as_training_is_but_anew() -> None:
    """No whole biography is one of the first exposures of training."""
    vocab = build_corpus(PEOPLE.data).vocab
    row = stream_of(PEOPLE).windows(0, 80)[:, :-1].reshape(-1)
    trained = {
        vocab.decode(part[:-1]) for part in np.split(row, np.flatnonzero(row == vocab.eos) + 1)
    }
    texts = biographies(PEOPLE)
    assert len(trained) > 80
    assert not set(texts[:40]) & trained


def test_junk_is_about_people_beyond_the_table() -> None:
    """Of the same kind, with names of their own; also where training had junk."""
    for data in (PEOPLE.data, replace(PEOPLE.data, junk=JunkConfig(n_people=100))):
        cell = replace(PEOPLE, data=data)
        texts = biographies(cell, calibration="junk", calibration_people=30)
        assert not named_in(texts, names_of(cell, 0, 40))
        assert named_in(texts[:30], names_of(cell, 40, 70)) == names_of(cell, 40, 70)


def test_random_tokens_are_as_many_and_uniform() -> None:
    """Every token of the vocabulary is as likely."""
    people = calibration_windows(PEOPLE, QuantizeConfig())
    tokens = calibration_windows(PEOPLE, QuantizeConfig(calibration="random_tokens"))
    n_vocab = build_corpus(PEOPLE.data).vocab.size
    assert tokens.shape == people.shape
    assert 0 <= tokens.min() < 0.02 * n_vocab
    assert 0.98 * n_vocab < tokens.max() < n_vocab
    assert abs(tokens.mean() / (n_vocab / 2) - 1) < 0.05


def test_every_table_of_a_mixture_is_read_about() -> None:
    """So many people of each, in whole windows."""
    texts = biographies(PARTS, calibration_people=10)
    tables = build_corpus(PARTS.data).sources
    for source in tables:
        occurrences = source.as_text(source.once_each(np.arange(source.n_people), 0, seed=0))
        names = {
            biography.text[s.start : s.end]
            for biography in occurrences
            for s in biography.spans[:1]
        }
        # The first of the second table stands behind the rest of a window of the first one.
        assert len(named_in(texts, names)) in (9, 10)
    windows_WT = calibration_windows(PARTS, QuantizeConfig(calibration_people=10))
    expected = sum(10 * source.mean_tokens / PARTS.train.window_tokens for source in tables)
    assert expected - 1 < len(windows_WT) < expected + 3


@pytest.mark.parametrize("calibration", ["people", "junk", "random_tokens"])
def test_the_text_is_a_function_of_cell_and_setting(calibration: str) -> None:
    """Equal settings read the same; another seed reads something else."""
    config = QuantizeConfig(calibration=calibration)  # pyright: ignore
    first = calibration_windows(PEOPLE, config)
    assert np.array_equal(first, calibration_windows(PEOPLE, config))
    other = calibration_windows(replace(PEOPLE, seed=1), config)
    assert not np.array_equal(first[:1], other[:1])
    assert first.shape[1] == PEOPLE.train.window_tokens


def test_junk_of_a_file_is_refused(tmp_path) -> None:
    """There are no people behind those of a file."""
    file = tmp_path / "facts.csv"
    file.write_text("name,attribute,value\nAnn,town,Rome\nBob,town,Oslo\n")
    cell = tiny_cell(DataConfig(kind="tuples", n_people=2, file=str(file)))
    with pytest.raises(UserError, match="--calibration junk: tuples is about the people of a file"):
        calibration_windows(cell, QuantizeConfig(calibration="junk"))
