"""One fused program of a cell's trials: train, measure, keep the best, write it down. No Ray."""

import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.distributed as dist

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.execution.cell_run import CellRun
from kcap_ray.execution.curves import curve_of, write_curve
from kcap_ray.execution.placement import Placement
from kcap_ray.execution.probing import probe_of, probe_plan
from kcap_ray.execution.reporter import Reporter
from kcap_ray.measure.groups import Group, measured_of, total_bits
from kcap_ray.measure.layers import without_each_layer
from kcap_ray.measure.nats import measure
from kcap_ray.models.checkpoint import save_weights
from kcap_ray.models.own_model import check_model, check_read_back, own_model
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.columns import Measured, Provenance
from kcap_ray.runs.environment import provenance
from kcap_ray.runs.interrupt import request_file
from kcap_ray.runs.record import TrialRecord, best_trial
from kcap_ray.runs.schema import section
from kcap_ray.text.evaluation import evaluation_documents
from kcap_ray.text.stream.batches import in_process_batches, stream_of
from kcap_ray.text.stream.corpus import Corpus, build_corpus
from kcap_ray.text.stream.stream import TrainingStream
from kcap_ray.training.checkpoint import remove_checkpoint
from kcap_ray.training.loop import Saving, TrainingDiverged, TrainResult, train
from kcap_ray.training.point import Point
from kcap_ray.training.step import TrainStep

_PEOPLE_AT_ONCE = 1 << 18  # biographies whose lengths are looked at together


def run_trials(
    run: CellRun, points: Sequence[Point], *, first_trial: int, placement: Placement | None = None
) -> list[TrialRecord]:
    """Train the trials `first_trial`... of the cell at `points` as one program, measure them, and
    add them to its ledger; one record per trial.

    Of these and earlier trials the best one's weights and loss curve stay in the directory. Inside
    a process group every worker calls this; only the first one measures and writes, the others
    return no records. Without a `placement` they train as the cell says, on a CPU on one thread.
    """
    cell, directory, device = run.cell, run.directory, run.device
    placement = placement or Placement(device=device.type, n_fused=len(points))
    n_threads = (placement.n_threads or 1) if device.type == "cpu" else None
    if n_threads is not None:
        torch.set_num_threads(n_threads)
    corpus = build_corpus(cell.data)
    _check(cell, corpus, device)
    result = _train(run, points, corpus, first_trial=first_trial, placement=placement)
    if dist.is_initialized() and dist.get_rank() != 0:
        return []
    n_windows = length_of(cell).steps * cell.train.batch_windows
    program = _Program(
        run=run,
        points=points,
        first_trial=first_trial,
        n_threads=n_threads,
        result=result,
        corpus=corpus,
        exposures=_exposures(stream_of(cell), corpus, n_windows=n_windows),
    )
    records = program.records()
    if isinstance(result, TrainResult):
        _keep_curves(program, records, result)
        _keep_best(program, records, result)
    directory.add_trials(records)
    remove_checkpoint(directory.resume_file(first_trial))
    return records


def _train(
    run: CellRun, points: Sequence[Point], corpus: Corpus, *, first_trial: int, placement: Placement
) -> TrainResult | TrainingDiverged:
    """Train the program, from its checkpoint if there is one; the first worker reports progress."""
    cell, n_steps = run.cell, length_of(run.cell).steps
    stream = stream_of(cell)
    rank = dist.get_rank() if dist.is_initialized() else 0
    workers = dist.get_world_size() if dist.is_initialized() else 1
    plan = probe_plan(cell, corpus, n_steps, device=run.device.type, workers=workers)
    reporter = Reporter(run, points, first_trial) if rank == 0 else None
    try:
        step = TrainStep(
            placement.applied_to(cell), spec_of(cell), points, n_steps=n_steps, device=run.device
        )
        return train(
            step,
            run.open_batches
            or in_process_batches(stream, cell.train, rank=rank, workers=workers, n_steps=n_steps),
            saving=Saving(
                path=run.directory.resume_file(first_trial),
                every_s=run.save_every_s,
                request=request_file(run.directory),
            ),
            on_progress=reporter.report if reporter else None,
            probe=None if plan is None else probe_of(cell, corpus, plan),
        )
    except TrainingDiverged as diverged:
        return diverged
    finally:
        if reporter is not None:
            reporter.close()


def _exposures(stream: TrainingStream, corpus: Corpus, *, n_windows: int) -> list[float]:
    """Mean samples of a person of each table in the first windows."""
    samples = stream.samples_until(n_windows)
    return [
        n_samples / source.n_people
        for n_samples, source in zip(samples, corpus.all_sources, strict=True)
    ]


def _check(cell: Cell, corpus: Corpus, device: torch.device) -> None:
    """Raise `UserError` now, and not after the training, if a biography is too long to measure, or
    a model that is brought along is not in order.
    """
    if cell.model.is_own:
        _check_own(cell, device)
    for source in corpus.sources:
        for start in range(0, source.n_people, _PEOPLE_AT_ONCE):
            stop = min(start + _PEOPLE_AT_ONCE, source.n_people)
            samples = source.evaluation(np.arange(start, stop), seed=cell.seed)
            longest = start + int(source.lengths(samples).argmax())
            evaluation_documents(
                source,
                range(longest, longest + 1),
                cell.seed,
                eos=corpus.vocab.eos,
                max_tokens=cell.train.window_tokens,
            )


def _check_own(cell: Cell, device: torch.device) -> None:
    vocab_size, n_tokens = spec_of(cell).vocab_size, cell.train.window_tokens
    model = own_model(cell.model, vocab_size, n_tokens, seed=cell.seed).to(device)
    try:
        check_model(model)
        check_read_back(model, seed=cell.seed)
    except UserError as error:
        raise UserError(f"{cell.model.title}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class _Program:
    """Trials that were trained together, and what became of them."""

    run: CellRun
    points: Sequence[Point]
    first_trial: int
    n_threads: int | None
    result: TrainResult | TrainingDiverged
    corpus: Corpus
    exposures: Sequence[float]
    """Samples of a person, for each table."""

    def records(self) -> list[TrialRecord]:
        """Measure all of them."""
        result, n_trials, began = self.result, len(self.points), time.perf_counter()
        if isinstance(result, TrainingDiverged):
            return [self._without_numbers(index, str(result)) for index in range(n_trials)]
        groups = measure(result.model, self.corpus, seed=self.run.cell.seed)
        layers = without_each_layer(result.model, self.corpus, seed=self.run.cell.seed)
        seconds = time.perf_counter() - began
        records = [self._record(index, result, groups[index]) for index in range(n_trials)]
        return [
            replace(one, layers=json.dumps(own), measure_time_s=seconds)
            for one, own in zip(records, layers, strict=True)
        ]

    def _record(self, index: int, result: TrainResult, groups: Sequence[Group]) -> TrialRecord:
        lost_at = result.diverged_at[index]
        if lost_at is not None:
            return self._without_numbers(index, f"training diverged at step {lost_at}")
        bits = total_bits(groups)
        if not math.isfinite(bits):
            # The last step's update shows in no loss of the training.
            return self._without_numbers(index, "training diverged: measured losses not finite")
        tokens = result.history[-1].tokens * (result.model.n_trials or 1)
        return replace(
            self._without_numbers(index, ""),
            status="ok",
            bits=bits,
            capacity_ratio=bits / result.model.spec.n_params,
            train_time_s=result.train_time_s,
            tokens_per_s=tokens / result.train_time_s,
            **section(measured_of(groups, self.exposures), Measured),
        )

    def _without_numbers(self, index: int, reason: str) -> TrialRecord:
        length, point = length_of(self.run.cell), self.points[index]
        return TrialRecord(
            trial=self.first_trial + index,
            lr=point.lr,
            weight_decay=point.weight_decay,
            status="diverged",
            reason=reason,
            steps=length.steps,
            tokens=length.tokens,
            n_trials_fused=len(self.points),
            n_threads=self.n_threads,
            exposures_seen=self.exposures[0],
            **section(provenance(self.run.device), Provenance),
        )


def _keep_curves(program: _Program, records: list[TrialRecord], result: TrainResult) -> None:
    """Write the loss curve of every trial that came to its end."""
    for index, record in enumerate(records):
        if record.status == "ok":
            curve = curve_of(result, index, lr=record.lr, exposures=program.exposures[0])
            write_curve(program.run.directory.curve_file(record.trial), curve)


def _keep_best(program: _Program, records: list[TrialRecord], result: TrainResult) -> None:
    """Keep weights and curve of the best trial, if it is one of these."""
    cell, directory, vocab = program.run.cell, program.run.directory, program.corpus.vocab
    best = best_trial([*directory.trials(), *records])
    if best is None or best not in records:
        return
    index = records.index(best)
    curve = curve_of(result, index, lr=best.lr, exposures=program.exposures[0])
    write_curve(directory.history_file, curve)
    if cell.keep_checkpoint:
        ids = {"gpt2_ids": [int(token) for token in vocab.gpt2_ids], "eos": vocab.eos}
        save_weights(directory.checkpoint, result.model.trial(index), cell, ids)
