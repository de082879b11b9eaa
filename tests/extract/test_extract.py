"""A model is taught to answer questions about half of the people, and asked about the others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from typer.testing import CliRunner

from kcap_ray.cli.main import app
from kcap_ray.config.data import DataConfig
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell import run_cells
from kcap_ray.extract.accuracy import answered, memorized
from kcap_ray.extract.cell import collect, extract_cell, finished_cells
from kcap_ray.extract.config import ExtractConfig
from kcap_ray.extract.finetune import adapted, ask, teach
from kcap_ray.extract.lora import add_adapters, with_new_tokens
from kcap_ray.extract.questions import question_table
from kcap_ray.measure.nats import ScoringModel, scorer_of
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.corpus import build_corpus
from tests.extract.lessons import QUICK, small_model
from tests.tiny import BIOD, BIOS, random_decoder, random_tokens, tiny_cell


def text_of(table, vocab, question: int) -> str:
    return vocab.decode(table.tokens_QT[question][table.is_answer_QT[question]])


@pytest.mark.parametrize("data", [BIOS, replace(BIOS, kind="bioS_simple"), BIOD])
def test_every_counted_value_is_asked_for_and_answered_with_itself(data: DataConfig) -> None:
    """One question per person and attribute; the answer's tokens are those of the value."""
    corpus = build_corpus(data)
    table = question_table(corpus.main, corpus.vocab)
    assert len(table.answers) == data.n_people * len(table.attributes)
    assert "pronoun" not in table.attributes
    for question, answer in enumerate(table.answers):
        is_answer_T = table.is_answer_QT[question]
        last = int(np.flatnonzero(is_answer_T)[-1])
        assert table.tokens_QT[question, last] == corpus.vocab.eos
        if (table.tokens_QT[question, is_answer_T] < corpus.vocab.size).all():
            assert text_of(table, corpus.vocab, question) == f" {answer}<|endoftext|>"


@pytest.mark.parametrize("name", ["gpt2-2-2", "mistral-2-4", "llama-2-2-ssd", "gpt2-2-2-moe4"])
def test_adapters_begin_as_no_change_and_change_what_is_read_and_not_keys_or_head(
    name: str,
) -> None:
    model = random_decoder(name).eval()
    tokens = random_tokens(2, 9)
    before = model(tokens)
    student = with_new_tokens(model, 3, std=0.02, seed=0).eval()
    assert torch.equal(student(tokens)[..., :101], before)
    plain = {key: value.clone() for key, value in student.state_dict().items()}
    trained = add_adapters(student, rank_embedding=2, rank_attention=2, seed=0)
    assert torch.equal(student(tokens)[..., :101], before)
    adapted_ids = {id(p) for p in student.parameters() if p.requires_grad}
    assert adapted_ids == set(map(id, trained))
    F.cross_entropy(student(tokens).flatten(0, 1), tokens.flatten()).backward()
    with torch.no_grad():
        for parameter in trained:
            assert parameter.grad is not None
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0))
    spec = student.spec
    qkv = student.get_submodule("blocks.1.attention.qkv")
    is_changed = (qkv.weight != plain["blocks.1.attention.qkv.weight"]).any(dim=1)
    is_key = torch.zeros(len(is_changed), dtype=torch.bool)
    is_key[spec.d_model : spec.d_model + spec.d_kv] = True
    assert torch.equal(is_changed, ~is_key)
    assert (student.embedding != plain["embedding"]).any(dim=1).all()
    assert student.head is not None and torch.equal(student.head, plain["head"])


def test_one_pass_finds_the_answers_that_greedy_generation_gives() -> None:
    """Right exactly where a loop that feeds the model its own likeliest tokens ends up the same."""
    model = random_decoder("gpt2-2-2", vocab_size=5).eval()
    tokens = random_tokens(60, 8, vocab_size=5)
    is_answer = torch.zeros(60, 8, dtype=torch.bool)
    is_answer[:, 5:7] = True
    expected = []
    with torch.no_grad():
        for row in tokens:
            said = row[:5].tolist()
            for _ in range(2):
                said.append(int(model(torch.tensor([said]))[0, -1].argmax()))
            expected.append(said == row[:7].tolist())
        found = answered(model, tokens.numpy(), is_answer.numpy(), n_vocab=5)
    assert found.tolist() == expected
    assert 0 < found.sum() < 60


def test_who_knows_all_but_one_value_has_memorized_all_but_one() -> None:
    """A reader that predicts every next token but the last of one person's major."""
    corpus = build_corpus(BIOS)
    source = corpus.main
    wrong = 3

    def logits(tokens_PT: torch.Tensor) -> torch.Tensor:
        documents = evaluation_documents(
            source, range(source.n_people), 0, eos=corpus.vocab.eos, max_tokens=512
        )
        next_PT = torch.from_numpy(documents.tokens_PT.astype(np.int64))[:, 1:].clone()
        major = 2 + source.attributes.index("major")
        places = np.flatnonzero(documents.target_PT[wrong] == major)
        next_PT[wrong, places[-1] - 1] += 1
        assert next_PT.shape == tokens_PT.shape
        return F.one_hot(next_PT, corpus.vocab.size + 1).float()

    scorer = ScoringModel(
        nats=lambda tokens, ends=None: tokens,
        n_trials=1,
        n_tokens=512,
        vocab_size=corpus.vocab.size,
        eos=corpus.vocab.eos,
        device=torch.device("cpu"),
    )
    said_PA = memorized(logits, scorer, source, seed=0)
    expected = np.ones((source.n_people, len(source.attributes)))
    expected[wrong, source.attributes.index("major")] = 0
    np.testing.assert_array_equal(said_PA, expected)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["own", "peft"])
def test_a_student_learns_answers_and_its_model_stays(backend: str) -> None:
    """The loss falls, though all that is trained is adapters; the frozen model is untouched."""
    if backend == "peft":
        pytest.importorskip("peft")
    corpus, model = build_corpus(BIOS), small_model(BIOS)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    table = question_table(corpus.main, corpus.vocab)
    config = replace(QUICK, backend=backend).with_ranks(16, 8)  # pyright: ignore[reportArgumentType]
    student = adapted(model, table, config, eos=corpus.vocab.eos, std=0.02)
    questions = np.flatnonzero(table.person_Q < 5)
    first = teach(student, table, questions, replace(config, steps=1))
    last = teach(student, table, questions, config)
    assert last < 0.7 * first
    assert ask(student, table).shape == (len(table.answers),)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_peft_refuses_what_has_no_class_of_transformers() -> None:
    pytest.importorskip("peft")
    corpus = build_corpus(BIOS)
    table = question_table(corpus.main, corpus.vocab)
    model = random_decoder("gpt2-1-1-ssd", vocab_size=corpus.vocab.size)
    with pytest.raises(UserError, match="leave --backend out"):
        adapted(model, table, ExtractConfig(backend="peft"), eos=corpus.vocab.eos, std=0.02)


@pytest.mark.slow
def test_a_finished_cell_is_asked_once_and_its_record_stays(tmp_path) -> None:
    """Halves are disjoint, accuracies are shares, a second call reads what the first one wrote."""
    cell = tiny_cell(BIOS, exposures=20)
    run = RunDirectory(tmp_path)
    run_cells([cell], {}, run, sweep="s", device=torch.device("cpu"))
    ((_, row),) = finished_cells(run, [cell], None)
    steps: list[int] = []
    config = replace(QUICK, steps=200)
    record = extract_cell(
        run,
        cell,
        row,
        config,
        device=torch.device("cpu"),
        on_step=lambda step, _: steps.append(step),
    )
    assert record.n_people_taught == 5
    for name in ("memorized", "extracted", "taught", "guessed"):
        assert 0 <= getattr(record, f"{name}_accuracy") <= 1
    assert np.isfinite(record.final_loss_nats) and record.n_adapter_params > 0
    again = extract_cell(
        run, cell, row, config, device=torch.device("cpu"), on_step=lambda *_: steps.append(-1)
    )
    assert again == record and steps == [100, 200]
    assert collect(run, [cell]).read_text().count('"label"') == 1


def test_a_file_that_holds_no_record_is_named_and_not_collected(tmp_path) -> None:
    """Nothing is missing from the table without a word."""
    cell = tiny_cell(BIOS, exposures=20)
    folder = RunDirectory(tmp_path).cell(cell.cell_id).path / "extraction"
    folder.mkdir(parents=True)
    (folder / "lora.json").write_text('{"cell_id": "x"}')
    with pytest.raises(UserError, match=r"lora\.json: holds no record; remove it"):
        collect(RunDirectory(tmp_path), [cell])


def test_scores_and_questions_share_a_scorer() -> None:
    corpus, model = build_corpus(BIOS), small_model(BIOS)
    said = memorized(model.eval(), scorer_of(model, corpus), corpus.main, seed=0)
    assert said.shape == (10, 6) and not said[:, :5].any()


def test_a_table_without_questions_is_refused_in_a_line() -> None:
    corpus = build_corpus(DataConfig(kind="random", n_people=4, L=8, T=64))
    with pytest.raises(UserError, match="no questions about data of kind random"):
        question_table(corpus.main, corpus.vocab)


@pytest.mark.slow
def test_what_cannot_be_asked_does_not_keep_others_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strings, a single person, and people whose only values follow from the name: the last are
    asked though no value has any entropy; the others have a line each, and the exit status is 1.
    Meanwhile it says how far it has come.
    """
    sweep, run = tmp_path / "s.yaml", tmp_path / "run"
    sweep.write_text("""
name: s
base:
  model.head_dim: 8
  model: gpt2-1-1
  train.exposures: 2
  train.batch_windows: 2
  train.window_tokens: 96
grid:
  data:
    - {kind: random, n_people: 4, L: 8, T: 64}
    - {kind: bioS, pools: mini, n_people: 1}
    - {kind: bioS, pools: mini, n_people: 4, attributes: major, max_values: 1}
""")
    monkeypatch.setattr("kcap_ray.cli.extract._SAY_EVERY_S", 0.0)
    runner = CliRunner()
    assert not runner.invoke(app, ["run-cell", str(sweep), "--out", str(run)]).exit_code
    found = runner.invoke(app, ["extract", str(run), "--ranks", "2,1", "--steps", "300", "--json"])
    assert found.exit_code == 1
    (record,) = json.loads(found.stdout)
    assert record["n_people"] == 4 and record["value_bits_frac"] is None
    assert "step 200 of 300" in found.stderr
    assert "step 100 of 300" not in found.stderr  # which tells nothing yet of what is left
    assert "kind random" in found.stderr and "one person" in found.stderr
