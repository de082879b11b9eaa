from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kcap_ray.training.checkpoint import (
    CorruptCheckpointError,
    load_checkpoint,
    remove_checkpoint,
    resume_from,
    save_checkpoint,
)

STATE = {"run_key": "mine", "step": 3, "weights": torch.arange(40.0), "history": [(1, 2.0)]}


def equal(one: object, other: object) -> bool:
    """Whether two states hold the same."""
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and torch.equal(one, other)
    if isinstance(one, dict):
        return isinstance(other, dict) and all(equal(one[k], other.get(k)) for k in one)
    return one == other


def test_a_checkpoint_comes_back_and_nothing_is_no_checkpoint(tmp_path: Path) -> None:
    """`load_checkpoint` is the inverse of `save_checkpoint`; without a file it says None."""
    path = tmp_path / "resume" / "trial0.pt"
    assert load_checkpoint(path, run_key="mine") is None
    save_checkpoint(path, STATE)
    assert equal(STATE, load_checkpoint(path, run_key="mine"))
    assert [file.name for file in path.parent.iterdir()] == ["trial0.pt"]


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    """The message names the file and what to do; the file stays."""
    path = tmp_path / "trial0.pt"
    save_checkpoint(path, STATE)
    with pytest.raises(CorruptCheckpointError, match=r"trial0\.pt is not of this run; delete"):
        load_checkpoint(path, run_key="other")
    assert path.exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"not a checkpoint", b"PK\x03\x04", bytes(1000), b"\x80\x02.", b"\x80\x02}q\x00.", b"."],
)
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    """Whatever the file holds, the error is `CorruptCheckpointError` and names the path."""
    path = tmp_path / "trial0.pt"
    path.write_bytes(content)
    with pytest.raises(CorruptCheckpointError) as caught:
        load_checkpoint(path, run_key="mine")
    assert str(path) in str(caught.value)
    assert path.read_bytes() == content


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    """A foreign file can do nothing: only tensors and plain values are read."""
    path = tmp_path / "trial0.pt"
    torch.save({"run_key": "mine", "step": Path}, path)
    with pytest.raises(CorruptCheckpointError, match=r"trial0\.pt"):
        load_checkpoint(path, run_key="mine")


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_checkpoint_is_refused_or_whole(tmp_path: Path, data: st.DataObject) -> None:
    """Cut short anywhere or with a byte changed, a checkpoint never loads as another state."""
    path = tmp_path / "trial0.pt"
    save_checkpoint(path, STATE)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    else:
        # What follows is the table of contents, which has no checksum.
        n_summed = content.index(b"PK\x01\x02")
        content[data.draw(st.integers(0, n_summed - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = load_checkpoint(path, run_key="mine")
    except CorruptCheckpointError as error:
        assert str(path) in str(error)
    else:
        assert equal(STATE, loaded)


def test_a_save_that_fails_leaves_the_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fills up while a checkpoint is written costs that checkpoint only."""
    path = tmp_path / "trial0.pt"
    save_checkpoint(path, STATE)

    def fill_disk(state: object, file: BinaryIO) -> None:
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(torch, "save", fill_disk)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(path, {**STATE, "step": 4})
    assert equal(STATE, load_checkpoint(path, run_key="mine"))
    assert [file.name for file in tmp_path.iterdir()] == ["trial0.pt"]


@pytest.mark.parametrize("broken", [None, b"torn"])
def test_the_checkpoint_before_is_taken_where_the_last_is_not_in_order(
    tmp_path: Path, broken: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Whether it is torn or gone; without either a run starts from its first step."""
    path = tmp_path / "trial0.pt"
    assert resume_from(path, run_key="mine") is None
    save_checkpoint(path, STATE)
    save_checkpoint(path, {**STATE, "step": 4})
    path.unlink()
    if broken is not None:
        path.write_bytes(broken)
    assert equal(STATE, resume_from(path, run_key="mine"))
    assert resume_from(path, run_key="other") is None
    remove_checkpoint(path)
    assert list(tmp_path.iterdir()) == []
    assert ("trial0.pt cannot be read" in caplog.text) == (broken is not None)
