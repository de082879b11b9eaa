"""One finished cell's model taught to answer, and asked. No Ray."""

import fnmatch
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.extract.config import ExtractConfig
from kcap_ray.runs.columns_extraction import Answers, ExtractionRecord
from kcap_ray.runs.files import fetch, write_atomically
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import RunDirectory

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from kcap_ray.extract.finetune import Unfinished
    from kcap_ray.extract.questions import QuestionTable
    from kcap_ray.models.decoder import Decoder
    from kcap_ray.text.stream.corpus import Corpus

FILE = "extraction.json"
"""What all models of a run could be asked for: a list of records, one for each cell and config."""


def finished_cells(
    run: RunDirectory, cells: Iterable[Cell], pattern: str | None
) -> list[tuple[Cell, ResultRow]]:
    """Cells that have a result and a model; `UserError` if there are none that match."""
    matching = [c for c in cells if pattern is None or fnmatch.fnmatchcase(c.cell_id, pattern)]
    rows = [(cell, run.cell(cell.cell_id).result()) for cell in matching]
    found = [
        (cell, row)
        for cell, row in rows
        if row is not None and row.status == "ok" and run.cell(cell.cell_id).checkpoint.is_dir()
    ]
    if not found:
        raise UserError(
            f"{run.path}: none of {len(matching)} cells has a result and a model to ask; "
            "run the sweep to its end, with keep_checkpoint: true"
        )
    return found


def extract_cell(
    run: RunDirectory,
    cell: Cell,
    row: ResultRow,
    config: ExtractConfig,
    *,
    device: "torch.device",
    on_step: Callable[[int, float], None] | None = None,
) -> ExtractionRecord:
    """The record of one model and config, made or read; it is written last.

    What was stopped goes on from the adapters that were saved last. A record of another model, from
    before the search of the cell went on, is made again. Raises `UserError` where there is nothing
    to ask for, or the questions do not fit the model.
    """
    from kcap_ray.training.checkpoint import remove_checkpoint

    directory = run.cell(cell.cell_id)
    file = directory.path / "extraction" / f"{config.label}.json"
    record = _read(file) if file.is_file() else None
    if record is None or record.capacity_ratio != row.capacity_ratio:
        record = _record(directory.path, row, config, device, on_step)
        write_atomically(file, json.dumps(record.to_dict(), indent=1) + "\n")
    if (unfinished := _unfinished(directory.path, config)).parent.is_dir():
        remove_checkpoint(unfinished)
    return record


def _unfinished(directory: Path, config: ExtractConfig) -> Path:
    """Where the adapters are kept while they are taught."""
    return directory / "extraction" / "resume" / f"{config.label}.pt"


def collect(run: RunDirectory, cells: Iterable[Cell]) -> Path:
    """Write the records of all cells into one file of the run, and say where; `UserError` for a
    cell's file that holds none.
    """
    records = []
    for cell in cells:
        folder = run.cell(cell.cell_id).path / "extraction"
        for file in sorted(folder.glob("*.json")):
            record = _read(file)
            if record is None:
                raise UserError(f"{file}: holds no record; remove it, and run kcap extract again")
            records.append(record.to_dict())
    path = run.path / FILE
    write_atomically(path, json.dumps(records, indent=1) + "\n")
    return path


def _read(file: Path) -> ExtractionRecord | None:
    """The record in a cell's file; None for what is none."""
    try:
        return ExtractionRecord.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError:
        return None


def _record(
    directory: Path,
    row: ResultRow,
    config: ExtractConfig,
    device: "torch.device",
    on_step: Callable[[int, float], None] | None,
) -> ExtractionRecord:
    from kcap_ray.extract.finetune import Unfinished
    from kcap_ray.models.checkpoint import load_cell_model
    from kcap_ray.text.stream.corpus import build_corpus

    fetch(directory / "checkpoint")
    fetch(directory / "extraction")
    model, cell = load_cell_model(directory)
    corpus = build_corpus(cell.data)
    source = corpus.main
    if corpus.vocab.size != model.spec.vocab_size:
        raise UserError(f"{directory}: its data have changed since; run the cell again")
    unfinished = Unfinished(
        path=_unfinished(directory, config), run_key=f"{config.label} of R = {row.capacity_ratio!r}"
    )
    model = model.to(device).eval()
    try:
        found = _taught_and_asked(model, cell, corpus, config, unfinished, on_step)
    except UserError as error:
        raise UserError(f"{directory}: {error}") from error
    value_bits = None
    demand = 0.0 if source.entropy is None else source.n_people * source.entropy.value_bits
    if demand and row.value_bits is not None and row.groups is None:
        value_bits = row.value_bits / demand
    assert row.stored_bits is not None and row.capacity_ratio is not None, "its status is ok"
    return ExtractionRecord(
        cell_id=row.cell_id,
        dataset=row.dataset,
        n_people=row.n_people,
        exposures=row.exposures,
        model=row.model,
        n_params=row.n_params,
        stored_bits=row.stored_bits,
        capacity_ratio=row.capacity_ratio,
        max_capacity_ratio=row.max_capacity_ratio,
        value_bits_frac=value_bits,
        **found.to_dict(),
        **config.to_dict(),
        label=config.label,
    )


def _taught_and_asked(
    model: "Decoder",
    cell: Cell,
    corpus: "Corpus",
    config: ExtractConfig,
    unfinished: "Unfinished",
    on_step: Callable[[int, float], None] | None,
) -> Answers:
    """Teach half of the people's answers, ask for all; `UserError` if a question does not fit the
    model.
    """
    import numpy as np
    import torch

    from kcap_ray.extract.accuracy import memorized
    from kcap_ray.extract.finetune import adapted, ask, teach
    from kcap_ray.extract.questions import question_table
    from kcap_ray.knowledge.randomness import Purpose, permutation, stream_key
    from kcap_ray.measure.nats import scorer_of

    source = corpus.main
    if source.n_people < 2:
        raise UserError("one person: there is nobody to be asked about who was not taught")
    if next(model.parameters()).device.type == "cpu":
        torch.set_num_threads(1)
    table = question_table(source, corpus.vocab)
    if table.tokens_QT.shape[1] > model.n_tokens + 1:
        raise UserError(
            f"a question of {table.tokens_QT.shape[1]} tokens does not fit into the model's window "
            f"of {model.n_tokens}"
        )
    said_PA = memorized(model, scorer_of(model, corpus), source, seed=cell.seed)
    student = adapted(model, table, config, eos=corpus.vocab.eos, std=cell.train.init_std)
    order_P = permutation(stream_key(config.seed, Purpose.EXTRACTION), source.n_people)
    is_taught_P = np.zeros(source.n_people, np.bool_)
    is_taught_P[order_P[: source.n_people // 2]] = True
    is_taught_Q = is_taught_P[table.person_Q]
    taught_Q = np.flatnonzero(is_taught_Q)
    loss = teach(student, table, taught_Q, config, on_step=on_step, unfinished=unfinished)
    is_right_Q = ask(student, table)
    memorized_by = {
        attribute: float(np.nanmean(said_PA[:, source.attributes.index(attribute)]))
        for attribute in table.attributes
    }
    extracted_by = _by_attribute(table, is_right_Q, ~is_taught_Q)
    guessed_by = _guessed(table, is_taught_Q)
    return Answers(
        memorized_accuracy=_mean(memorized_by),
        extracted_accuracy=_mean(extracted_by),
        taught_accuracy=_mean(_by_attribute(table, is_right_Q, is_taught_Q)),
        guessed_accuracy=_mean(guessed_by),
        memorized_by_attribute=memorized_by,
        extracted_by_attribute=extracted_by,
        guessed_by_attribute=guessed_by,
        n_people_taught=int(is_taught_P.sum()),
        n_new_tokens=table.n_new_tokens,
        n_adapter_params=sum(parameter.numel() for parameter in student.trained),
        final_loss_nats=loss,
    )


def _by_attribute(
    table: "QuestionTable", is_right_Q: "NDArray[np.bool_]", is_asked_Q: "NDArray[np.bool_]"
) -> dict[str, float]:
    found = {}
    for number, attribute in enumerate(table.attributes):
        is_in_Q = is_asked_Q & (table.attribute_Q == number)
        if is_in_Q.any():
            found[attribute] = float(is_right_Q[is_in_Q].mean())
    return found


def _guessed(table: "QuestionTable", is_taught_Q: "NDArray[np.bool_]") -> dict[str, float]:
    """Accuracy of always giving the commonest answer of the people who were taught."""
    found = {}
    for number, attribute in enumerate(table.attributes):
        of_it = [q for q in range(len(table.answers)) if table.attribute_Q[q] == number]
        taught = [table.answers[q] for q in of_it if is_taught_Q[q]]
        others = [table.answers[q] for q in of_it if not is_taught_Q[q]]
        if taught and others:
            commonest = max(sorted(set(taught)), key=taught.count)
            found[attribute] = others.count(commonest) / len(others)
    return found


def _mean(by_attribute: dict[str, float]) -> float | None:
    values: Sequence[float] = tuple(by_attribute.values())
    return sum(values) / len(values) if values else None
