"""One finished cell's model quantized in one way: packed, measured again, written down. No Ray.

The row is the last thing written, as for a cell: a job that has one is done.
"""

import json
import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.measure.bits import per_weight
from kcap_ray.quantize.config import QuantizeConfig
from kcap_ray.runs.columns import Measured, Provenance, Stored
from kcap_ray.runs.columns_json import GroupRecord, read_list
from kcap_ray.runs.columns_quantized import Quantized
from kcap_ray.runs.columns_search import Confirmed
from kcap_ray.runs.environment import provenance
from kcap_ray.runs.files import fetch
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory, RunDirectory, is_of_model
from kcap_ray.runs.schema import section

if TYPE_CHECKING:
    import torch

    from kcap_ray.measure.groups import Group
    from kcap_ray.models.decoder import Decoder
    from kcap_ray.models.own_model import OwnModel
    from kcap_ray.quantize.weights import QuantizedWeights


@dataclass(frozen=True, kw_only=True)
class QuantizeJob:
    """What to quantize, and how."""

    cell_id: str
    config: QuantizeConfig

    def directory(self, run: RunDirectory) -> CellDirectory:
        """Where row and checkpoint go."""
        return run.cell(self.cell_id).quantized(self.config.label)


def jobs_of(
    run: RunDirectory, cells: Iterable[Cell], configs: Iterable[QuantizeConfig]
) -> list[QuantizeJob]:
    """Every finished cell in every way, cell by cell.

    Raises `UserError` if no cell is finished, or none has kept its weights.
    """
    configs = list(configs)
    rows = [run.cell(cell.cell_id).result() for cell in cells]
    finished = [row.cell_id for row in rows if row is not None and row.status == "ok"]
    if not finished:
        raise UserError(
            f"{run.path}: none of {len(rows)} cells has a result to quantize; "
            "run the sweep to its end first"
        )
    if not any(run.cell(cell_id).checkpoint.is_dir() for cell_id in finished):
        raise UserError(
            f"{run.path}: no cell has kept its weights; write keep_checkpoint: true in the sweep "
            "file and run it with another --out"
        )
    return [QuantizeJob(cell_id=cell, config=config) for cell in finished for config in configs]


def to_do(
    jobs: Iterable[QuantizeJob], run: RunDirectory, *, retry_failed: bool
) -> list[QuantizeJob]:
    """The jobs that have no row yet, and on demand those that failed."""
    todo = []
    for job in jobs:
        row, before = job.directory(run).result(), run.cell(job.cell_id).result()
        is_current = row is not None and before is not None and is_of_model(row, before)
        if row is None or not is_current or (retry_failed and row.status == "failed"):
            todo.append(job)
    return todo


def run_job(job: QuantizeJob, run: RunDirectory, *, device: "torch.device") -> ResultRow:
    """Quantize, save, measure, and write the row; a mistake of the user's is a failed row."""
    try:
        row = _quantized_row(job, run, device)
    except UserError as error:
        return fail_job(job, run, reason=str(error))
    job.directory(run).finish(row)
    return row


def fail_job(job: QuantizeJob, run: RunDirectory, *, reason: str) -> ResultRow:
    """Write the row of a job that could not be done."""
    row = replace(_row(job, run), status="failed", reason=reason)
    job.directory(run).finish(row)
    return row


def _quantized_row(job: QuantizeJob, run: RunDirectory, device: "torch.device") -> ResultRow:
    import torch

    from kcap_ray.models.checkpoint import load_model
    from kcap_ray.models.own_model import load_weights, weights_of
    from kcap_ray.quantize.store import save_quantized
    from kcap_ray.text.stream.corpus import facts_of
    from kcap_ray.training.loop import TrainingDiverged

    if device.type == "cpu":
        # As in training: results do not depend on the number of cores.
        torch.set_num_threads(1)
    source = run.cell(job.cell_id)
    fetch(source.checkpoint)
    model, cell = load_model(source.path)
    n_tokens = facts_of(cell.data).vocab_size
    if n_tokens != model.spec.vocab_size:
        raise UserError(
            f"{source.path}: its model knows {model.spec.vocab_size} tokens, and its data have "
            f"{n_tokens} now: their files have changed since; run the cell again"
        )
    made = section(provenance(device), Provenance)
    start = time.perf_counter()
    try:
        weights = quantized_weights(model.to(device), cell, job.config, source)
    except TrainingDiverged as diverged:
        return _row(job, run, **made, status="diverged", reason=str(diverged))
    quantize_time_s = time.perf_counter() - start
    save_quantized(job.directory(run).checkpoint, weights, job.config, source.checkpoint)
    load_weights(model, weights_of(model) | weights.state_dict())
    made |= {"quantize_time_s": quantize_time_s, "bits_per_weight": weights.bits_per_weight}
    stored, measured = _measured(model, cell, source)
    if not math.isfinite(stored):
        reason = "measured losses not finite"
        return _row(job, run, **made, status="diverged", reason=reason)
    return _row(
        job,
        run,
        **made,
        **section(measured, Measured),
        status="ok",
        stored_bits=stored,
        capacity_ratio=stored / model.spec.n_params,
        capacity_ratio_non_embedding=per_weight(stored, model.spec.n_params_non_embedding),
        knowledge_per_stored_bit=stored / weights.n_bits,
    )


def quantized_weights(
    model: "Decoder | OwnModel", cell: Cell, config: QuantizeConfig, source: CellDirectory
) -> "QuantizedWeights":
    """The cell's model quantized, and fine-tuned if that is asked for, on the model's device.

    Raises `UserError` where that cannot be done, and `TrainingDiverged`.
    """
    import torch

    from kcap_ray.models.own_model import OwnModel
    from kcap_ray.quantize.calibration import calibration_windows
    from kcap_ray.quantize.decoder import quantize_decoder
    from kcap_ray.quantize.finetune import finetune
    from kcap_ray.quantize.own import quantize_own
    from kcap_ray.quantize.weights import QuantizedWeights
    from kcap_ray.training.point import Point

    if isinstance(model, OwnModel):
        return quantize_own(model, config)
    tokens_BT = None
    if config.method == "gptq":
        tokens_BT = torch.from_numpy(calibration_windows(cell, config))
    weights = quantize_decoder(model, config, tokens_BT)
    if config.finetune_exposures == 0:
        return weights
    row = _finished_row(source)
    assert row.lr is not None and row.weight_decay is not None, "its status is ok"
    if cell.train.precision == "auto":
        cell = replace(cell, train=replace(cell.train, precision=row.precision))
    tuned = finetune(
        model,
        weights.matrices,
        cell,
        Point(lr=row.lr, weight_decay=row.weight_decay),
        exposures=config.finetune_exposures,
    )
    return QuantizedWeights.of(tuned.model, tuned.matrices)


def _measured(
    model: "Decoder | OwnModel", cell: Cell, source: CellDirectory
) -> "tuple[float, Measured]":
    """Stored bits and losses, exactly as the cell was measured."""
    from kcap_ray.measure.groups import measured_of, total_bits
    from kcap_ray.measure.nats import measure
    from kcap_ray.text.stream.corpus import build_corpus

    (groups,) = measure(model, build_corpus(cell.data), seed=cell.seed)
    measured = measured_of(groups, exposures_of(groups, _finished_row(source)))
    return total_bits(groups), measured


def exposures_of(groups: "Iterable[Group]", row: ResultRow) -> list[float]:
    """Mean samples of the people of each table, as the cell's row has it."""
    if row.groups is None:
        assert row.exposures_seen is not None, "its status is ok"
        return [row.exposures_seen]
    seen: dict[int, float] = {}
    for group, record in zip(groups, read_list(GroupRecord, row.groups), strict=True):
        seen[group.table_index] = record.exposures / group.frequency
    return [seen[table] for table in sorted(seen)]


def _finished_row(source: CellDirectory) -> ResultRow:
    row = source.result()
    assert row is not None, "only finished cells are quantized"
    return row


def _row(job: QuantizeJob, run: RunDirectory, **values: Any) -> ResultRow:
    """The cell's row with nothing measured but these values; failed unless they say otherwise."""
    nothing = section(Measured(), Measured) | section(Stored(), Stored)
    nothing |= section(Confirmed(), Confirmed)
    config = json.dumps(job.config.to_dict(), sort_keys=True)
    quantized = Quantized(quantization=job.config.label, quantization_config=config)
    new = {"status": "failed", **nothing, **section(quantized, Quantized), **values}
    return replace(_finished_row(run.cell(job.cell_id)), **new)
