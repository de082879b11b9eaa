"""Which places are URLs, and what becomes of calls of a store that fail."""

from pathlib import Path

import pytest

from kcap_ray.runs.store import StoreError, local_path, tried, url_of
from kcap_ray.runs.systems import REFUSED
from tests.runs.disk import Disk


def test_what_fails_is_tried_again_with_a_new_connection(tmp_path: Path) -> None:
    """So credentials that were renewed meanwhile are read."""
    disk = Disk(tmp_path / "there")
    store = disk.store()
    disk.errors = [OSError("AWS Error UNKNOWN (HTTP status 400): ExpiredToken")] * 3
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert disk.n_connected == 4 and store.n_retries == 3


def test_what_fails_for_too_long_is_one_line_about_the_url(tmp_path: Path) -> None:
    """In the words of the store, without what the library says around them."""
    disk = Disk(tmp_path / "there")
    words = (
        "When uploading part for key 'x' in bucket 'b': AWS Error ACCESS_DENIED: no (Request ID: 7)"
    )
    disk.errors = [OSError(words)] * 99
    with pytest.raises(StoreError) as raised:
        disk.store(patience_s=0.3).put("x", b"1")
    assert raised.value.strerror == f"AWS Error ACCESS_DENIED: no; {REFUSED}"
    assert raised.value.filename == "test://there/run/x"
    assert disk.n_connected > 1
    disk.errors, disk.n_connected = [OSError("AWS Error NO_SUCH_BUCKET during PutObject")], 0
    with pytest.raises(StoreError):
        disk.store().put("x", b"1")
    assert disk.n_connected == 1


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("s3://b/run/", "s3://b/run"),
        (Path("s3://b/run"), "s3://b/run"),
        ("gs://b/run?x=1", "gs://b/run?x=1"),
        ("memory://run", "memory://run"),
        ("runs/s3", None),
        ("/data/run", None),
        ("file:///data/run", None),
        ("C:/runs", None),
    ],
)
def test_urls_and_paths_are_told_apart(given: str | Path, url: str | None) -> None:
    """A path that lost a slash is still a URL; a drive is none."""
    assert url_of(given) == url


def test_a_file_url_is_a_path() -> None:
    """As pyarrow has it."""
    assert local_path("file:///data/run") == Path("/data/run")


def test_a_store_that_fails_for_long_is_named_in_the_log_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise five minutes would pass without a word."""
    now = [0.0]
    monkeypatch.setattr("kcap_ray.runs.store.time.monotonic", lambda: now[0])

    def sleep(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("kcap_ray.runs.store.time.sleep", sleep)

    def once() -> int:
        if now[0] < 60:
            raise OSError(5, "slow down")
        return 7

    with caplog.at_level("WARNING"):
        assert tried(once, "s3://b/r", patience_s=300) == 7
    assert [record.message for record in caplog.records] == [
        "s3://b/r: slow down; it is tried again"
    ]
