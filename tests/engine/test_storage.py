"""What Ray writes of a run goes into a folder that only kcap deletes."""

from kcap_ray.engine.storage import clear_storage, storage_of
from kcap_ray.runs.results import RunDirectory


def test_a_folder_of_the_users_is_left_alone(tmp_path):
    """Whatever it is called; ours is the same from call to call, and goes as a whole."""
    run = RunDirectory(tmp_path)
    for name in ("ray", storage_of(RunDirectory(tmp_path)).name):
        clear_storage(run)
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("mine")
    own = storage_of(run)
    (own / "tune").mkdir()
    assert storage_of(run) == own
    clear_storage(run)
    assert not own.exists()
    assert [path.read_text() for path in sorted(tmp_path.glob("*/*"))] == ["mine", "mine"]
