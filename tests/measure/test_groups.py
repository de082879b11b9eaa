import json
from dataclasses import replace

import numpy as np
import pytest

from kcap_ray.config.data import DataConfig, FrequencyConfig, JunkConfig, MixturePart
from kcap_ray.measure.bits import stored_bits
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.nats import measure
from kcap_ray.measure.table_groups import sampled_people
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


MANY_BANDS = replace(BIOD, n_people=46, frequency=FrequencyConfig(zipf=1.0, bands=8))


@pytest.mark.parametrize("data", [BIOS, MIXTURE, MANY_BANDS])
def test_a_sample_is_of_all_bands_alike(data: DataConfig) -> None:
    """Of any size: so many people and hardly more, ascending, of each band its share and somebody;
    of everybody, everybody.
    """
    for source in build_corpus(data).sources:
        sizes = np.bincount(source.bands_P)
        for n in range(1, source.n_people + 1):
            sample = sampled_people(source, n)
            assert n <= len(sample) < n + len(sizes)
            assert (np.diff(sample) > 0).all()
            found = np.bincount(source.bands_P[sample], minlength=len(sizes))
            assert (found >= 1).all()
            assert (np.abs(found - n * sizes / source.n_people) <= 1).all()
        everybody = sampled_people(source, source.n_people)
        assert everybody.tolist() == list(range(source.n_people))


def test_a_sample_of_a_sorted_file_stands_for_all_of_it(tmp_path) -> None:
    """A reader that is as good on everybody is measured alike on a part and on all, where the
    people of a file come by their frequency.
    """
    rows = [f"Person {i:03d} X,city,C{i % 7} town,{1000 - i}" for i in range(64)]
    file = tmp_path / "sorted.csv"
    file.write_text("\n".join(["name,attribute,value,often", *rows]))
    frequency = FrequencyConfig(column="often", bands=4)
    data = DataConfig(kind="tuples", file=str(file), n_people=64, frequency=frequency)
    corpus = build_corpus(data)
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    for parameter in model.parameters():
        parameter.data.zero_()
    whole, part = (measure(model, corpus, seed=SEED, n_people=n)[0] for n in (None, 16))
    assert [group.n_people for group in part] == [16] * 4
    assert total_bits(part) == pytest.approx(total_bits(whole), rel=0.1)


def test_junk_is_not_measured() -> None:
    """The demand is the same with junk as without, and so are the groups."""
    corpus = build_corpus(replace(BIOS, junk=JunkConfig(n_people=10**5)))
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    ((group,),) = measure(model, corpus, seed=SEED)
    assert group.n_people == BIOS.n_people
    assert corpus.demand_bits == build_corpus(BIOS).demand_bits
    assert measured_of([group], [1.0]).groups is None
