import math
from typing import Any

import pytest

from kcap_ray.config.data import DataConfig
from kcap_ray.measure.bits import stored_bits
from kcap_ray.measure.nats import measure
from kcap_ray.text.stream.corpus import build_corpus
from tests.grammar_writer import write_file
from tests.measure.oracle import Oracle, perfect

SEED = 3


@pytest.mark.usefixtures("in_float64")
def test_who_knows_the_rewritten_biographies_by_heart_stores_exactly_the_demand(tmp_path):
    """On free text too, stored bits are the demand of names and values, and no more."""
    file = tmp_path / "bior.parquet"
    data = DataConfig(kind="bioR", n_people=12, pools="mini", file=str(file))
    write_file(data, file, per_person=2)
    corpus = build_corpus(data)
    oracle: Any = Oracle(corpus, perfect(corpus, SEED), rules_out=True)
    ((group,),) = measure(oracle, corpus, seed=SEED)
    assert group.loss.name_nats == pytest.approx(math.log(12), abs=1e-10)
    assert group.loss.value_nats == pytest.approx(0.0, abs=1e-10)
    entropy = corpus.main.entropy
    assert entropy is not None
    assert stored_bits(entropy, group.loss).total == pytest.approx(entropy.demand_bits, rel=1e-10)
