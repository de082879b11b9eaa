"""A run that is kept in a bucket ends in the table of one on a local disk, whatever happens to the
requests, to the command and to its credentials.
"""

from pathlib import Path

import pytest

from kcap_ray.runs.lease_object import S3Object
from kcap_ray.runs.store import Store
from tests.survival.bucket import Bucket
from tests.survival.scene import Scene, load_all, undisturbed
from tests.survival.storage import EVENTS, SHARE, in_environment, run_event

pytestmark = pytest.mark.slow


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


def test_only_one_of_two_writes_a_lease_on_s3(tmp_path: Path) -> None:
    """Though requests fail, some of them after they were done."""
    with Bucket(tmp_path, share=0.3, seed=0) as bucket, in_environment(bucket.environment):
        one, other = (S3Object(Store(bucket.url("lease"))) for _ in range(2))
        assert one.read() is None
        tag = one.create(b'{"key": "one"}')
        assert tag is not None and other.create(b'{"key": "other"}') is None
        found = other.read()
        assert found is not None and found.holder == {"key": "one"} and found.age_s < 60
        for number in range(10):
            before, tag = tag, one.replace(f'{{"key": {number}}}'.encode(), tag)
            assert tag is not None
            assert other.replace(b'{"key": "other"}', before) is None
        assert bucket.counts()["faults"]["reset after"] > 0
