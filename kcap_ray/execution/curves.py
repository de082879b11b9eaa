"""Loss curves of trials, as they are written to a cell's directory."""

from collections.abc import Sequence
from pathlib import Path

from kcap_ray.runs.files import replaced
from kcap_ray.runs.record import CurvePoint
from kcap_ray.runs.schema import arrow_schema
from kcap_ray.training.loop import Progress, TrainResult


def curve_of(result: TrainResult, trial: int, *, lr: float, exposures: float) -> list[CurvePoint]:
    last = result.history[-1].step
    curve = []
    for point in result.history:
        values = {
            "step": point.step,
            "tokens": point.tokens,
            "exposures": exposures * point.step / last,
            "loss": point.losses[trial],
            "lr": lr * point.lr_ratio,
            "seconds": point.seconds,
            **_expert_load(point, trial),
            **({} if point.probed is None else point.probed[trial]),
        }
        curve.append(CurvePoint.from_dict(values))
    return curve


def write_curve(path: Path, curve: Sequence[CurvePoint]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([point.to_dict() for point in curve], arrow_schema(CurvePoint))
    # Experts, and measurements along the way, only where there are some.
    empty = [name for name in table.column_names if table[name].null_count == len(curve)]
    with replaced(path) as temporary:
        pq.write_table(table.drop_columns(empty), temporary)


def _expert_load(point: Progress, trial: int) -> dict[str, float]:
    """Columns of a model with experts; none for the others."""
    if point.expert_load_max is None or point.expert_load_min is None:
        return {}
    return {
        "expert_load_max": point.expert_load_max[trial],
        "expert_load_min": point.expert_load_min[trial],
    }
