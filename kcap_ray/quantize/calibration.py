"""What a quantizer with calibration reads: windows of text as in training.

Shape letters: P people or samples, W windows, T tokens.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.people import column_sizes
from kcap_ray.knowledge.randomness import Purpose, below, hash64, permutation, stream_key
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.stream.exposures import Exposures
from kcap_ray.text.stream.schedule import Occurrences
from kcap_ray.text.stream.source import Source
from kcap_ray.text.stream.stream import BiographyStream


class Chosen(NamedTuple):
    """A schedule that tells of these people once in each exposure."""

    people_P: NDArray[np.int64]

    def n_samples(self, exposure: int) -> int:
        """As many as people."""
        return len(self.people_P)

    def occurrences(self, exposure: int, sample_P: NDArray[np.int64]) -> Occurrences:
        """Sample i is of the i-th of them."""
        people_P = self.people_P[sample_P]
        return Occurrences(people_P, people_P, np.full(len(people_P), exposure))


def calibration_windows(cell: Cell, config: QuantizeConfig) -> NDArray[np.int64]:
    """Tokens [W, T]: for each table that the cell measures, the biographies of
    `config.calibration_people` of its people, each once and in words that training did not use
    (where the data has more than one way to say it), packed into windows as in training.

    The last window of a table begins a second round. Raises `UserError` if there are no people
    beyond the table to read about.
    """
    corpus = build_corpus(cell.data)
    parts = [_windows_of(corpus, number, cell, config) for number in range(len(corpus.sources))]
    windows_WT = np.concatenate(parts).astype(np.int64)
    if config.calibration == "random_tokens":
        key = stream_key(cell.seed, Purpose.CALIBRATION)
        positions = np.arange(windows_WT.size).reshape(windows_WT.shape)
        return below(hash64(key, positions), corpus.vocab.size).astype(np.int64)
    return windows_WT


def _windows_of(
    corpus: Corpus, number: int, cell: Cell, config: QuantizeConfig
) -> NDArray[np.uint16]:
    """Windows of one table, without the target that each ends with."""
    source = corpus.sources[number]
    key = stream_key(cell.seed, Purpose.CALIBRATION, number)
    if config.calibration == "junk":
        source = replace(source, schedule=Chosen(_beyond(source, config)), materialized=None)
    else:
        n_read = min(config.calibration_people, source.n_people)
        people_P = permutation(key, source.n_people)[:n_read]
        source = replace(source, schedule=Chosen(people_P))
    occurrences = Exposures(source, seed=key)
    window_tokens = cell.train.window_tokens
    n_windows = -(-occurrences.n_tokens(0) // window_tokens)
    return BiographyStream(occurrences, window_tokens=window_tokens).windows(0, n_windows)[:, :-1]


def _beyond(source: Source, config: QuantizeConfig) -> NDArray[np.int64]:
    """People of the same kind behind the last one of the table."""
    table = source.knowledge
    if table.file is not None:
        raise UserError(
            f"--calibration junk: {table.kind} is about the people of a file, and there are no "
            "others; write people or random_tokens"
        )
    first, middle, last = column_sizes(table)[:3]
    n_left = first * middle * last - source.n_people
    if n_left == 0:
        raise UserError(
            f"--calibration junk: the {source.n_people} people of the table have all names that "
            "there are; write people or random_tokens"
        )
    return source.n_people + np.arange(min(config.calibration_people, n_left))
