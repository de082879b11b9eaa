import math
from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.measure import nats
from kcap_ray.measure.groups import standard_errors, total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.text.stream.corpus import build_corpus
from tests.measure.oracle import WINDOW
from tests.measure.test_groups import MIXTURE, SEED
from tests.tiny import BIOD, BIOS, random_decoder

ONE_TABLE = replace(MIXTURE, parts=(), frequency=None)


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("data", [BIOD, BIOS, ONE_TABLE])
def test_standard_error_is_that_of_the_bits_of_single_people(
    data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bits by the first k people are k / N of a running sum, so its steps are the people."""
    monkeypatch.setattr(nats, "sampled_people", lambda source, n: np.arange(n))
    corpus = build_corpus(data)
    n_people = corpus.sources[0].n_people
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    of_first = {k: measure(model, corpus, seed=SEED, n_people=k)[0] for k in range(1, n_people + 1)}
    for part, bits_of in enumerate(
        (total_bits, lambda groups: sum(group.stored.value_bits for group in groups))
    ):
        sums = [bits_of(of_first[k]) * k / n_people for k in of_first]
        bits_P = np.diff(sums, prepend=0.0)
        for k in (4, n_people):
            expected = n_people * np.std(bits_P[:k], ddof=1) / math.sqrt(k)
            found = standard_errors(of_first[k])[part]
            # Differences of sums of some hundred bits, in float64.
            assert found == pytest.approx(expected, rel=1e-8)


def test_independent_groups_add_their_variances() -> None:
    """Over two tables and their bands; and one person in a band leaves it unknown."""
    corpus = build_corpus(MIXTURE)
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    (groups,) = measure(model, corpus, seed=SEED)
    whole = standard_errors(groups)[0]
    each = [standard_errors([group])[0] for group in groups]
    if None in each:
        assert whole is None
        assert min(group.n_measured for group in groups) == 1
    else:
        assert whole == pytest.approx(math.hypot(*(one or math.nan for one in each)))
