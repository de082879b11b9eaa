import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch

import kcap_ray.measure.nats
from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import KnowledgeLoss, stored_bits
from kcap_ray.measure.nats import Ends, measure, nats_of_logits
from kcap_ray.models.decoder import Decoder
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from tests.measure.oracle import WINDOW, Distributions, Oracle, knows_only_the_pools, perfect
from tests.tiny import BIOD, BIOS, random_decoder

# Losses and bits are sums of terms of one sign, so 1e-10 is far above what float64 loses.
pytestmark = pytest.mark.usefixtures("in_float64")

SEED = 3
DATA = {
    "bioS mini": BIOS,
    "bioS full": DataConfig(n_people=8),
    "bioS_simple": DataConfig(kind="bioS_simple", n_people=8, pools="mini"),
    "bioD compact": BIOD,
    "bioD sentences": replace(BIOD, style="sentence", C=1),
    "one person": replace(BIOS, n_people=1),
    "bioS nested": BIOS,
    "bioD nested": BIOD,
}


@pytest.fixture(scope="session")
def nested_pools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Names and values of which some begin others."""
    folder = tmp_path_factory.mktemp("nested")
    cities = ["York", "York City", "York City Heights", "York Town", "Rome"]
    lists = {
        "first_names": ["Ana", "Bo", "Cy"],
        "middle_names": ["Dee", "Ed"],
        "last_names": ["Ng", "Mac", "MacDonald", "MacDonaldson", "Macd"],
        "cities": cities,
        "universities": ["Ohio", "Ohio State", "Ohio State South"],
        "majors": ["Law", "Law and Order", "Arts"],
        "employers": [
            "Acme\tYork",
            "Acme Air\tYork City",
            "Acme Air Lines\tYork",
            "Bolt\tYork City",
        ],
        "dates": ["months 12", "days 28", "years 1990 2012"],
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


@pytest.fixture(params=DATA)
def corpus(request: pytest.FixtureRequest, nested_pools: str) -> Corpus:
    """One of each kind of data."""
    data = DATA[request.param]
    if "nested" in request.param:
        data = replace(data, pools=nested_pools, n_people=20)
    return build_corpus(data)


def entropy_of(corpus: Corpus) -> Entropy:
    """Of the only table."""
    (source,) = corpus.sources
    assert source.entropy is not None
    return source.entropy


def measure_one(model: Any, corpus: Corpus) -> list[KnowledgeLoss]:
    """Losses of all trials on a corpus of one table, where all people are alike."""
    return [group.loss for (group,) in measure(model, corpus, seed=SEED)]


def loss_of(
    distributions: Distributions, corpus: Corpus, *, rules_out: bool = False
) -> KnowledgeLoss:
    """What `measure` finds of a predictor."""
    oracle: Any = Oracle(corpus, distributions, rules_out=rules_out)
    return measure_one(oracle, corpus)[0]


def numbers(losses: list[KnowledgeLoss]) -> list[float]:
    """All losses in a row; 0 for one that there is not."""
    return [value or 0.0 for loss in losses for value in asdict(loss).values()]


def test_a_perfect_model_stores_exactly_the_demand(corpus: Corpus) -> None:
    """A predictor that knows every biography loses ln N on names and nothing else.

    It knows as well that whoever stands before does not come again, which gains it nothing.
    """
    loss = loss_of(perfect(corpus, SEED), corpus, rules_out=True)
    assert loss.name_nats == pytest.approx(math.log(corpus.main.n_people), abs=1e-10)
    assert loss.value_nats == 0.0
    stored = stored_bits(entropy_of(corpus), loss).total
    assert stored == pytest.approx(entropy_of(corpus).demand_bits, rel=1e-10)


@pytest.mark.slow
def test_a_model_that_knows_only_the_pools_stores_no_value(corpus: Corpus) -> None:
    """Uniform over the values of each pool, it stores the names and 0 bits of value.

    Values that take several tokens, and dates of several parts, count as one choice of a pool.
    """
    loss = loss_of(knows_only_the_pools(corpus, SEED), corpus, rules_out=True)
    stored = stored_bits(entropy_of(corpus), loss)
    assert stored.value_bits == pytest.approx(0.0, abs=1e-8)
    log2_name_space = entropy_of(corpus).log2_name_space
    assert log2_name_space is not None
    n_people = entropy_of(corpus).n_people
    name_bits = n_people * (log2_name_space - math.log2(corpus.main.n_people))
    assert stored.name_bits == pytest.approx(name_bits, rel=1e-10)
    if loss.value1_nats is not None:
        assert corpus.data.D and corpus.data.K
        first_chunks = corpus.data.K * math.log(corpus.data.D)
        assert loss.value1_nats == pytest.approx(first_chunks, rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 1.0])
def test_no_model_stores_more_than_the_demand(corpus: Corpus, share: float) -> None:
    """Whatever is mixed into perfect knowledge, stored bits stay below the demand."""
    generator = np.random.default_rng(0)
    mixed: Distributions = {}
    for prefix, weights in perfect(corpus, SEED).items():
        total = sum(weights.values())
        tokens = {*weights, *generator.integers(0, corpus.vocab.size, 20).tolist()}
        known = np.array([weights.get(token, 0.0) / total for token in tokens])
        noise = generator.dirichlet(np.full(len(tokens), 0.3))
        chances = (1 - share) * known + share * noise
        mixed[prefix] = dict(zip(tokens, chances.tolist(), strict=True))
    loss = loss_of(mixed, corpus)
    assert stored_bits(entropy_of(corpus), loss).total < entropy_of(corpus).demand_bits


def test_what_comes_behind_a_value_that_is_over_costs_nothing() -> None:
    """At the end of a value only the chance that a longer one goes on counts, not which words come.

    Tokens 3 and 4 go on with a longer value; all others are equally likely.
    """
    chances_V = torch.tensor([0.1, 0.1, 0.1, 0.4, 0.2, 0.1])
    logits = chances_V.log().expand(1, 1, 2, 6)
    goes_on_SV = torch.tensor([[False, False, False, True, True, False]])
    ends = Ends(torch.tensor([[0, 0, 1]]), goes_on_SV)
    nats = nats_of_logits(logits, torch.tensor([[0, 1, 2]]), ends)
    expected = [0.0, -math.log(0.1), -math.log(0.4)]
    assert nats.flatten().tolist() == pytest.approx(expected, rel=1e-10)


def test_a_model_of_equal_logits_stores_a_negative_number_of_bits(corpus: Corpus) -> None:
    """Every token costs ln V, more than the pools hold: the number is reported, not cut to 0."""
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    torch.nn.init.zeros_(model.embedding)
    (loss,) = measure_one(model, corpus)
    stored = stored_bits(entropy_of(corpus), loss)
    assert stored.name_bits < 0
    assert stored.value_bits < 0
    assert stored.total < 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2-1-1", "mistral-1-2"])
def test_losses_are_those_of_each_persons_document_alone(corpus: Corpus, name: str) -> None:
    """Blocks and padding change nothing: a plain loop over people and tokens finds the same."""
    model = random_decoder(name, vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    nats = {"name": 0.0, "value": 0.0, "first chunk": 0.0}
    for person in range(corpus.main.n_people):
        document = evaluation_documents(
            corpus.main, range(person, person + 1), SEED, eos=corpus.vocab.eos, max_tokens=WINDOW
        )
        tokens_T = torch.from_numpy(document.tokens_PT[0].astype(np.int64))
        with torch.no_grad():
            log_p_TV = model(tokens_T[None, :-1])[0].log_softmax(dim=-1)
        for t, target in enumerate(document.target_PT[0].tolist()):
            if target == 0:
                continue
            loss = -log_p_TV[t - 1, tokens_T[t]].item()
            if document.end_PT is not None and (end := int(document.end_PT[0, t])):
                goes_on = torch.from_numpy(document.continuations[end - 1].astype(np.int64))
                loss = -math.log1p(-log_p_TV[t - 1, goes_on].exp().sum().item())
            nats["name" if target == 1 else "value"] += loss
            nats["first chunk"] += loss * bool(document.first_chunk_PT[0, t])
    (found,) = measure_one(model, corpus)
    n_people = corpus.main.n_people
    ruled_out = math.log(n_people / max(1, n_people - 1))
    measured = nats["name"] / n_people
    assert found.name_nats == pytest.approx(measured + ruled_out, rel=1e-10)
    assert found.value_nats == pytest.approx(nats["value"] / n_people, rel=1e-10)
    if corpus.data.kind == "bioD":
        assert found.value1_nats == pytest.approx(nats["first chunk"] / n_people, rel=1e-10)
    else:
        assert found.value1_nats is None


def test_the_size_of_a_block_changes_nothing(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With memory for one person, for a few and for all at a time the losses are the same."""
    model = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    whole = measure_one(model, corpus)
    for n_bytes in (1, 12 * WINDOW * corpus.vocab.size):
        monkeypatch.setattr(kcap_ray.measure.nats, "MAX_LOGIT_BYTES", n_bytes)
        assert numbers(measure_one(model, corpus)) == pytest.approx(numbers(whole), rel=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gpt2-2-2", "llama-1-1"])
def test_fused_trials_are_measured_as_each_alone(corpus: Corpus, name: str) -> None:
    """One measurement of three trials is three measurements."""
    fused = random_decoder(name, n_trials=3, vocab_size=corpus.vocab.size, n_tokens=WINDOW)
    alone = [measure_one(fused.trial(index), corpus)[0] for index in range(3)]
    assert numbers(measure_one(fused, corpus)) == pytest.approx(numbers(alone), rel=1e-10)
    assert len({loss.name_nats for loss in alone}) == 3


def test_a_biography_longer_than_the_window_is_refused() -> None:
    """The message says which window would do."""
    corpus = build_corpus(BIOS)
    model: Decoder = random_decoder("gpt2-1-1", vocab_size=corpus.vocab.size, n_tokens=32)
    with pytest.raises(UserError, match=r"write train\.window_tokens: \d+ or more"):
        measure(model, corpus, seed=SEED)
