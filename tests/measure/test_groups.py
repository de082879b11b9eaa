import json
from dataclasses import replace

import pytest

from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.measure.bits import stored_bits
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.text.stream.corpus import build_corpus
from tests.measure.oracle import WINDOW
from tests.tiny import BIOD, BIOS, random_decoder

SEED = 3
PART = MixturePart(n_people=7, pools="mini", weight=0.5, frequency=FrequencyConfig(zipf=1, bands=2))
MIXTURE = replace(BIOD, frequency=FrequencyConfig(zipf=1.0, bands=3), parts=(PART,))


@pytest.mark.usefixtures("in_float64")
@pytest.mark.parametrize("data", [BIOD, BIOS])
def test_bands_add_up_to_the_table(data: DataConfig) -> None:
    """Bits of the bands of a table sum to its bits, as measured without bands."""
    banded = replace(data, frequency=FrequencyConfig(zipf=1.0, bands=4))
    corpus = build_corpus(banded)
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    (groups,) = measure(model, corpus, seed=SEED)
    ((whole,),) = measure(model, build_corpus(data), seed=SEED)
    assert len(groups) == 4
    found = measured_of(groups, [10.0])
    stored = stored_bits(whole.entropy, whole.loss)
    assert total_bits(groups) == pytest.approx(stored.total, rel=1e-10)
    assert found.name_bits == pytest.approx(stored.name_bits, rel=1e-10)
    assert found.diversity_bits == pytest.approx(stored.diversity_bits, rel=1e-10)
    assert found.loss_value_nats == pytest.approx(whole.loss.value_nats, rel=1e-10)
    assert sum(group.demand_bits for group in groups) == pytest.approx(corpus.demand_bits)


def test_groups_say_whose_bits_they_are() -> None:
    """Bands of the main table, then of the part; people, exposures and bits sum to the whole."""
    corpus = build_corpus(MIXTURE)
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    (groups,) = measure(model, corpus, seed=SEED)
    found = measured_of(groups, [10.0, 20.0])
    records = json.loads(found.groups or "")
    main, part = corpus.sources
    assert [record["table"] for record in records] == [main.label] * 3 + [part.label] * 2
    assert [record["band"] for record in records] == [0, 1, 2, 0, 1]
    for source, own, exposures in ((main, records[:3], 10.0), (part, records[3:], 20.0)):
        assert sum(record["n_people"] for record in own) == source.n_people
        n_samples = sum(record["exposures"] * record["n_people"] for record in own)
        assert n_samples == pytest.approx(exposures * source.n_people)
        assert own == sorted(own, key=lambda record: record["exposures"])
    assert sum(record["stored_bits"] for record in records) == pytest.approx(total_bits(groups))
    assert sum(record["demand_bits"] for record in records) == pytest.approx(corpus.demand_bits)


def test_junk_is_not_measured() -> None:
    """The demand is the same with junk as without, and so are the groups."""
    corpus = build_corpus(replace(BIOS, junk=JunkConfig(n_people=10**5)))
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    ((group,),) = measure(model, corpus, seed=SEED)
    assert group.n_people == BIOS.n_people
    assert corpus.demand_bits == build_corpus(BIOS).demand_bits
    assert measured_of([group], [1.0]).groups is None
