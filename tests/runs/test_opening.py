"""Run directories by URL, and on nodes that do not see them."""

from pathlib import Path

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.opening import TOKEN, RunPlace, UnsharedError, opened
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.working_copy import copy_of, with_urls


def test_no_folder_is_named_after_a_scheme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever a URL gets to that should have been opened."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="URL"):
        RunDirectory(Path("s3://b/run")).prepare()
    with pytest.raises(OSError, match="URL"):
        write_atomically(Path("s3://b/run/file"), "text")
    assert not list(tmp_path.iterdir())


def test_a_run_in_memory_is_opened_by_fsspec() -> None:
    """Any scheme that pyarrow or fsspec has; what is written in one copy is in the next."""
    with opened("memory://kcap-test/run") as path:
        write_atomically(path / "sweep.yaml", "name: small")
        assert with_urls(f"in {path}") == "in memory://kcap-test/run"
    with opened("memory://kcap-test/run") as path:
        assert (path / "sweep.yaml").read_text() == "name: small"
    assert copy_of(path) is None and not path.exists()
    with pytest.raises(UserError, match="nothing://run"), opened("nothing://run"):
        pass


def test_a_node_that_does_not_see_the_directory_says_so(tmp_path: Path) -> None:
    """It sees none, or another; a session of this machine alone asks for nothing."""
    run = RunDirectory(tmp_path / "run")
    run.path.mkdir()
    with RunPlace.of(run).opened() as directory:
        assert directory == run
    (run.path / TOKEN).write_text("token")
    place = RunPlace.of(run)
    with place.opened() as directory:
        assert directory == run
    for what in ("another", None):
        if what is None:
            (run.path / TOKEN).unlink()
        else:
            (run.path / TOKEN).write_text(what)
        with pytest.raises(UnsharedError, match=r"node .* does not see"), place.opened():
            pass
