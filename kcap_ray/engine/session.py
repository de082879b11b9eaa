"""A Ray session that is quiet and keeps to itself."""

import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator

# Read by Ray when it is imported or started, so they are set before any import of ray in this package.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The ledger is what a run resumes from; Tune's own snapshots are only a cost.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Says nothing of use on a machine without an accelerator, but warns about it in every process.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
# A cluster of our own on this machine has no one to keep out, and no token file is left behind.
_LOCAL_ENVIRONMENT = {"RAY_AUTH_MODE": "disabled"}

OBJECT_STORE_BYTES = 400 * 2**20
"""Object store of a local session: room for the blocks of windows in flight."""


@contextlib.contextmanager
def ray_session(address: str | None, *, with_dashboard: bool = False) -> Iterator[None]:
    """Connect to the cluster at `address`, or start one of our own on this machine and end it afterwards.

    A cluster of our own has its own ports and temporary directory, whatever else runs on the machine. `with_dashboard`: Ray Train
    needs it to clean up after trials that were stopped. Raises `ConnectionError` if there is no cluster at `address`.
    """
    for name, value in (_ENVIRONMENT | ({} if address else _LOCAL_ENVIRONMENT)).items():
        os.environ.setdefault(name, value)
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    if address is not None:
        ray.init(address=address, **quiet)
        try:
            yield
        finally:
            ray.shutdown()
        return
    # Sockets lie in this directory, and a socket's path may have 107 characters: so not below --out.
    directory = tempfile.mkdtemp(prefix="kcap-ray-")
    try:
        ray.init(
            address="local",
            include_dashboard=with_dashboard,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=directory,
            **quiet,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
