"""A sample of what `make survival` does: one event of every kind in one process, and one on Ray."""

import random
from pathlib import Path

import pytest

from tests.survival import events, on_ray
from tests.survival.places import can_mount
from tests.survival.scene import Scene, load_all, undisturbed

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The run that nothing happens to."""
    load_all()
    return undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.mark.parametrize("name", events.EVENTS)
def test_the_same_command_gives_the_undisturbed_table(
    name: str, whole: Scene, tmp_path: Path
) -> None:
    """Whatever happened to the run before."""
    if name in events.NEEDS_MOUNT and not can_mount(tmp_path):
        pytest.skip("this machine lets its users make no file systems")
    scene = Scene(tmp_path, random.Random(f"0 {name}"), whole.expected, takes_s=whole.takes_s)
    events.EVENTS[name](scene)
    scene.check()


def test_a_lost_session_is_begun_again(tmp_path: Path) -> None:
    """Ray's `gcs_server` is killed under a sweep."""
    whole = on_ray.RayScene(tmp_path / "whole", random.Random(0), [])
    whole.folder.mkdir()
    command = on_ray.Command("run-cell", whole.sweep, "--out", whole.out)
    assert on_ray.finish(command) == 0, command.stderr
    (tmp_path / "killed").mkdir()
    scene = on_ray.RayScene(tmp_path / "killed", random.Random(0), whole.table())
    on_ray.EVENTS["Ray: gcs_server killed"](scene)
    scene.check()
