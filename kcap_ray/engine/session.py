"""A Ray session that is quiet and keeps to itself."""

import contextlib
import logging
import os
import secrets
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from kcap_ray.config.errors import MachineError, UserError, one_line
from kcap_ray.engine.guard import (
    NEEDED,
    Process,
    begin_again,
    end_children,
    end_for_good,
    guarded,
    loss_of,
    silence_of,
)
from kcap_ray.runs.files import is_locked, locked

_logger = logging.getLogger(__name__)

# Read by Ray when it is imported or started, so they are set before any import of ray in this
# package.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # With 1 Tune prints its configuration and where its files are, however quiet it is asked to be.
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # kcap tells of a lost worker or node itself, in one line; Ray prints the end of the node's log.
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Ctrl-C ends kcap at once: the ledger holds all that is needed to go on.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # The ledger is what a run resumes from; Tune's own snapshots are only a cost.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    # Workers start at the same time and not one after the other, and an autoscaler learns of more
    # than one machine to start.
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    # Says nothing of use on a machine without an accelerator, but warns about it in every process.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
_LOCAL_ENVIRONMENT = {
    # Whoever reaches a session runs code as its user: so it listens on the loopback alone, and asks
    # for a token, which its processes get with their environment.
    "RAY_AUTH_MODE": "token",
    # The name is of the systems where that is Ray's default.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Otherwise the processes that make windows end with each program, on a machine with few CPUs,
    # and the next one waits for new ones.
    "RAY_idle_worker_killing_time_threshold_ms": "600000",
    # Ray starts a worker for each CPU ahead, of which none is used: Tune's have an environment of
    # their own.
    "RAY_prestart_worker_first_driver": "0",
    # No machine is taken away from a run on one machine; watching for that costs processes.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
}

OBJECT_STORE_BYTES = 400 * 2**20
"""Object store of a local session: room for the blocks of windows in flight."""

PROBE_TIMEOUT_S = 10.0
"""Time that a cluster's head may take to accept a connection."""

_PREFIX = "kcap-ray-"
_OWNER = "owner.lock"
LOCKED_WITHIN_S = 3600.0
"""Age from which a directory that nobody has locked is nobody's."""
"""File of a session's directory that the process whose session it is has locked."""

_MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107
_SOCKET_BYTES = len(
    "/kcap-ray-12345678/r/session_2026-01-01_00-00-00_000000_0000000/sockets/plasma_store"
)
"""Bytes that the longest path of a socket has behind the directory for temporary files."""
_SHORT_PLACES = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))


@contextlib.contextmanager
def ray_session(address: str | None, *, with_dashboard: bool = False) -> Iterator[Path | None]:
    """Connect to the cluster at `address`, or start one of our own here and end it afterwards.

    Yields the directory of the session's logs where that is on this machine for certain. A cluster
    of our own has its own ports and temporary directory, whatever else runs on the machine; where
    it is lost, the command is begun again, once. `with_dashboard`: Ray Train needs it to clean up
    after trials that were stopped. Raises `UserError` if there is no cluster at `address`, and
    `MachineError` if Ray does not start.
    """
    special = {} if address else _LOCAL_ENVIRONMENT
    for name, value in (_ENVIRONMENT | special).items():
        os.environ.setdefault(name, value)
    if address is not None:
        _probe(address)
    elif os.environ["RAY_AUTH_MODE"] == "token":
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if address is not None:
        _connect(address)
        try:
            with guarded(silence_of(ray.get_runtime_context().gcs_address), end_for_good):
                yield None
        finally:
            ray.shutdown()
        return
    with contextlib.ExitStack() as stack:
        stack.callback(ray.shutdown)
        directory = _start(stack, with_dashboard=with_dashboard)
        _end_autoscaler()
        with guarded(loss_of(_processes()), begin_again):
            yield Path(directory) / "session_latest" / "logs"


def _start(stack: contextlib.ExitStack, *, with_dashboard: bool) -> str:
    """Start a session; its directory, which lasts as long as the stack. What a machine under load
    did not get done in Ray's time may be done the second time.
    """
    import ray

    for is_last in (False, True):
        directory = stack.enter_context(_temporary_directory())
        try:
            ray.init(
                address="local",
                include_dashboard=with_dashboard,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=directory,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        # Ray raises Exception itself where a process is not up in time.
        except (Exception, SystemExit) as error:
            ray.shutdown()
            end_children(directory)
            cause = one_line(error)
            if is_last:
                raise MachineError(
                    f"Ray does not start on this machine ({cause}); `kcap doctor` looks for the "
                    "cause, and `kcap run-cell` does without Ray"
                ) from error
            _logger.warning("Ray did not start (%s); once more", cause)
        else:
            return directory
    raise AssertionError("the last try returns or raises")


def _processes() -> dict[str, Process]:
    """The processes without which the session of our own is lost."""
    from ray._private.worker import global_worker

    assert global_worker.node is not None, "a session that was started here has a node"
    found = global_worker.node.all_processes
    return {name: found[name][0].process for name in NEEDED if found.get(name)}


def _end_autoscaler() -> None:
    """End the process that watches whether nodes must be started, of which this session has one.

    Ray has no switch for it. It takes a CPU for its first second, when the workers start, and the
    session a second for its last, since it does not heed the signal to end.
    """
    from ray._private.worker import global_worker

    if global_worker.node is not None:
        global_worker.node.kill_monitor(check_alive=False)


def _probe(address: str) -> None:
    """Raise `UserError` if nothing listens at `address`, which Ray itself takes two minutes to find
    out.
    """
    remedy = "check it with `ray status` on the head, or leave --address out for this machine alone"
    if "://" in address:
        raise UserError(
            f"--address {address}: start kcap on a machine of the cluster, with --address auto"
        )
    if address in ("auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit():
        raise UserError(f"--address {address}: write auto, or host:port such as 10.0.0.1:6379")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"--address {address}: no cluster answers ({reason}); {remedy}") from error


def _connect(address: str) -> None:
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    # Ray leaves the process by SystemExit when it gives a head up; RuntimeError is another version
    # of Ray or Python.
    except (ConnectionError, RuntimeError, ValueError, SystemExit) as error:
        cause = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"--address {address}: cannot join the cluster ({cause})") from error


@contextlib.contextmanager
def _temporary_directory() -> Iterator[str]:
    """A directory for a session, inside of one that only its user can enter: Ray opens its own to
    all. Those of killed sessions are removed on the way.
    """
    parent = _short_directory()
    for stale in parent.glob(_PREFIX + "*"):
        _remove_if_abandoned(stale)
    directory = tempfile.mkdtemp(prefix=_PREFIX, dir=parent)
    try:
        with locked(Path(directory) / _OWNER):
            yield f"{directory}/r"
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _short_directory() -> Path:
    """Where sessions may lie: the directory for temporary files, or where the paths of sockets
    would be too long in it, one with a shorter name. Raises `UserError` if there is none.
    """
    own = Path(tempfile.gettempdir())
    for place in (own, *_SHORT_PLACES):
        is_short = len(os.fsencode(place)) + _SOCKET_BYTES <= _MAX_SOCKET_BYTES
        if is_short and place.is_dir() and os.access(place, os.W_OK | os.X_OK):
            return place
    raise UserError(f"TMPDIR={own}: too long for the paths of Ray's sockets; write TMPDIR=/tmp")


def _remove_if_abandoned(directory: Path) -> None:
    # `OSError`: another user's, or not of this form.
    with contextlib.suppress(OSError):
        owner = directory / _OWNER
        if owner.exists():
            is_left = not is_locked(owner)
        else:
            # Made again by a process of Ray that ended last, or about to be locked.
            is_left = time.time() - directory.stat().st_mtime > LOCKED_WITHIN_S
        if is_left:
            shutil.rmtree(directory, ignore_errors=True)
