"""Where knowledge is: by attribute, token and layer, adding up to what is stored in all."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from kcap_ray.config.data import FrequencyConfig, MixturePart
from kcap_ray.measure.bits import memorized_bits
from kcap_ray.measure.groups import measured_of, total_bits
from kcap_ray.measure.layers import without_each_layer
from kcap_ray.measure.nats import ScoringModel, measure, measure_scoring_model
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus
from tests.tiny import BIOD, BIOS

PART = MixturePart(kind="bioD", n_people=7, K=2, C=2, D=4, L=2, T=20, pools="mini", weight=1.0)


def untrained(data, *, n_trials=None) -> Decoder:
    vocab = build_corpus(data).vocab.size
    spec = parse_model("gpt2-2-1", head_dim=16, vocab_size=vocab)
    model = Decoder(spec, n_tokens=160, n_trials=n_trials)
    model.init_weights(seed=0, std=0.2)
    return model


@pytest.mark.parametrize(
    "data",
    [
        BIOS,
        BIOD,
        replace(BIOS, frequency=FrequencyConfig(zipf=1.0, bands=3)),
        replace(BIOS, parts=(PART,)),
    ],
)
def test_bits_by_attribute_add_up_to_name_and_value_bits(data) -> None:
    """Over names, and over values, of all tables; and tokens add up to the loss."""
    (groups,) = measure(untrained(data), build_corpus(data), seed=0)
    measured = measured_of(groups, [1.0] * 2)
    sites = json.loads(measured.sites or "[]")
    names = [site for site in sites if site["attribute"] == "name"]
    values = [site for site in sites if site["attribute"] != "name"]
    assert sum(site["stored_bits"] for site in names) == pytest.approx(measured.name_bits)
    assert sum(site["stored_bits"] for site in values) == pytest.approx(measured.value_bits)
    for site in values:
        assert sum(site["token_nats"]) == pytest.approx(site["loss_nats"])


def test_a_model_that_knows_everything_but_majors_lacks_their_bits_alone() -> None:
    """Loss of a nat on the first token of each major, and none elsewhere."""
    corpus = build_corpus(BIOS)
    major = 2 + corpus.main.attributes.index("major")

    def nats(tokens_PT, ends=None):
        documents = evaluation_documents(
            corpus.main, range(10), 0, eos=corpus.vocab.eos, max_tokens=512
        )
        is_major_PT = documents.target_PT == major
        is_first_PT = is_major_PT & (np.cumsum(is_major_PT, axis=1) == 1)
        return torch.from_numpy(is_first_PT.astype(np.float64))[None]

    scorer = ScoringModel(
        nats=nats,
        n_trials=1,
        n_tokens=512,
        vocab_size=corpus.vocab.size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    (groups,) = measure_scoring_model(scorer, corpus.sources, seed=0)
    sites = {s["attribute"]: s for s in json.loads(measured_of(groups, [1.0]).sites or "[]")}
    assert sites["major"]["token_nats"][0] == pytest.approx(1.0)
    lacking = {
        name: site["demand_bits"] - site["stored_bits"]
        for name, site in sites.items()
        if name != "name"
    }
    expected = {name: 10 / np.log(2) if name == "major" else 0.0 for name in lacking}
    assert lacking == pytest.approx(expected)


def test_memorized_bits_clamp_each_person_and_stored_bits_do_not() -> None:
    entropy = build_corpus(BIOS).main.entropy
    assert entropy is not None and entropy.log2_name_space is not None
    per_person = entropy.log2_name_space + entropy.value_bits
    nats_P = np.log(2) * np.array([per_person - 3.0, per_person + 5.0, 0.0])
    assert memorized_bits(entropy, nats_P, None) == pytest.approx(3.0 + 0.0 + per_person)


def test_an_untrained_model_memorizes_nothing_and_stores_less() -> None:
    (groups,) = measure(untrained(BIOS), build_corpus(BIOS), seed=0)
    measured = measured_of(groups, [1.0])
    assert measured.memorized_bits == 0.0 and total_bits(groups) < 0


def test_a_layer_that_does_nothing_is_not_missed() -> None:
    """Of two trials, one with a silent second layer: without it R stays; without the first it does
    not. The model itself is whole afterwards.
    """
    corpus, model = build_corpus(BIOS), untrained(BIOS, n_trials=2)
    with torch.no_grad():
        for name in ("attention.out", "mlp.down"):
            layer = model.get_submodule(f"blocks.1.{name}")
            for parameter in layer.parameters():
                parameter[1] = 0
    whole = [total_bits(groups) / model.spec.n_params for groups in measure(model, corpus, seed=0)]
    first, second = without_each_layer(model, corpus, seed=0)
    assert second[1] == pytest.approx(whole[1], abs=1e-9) and first[1] != pytest.approx(whole[0])
    assert second[0] != pytest.approx(whole[1])
    again = [total_bits(groups) / model.spec.n_params for groups in measure(model, corpus, seed=0)]
    assert again == whole
