"""A run that is kept in a bucket ends in the table of one on a local disk, whatever happens to the
requests, to the command and to its credentials.
"""

from pathlib import Path

import pytest

from tests.survival.scene import Scene, load_all, undisturbed
from tests.survival.storage import EVENTS, SHARE, run_event

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The run on a local disk."""
    load_all()
    return undisturbed(tmp_path_factory.mktemp("local"))


@pytest.mark.parametrize("name", EVENTS)
def test_the_table_is_that_of_a_local_disk(name: str, whole: Scene, tmp_path: Path) -> None:
    """And no request that should have failed did not."""
    ended = run_event(name, tmp_path, seed=0, takes_s=whole.takes_s)
    assert ended.table == whole.expected, ended
    n_requests, n_faults = (sum(ended.counts[kind].values()) for kind in ("requests", "faults"))
    share, _ = EVENTS[name]
    if share == SHARE:
        assert n_faults > SHARE * n_requests / 3, ended.counts
