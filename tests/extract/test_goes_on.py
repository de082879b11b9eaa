"""What a killed `kcap extract` has taught is not lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import kcap_ray.extract.finetune
from kcap_ray.execution.cell import run_cells
from kcap_ray.extract.cell import extract_cell, finished_cells
from kcap_ray.extract.finetune import Student, Unfinished, adapted, teach
from kcap_ray.extract.questions import question_table
from kcap_ray.runs.columns_extraction import ExtractionRecord
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory
from kcap_ray.text.stream.corpus import build_corpus
from tests.extract.lessons import QUICK, small_model
from tests.tiny import BIOS, tiny_cell


@pytest.mark.parametrize("key", ["the same", "another"])
def test_lessons_that_were_stopped_go_on_to_the_same_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """From the adapters and the optimizer that were saved, with the questions that come next; what
    another model was taught is not taken up.
    """
    corpus = build_corpus(BIOS)
    table = question_table(corpus.main, corpus.vocab)
    config, questions = replace(QUICK, steps=30), np.flatnonzero(table.person_Q < 5)

    def student() -> Student:
        return adapted(small_model(BIOS), table, config, eos=corpus.vocab.eos, std=0.02)

    def teach_and_see(one: Student, unfinished: Unfinished | None = None) -> list[int]:
        """The steps that it took."""
        steps: list[int] = []
        whole = replace(
            one, logits=lambda tokens: (steps.append(len(steps)), one.logits(tokens))[1]
        )
        teach(whole, table, questions, config, unfinished=unfinished)
        return steps

    undisturbed, stopped, again = student(), student(), student()
    assert len(teach_and_see(undisturbed)) == 30
    monkeypatch.setattr(kcap_ray.extract.finetune, "SAVE_EVERY_S", 0.0)
    unfinished = Unfinished(path=tmp_path / "lora.pt", run_key="the same")
    calls = iter(range(13))
    with pytest.raises(StopIteration):  # at the fourteenth step
        dying = replace(stopped, logits=lambda tokens: (next(calls), stopped.logits(tokens))[1])
        teach(dying, table, questions, config, unfinished=unfinished)
    steps = teach_and_see(again, replace(unfinished, run_key=key))
    assert len(steps) == (17 if key == "the same" else 30)
    for own, other in zip(again.trained, undisturbed.trained, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["own", "peft"])
def test_a_command_that_was_killed_goes_on_to_the_same_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    """From the last save, which is gone in the end; with another model's, or a torn one, it begins
    anew.
    """
    if backend == "peft":
        pytest.importorskip("peft")
    cell = tiny_cell(BIOS, exposures=20)
    run = RunDirectory(tmp_path)
    run_cells([cell], {}, run, sweep="s", device=torch.device("cpu"))
    ((_, row),) = finished_cells(run, [cell], None)
    config = replace(QUICK, steps=200, backend=backend)  # pyright: ignore[reportArgumentType]
    steps: list[int] = []

    def extract(one: ResultRow = row, *, dies_at: int | None = None) -> ExtractionRecord:
        def on_step(step: int, _: float) -> None:
            steps.append(step)
            if step == dies_at:
                raise KeyboardInterrupt

        steps.clear()
        return extract_cell(run, cell, one, config, device=torch.device("cpu"), on_step=on_step)

    undisturbed = extract()
    folder = run.cell(cell.cell_id).path / "extraction"
    (folder / f"{config.label}.json").unlink()
    monkeypatch.setattr(kcap_ray.extract.finetune, "SAVE_EVERY_S", 0.0)
    with pytest.raises(KeyboardInterrupt):
        extract(dies_at=200)
    assert list(folder.rglob("*.pt"))
    assert extract() == undisturbed and steps == [200]
    assert not list(folder.rglob("*.pt*"))
    (folder / f"{config.label}.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        extract(dies_at=200)
    assert row.capacity_ratio is not None
    extract(replace(row, capacity_ratio=2 * row.capacity_ratio))
    assert steps == [100, 200]
    (folder / f"{config.label}.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        extract(dies_at=200)
    for file in folder.rglob("*.pt*"):
        file.write_bytes(file.read_bytes()[:1000])
    assert extract() == undisturbed and steps == [100, 200]
