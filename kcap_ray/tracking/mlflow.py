"""MLflow: one run per cell, in an experiment per sweep.

`MLFLOW_TRACKING_URI` says where; a file store `RUN/mlruns` if it does not.
"""

import math
import os
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from kcap_ray.tracking.tracker import CellLog, curve_scalars

_BATCH = 1000  # metrics, and
_PARAMS = 100  # parameters that MLflow takes in one request


class MlflowTracker:
    """Logs cells to MLflow."""

    def __init__(self, directory: Path, sweep: str) -> None:
        self._directory, self._sweep = directory, sweep

    @cached_property
    def _uri(self) -> str:
        given = os.environ.get("MLFLOW_TRACKING_URI")
        if given is not None:
            return given
        # A store of files, which needs no data base; MLflow asks for this word of consent.
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")
        return (self._directory.resolve() / "mlruns").as_uri()

    @cached_property
    def _client(self) -> MlflowClient:
        return MlflowClient(tracking_uri=self._uri)

    @cached_property
    def _experiment(self) -> str:
        found = self._client.get_experiment_by_name(self._sweep)
        return found.experiment_id if found else self._client.create_experiment(self._sweep)

    def log(self, log: CellLog) -> str:
        """See `Tracker`. The curves of trial k are `trialK/loss`, ..., by step."""
        client, name = self._client, log.row.cell_id
        for earlier in client.search_runs([self._experiment], f"tags.cell_id = '{name}'"):
            client.delete_run(earlier.info.run_id)
        run = client.create_run(
            self._experiment, run_name=name, tags={"cell_id": name, "status": log.row.status}
        )
        run_id, time_ms = run.info.run_id, run.info.start_time
        params = [Param(key, str(value)) for key, value in log.settings.items()]
        for start in range(0, len(params), _PARAMS):
            client.log_batch(run_id, params=params[start : start + _PARAMS])
        metrics = [
            Metric(f"trial{trial}/{tag}", value, time_ms + round(1000 * point.seconds), point.step)
            for trial, curve in log.curves.items()
            for point in curve
            for tag, value in curve_scalars(point).items()
            if math.isfinite(value)
        ]
        texts = []
        for column, value in log.summary.items():
            if isinstance(value, str):
                texts.append(RunTag(column, value[:5000]))
            elif isinstance(value, int | float) and math.isfinite(value):
                metrics.append(Metric(column, float(value), time_ms, 0))
        for start in range(0, len(metrics), _BATCH):
            client.log_batch(run_id, metrics=metrics[start : start + _BATCH])
        client.log_batch(run_id, tags=texts)
        client.set_terminated(run_id, "FINISHED" if log.row.status == "ok" else "FAILED")
        return f"{self._uri}#/experiments/{self._experiment}/runs/{run_id}"
