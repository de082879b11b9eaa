"""What every test runs under: one thread, quiet Ray, GPU tests only where there is a GPU."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

# Set before anything imports torch or ray: both read these once. Ray's processes inherit them.
QUIET = {
    # Tiny models are slower on several threads, and test processes must not fight for the cores.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "MPLBACKEND": "Agg",
    # No test may reach the network.
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray writes a token to the home directory and warns.
    "RAY_AUTH_MODE": "disabled",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # Of the workers that a node starts ahead, one a CPU, tests use none.
    "RAY_prestart_worker_first_driver": "0",
    # On a busy machine workers of less priority than the rest of it get next to nothing.
    "RAY_worker_niceness": "0",
    # A trial's relative paths stay relative to the directory of the test.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # Train's controller looks at its workers often, and starts no actors that a test does not need.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.1",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_TRAIN_ENABLE_STATE_ACTOR_RECONCILIATION": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
}
for name, value in QUIET.items():
    os.environ.setdefault(name, value)

# Ray pickles a test's functions by module name, so its workers must find the `tests` folder.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)


# No example fails for the time that it takes: the machine may be busy with something else.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

SLOW_TIMEOUT_S = 900
"""Longest that a slow test may take, on a machine that is busy with something else."""

ON_RAY = ("engine/", "cluster/", "survival/test_chaos.py::test_a_lost_session", "test_tutorial.py")
"""Files, folders and tests of tests/ whose slow tests start real Ray, and are marked so."""

WITHOUT_RAY = (
    "engine/test_aws.py",
    "engine/test_queue.py",
    "engine/test_stream.py::test_read_tasks",
)
"""Those of them that start none."""

LONG = (
    "analysis/test_random_mutants.py",
    "benchmarks/test_gpu_script.py",
    "analysis/test_figures_notebook.py",
    "analysis/test_mutants.py",
    "analysis/test_verdict_study.py",
)
"""Files that each of several processes begins with, so that none of them is left at the end."""

SHARED_MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 2**30
"""Room there, of which the tests of a run take a small part, and Ray's object store more."""

# The tests' files lie in memory: kcap waits until what it has written is on the disk.
if SHARED_MEMORY.is_dir() and shutil.disk_usage(SHARED_MEMORY).free > ROOM_BYTES:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(SHARED_MEMORY))

# Importing the tests makes millions of objects and hardly any garbage.
gc.disable()


def pytest_collection_finish() -> None:
    """Leave what is there now out of every later search for garbage: it stays, and looking through
    it would take longer than most tests.
    """
    gc.freeze()
    # Training ends with it.
    gc.unfreeze = lambda: None
    gc.enable()


@pytest.hookimpl(tryfirst=True)  # before `-m` looks at the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark slow tests and order them; skip what needs what is not here."""
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT_S))
            if _is_in(item, ON_RAY) and not _is_in(item, WITHOUT_RAY):
                item.add_marker("ray")
    items.sort(key=lambda item: not _is_in(item, LONG))
    _skip_without_a_gpu(items)
    _skip_without_hosts(items)


def _is_in(item: pytest.Item, names: tuple[str, ...]) -> bool:
    return item.nodeid.removeprefix("tests/").startswith(names)


def _skip_without_a_gpu(items: list[pytest.Item]) -> None:
    # torch is imported only for them.
    gpu_items = [item for item in items if item.get_closest_marker("gpu")]
    if not gpu_items:
        return
    import torch

    if torch.cuda.is_available():
        return
    skip = pytest.mark.skip(reason="needs a CUDA device; torch sees none here")
    for item in gpu_items:
        item.add_marker(skip)


def _skip_without_hosts(items: list[pytest.Item]) -> None:
    # Whether there can be any takes a try.
    host_items = [item for item in items if item.get_closest_marker("hosts")]
    if not host_items:
        return
    from tests.cluster.namespaces import why_not

    if reason := why_not():
        for item in host_items:
            item.add_marker(pytest.mark.skip(reason=f"no hosts of namespaces: {reason}"))


@pytest.fixture
def in_float64() -> Iterator[None]:
    """The test computes in float64, in our code and in other projects' (tests/rounding.py)."""
    from tests.rounding import float64

    with float64():
        yield
