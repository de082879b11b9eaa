"""A sweep as a Ray job: its files and kcap's source go to the head, which runs the driver."""

import os
import secrets
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.planning.shipment import Shipment

MAX_BYTES = 500 * 2**20
"""Ray's own limit of a working directory."""
ASK_EVERY_S = 0.5
"""Seconds between two looks at a job that is waited for."""

AGENT_TIMEOUT_S = 60.0
"""Time that the process which starts jobs may take to come up behind the dashboard."""
_NOT_UP_YET = "No available agent"

_ENVIRONMENT = {
    # Trials stay where the job's files are.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
}


class Jobs:
    """The jobs of the cluster whose dashboard is at `address`."""

    def __init__(self, address: str) -> None:
        """Raises `UserError` if no cluster answers there, or not to us."""
        has_token = (Path.home() / ".ray" / "auth_token").is_file()
        if has_token or os.environ.get("RAY_AUTH_TOKEN"):
            # A cluster that asks for none takes a request with one.
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        from ray.job_submission import JobSubmissionClient

        self._address = address
        try:
            self._client = JobSubmissionClient(address)
        # Ray raises RuntimeError for another version, and its own errors for a token.
        except Exception as error:
            raise UserError(
                f"--address {address}: no dashboard of Ray answers ({one_line(error)}); `ray "
                "dashboard cluster.yaml` brings that of a cluster to http://127.0.0.1:8265"
            ) from error

    def submit(self, name: str, shipment: Shipment, arguments: Sequence[str]) -> str:
        """Start `kcap sweep` with these arguments behind the sweep file; the job's id."""
        if shipment.n_bytes > MAX_BYTES:
            raise UserError(
                f"{shipment.n_bytes / 2**20:.0f} MiB of files are too many for a job: at most "
                f"{MAX_BYTES / 2**20:.0f}; put the data where all nodes can read them, by an "
                "absolute path, and run `kcap sweep` on the head"
            )
        command = ["python", "-m", "kcap_ray.cli", "sweep", shipment.sweep_file]
        command += [*shipment.settings(), *arguments, "--address", "auto"]
        runtime_env = {"working_dir": str(shipment.folder), "env_vars": _ENVIRONMENT}
        last = time.monotonic() + AGENT_TIMEOUT_S
        while True:
            try:
                return self._client.submit_job(
                    entrypoint=shlex.join(command),
                    submission_id=f"{name}-{secrets.token_hex(4)}",
                    runtime_env=runtime_env,
                )
            # What the dashboard refuses, and why.
            except RuntimeError as error:
                if _NOT_UP_YET not in str(error) or time.monotonic() > last:
                    text = f"--address {self._address}: the job is refused ({one_line(error)})"
                    raise UserError(text) from error
            time.sleep(ASK_EVERY_S)

    def follow(self, job: str) -> Iterator[str]:
        """The job's log until it ends, piece by piece; raises `UserError` if it fails."""
        shown = 0
        while True:
            is_over = self._client.get_job_status(job).is_terminal()
            log = self._client.get_job_logs(job)
            if len(log) > shown:
                yield log[shown:]
                shown = len(log)
            if is_over:
                break
            time.sleep(ASK_EVERY_S)
        info: Any = self._client.get_job_info(job)
        if str(info.status) != "SUCCEEDED":
            raise JobError(f"{job} ended with {info.status} ({(info.message or '').strip()})")


class JobError(UserError):
    """A job that did not do what it was to do."""

    exit_status = 1
