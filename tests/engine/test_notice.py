"""Notice that a machine will be taken away: those who train save."""

import threading
from pathlib import Path

from kcap_ray.engine.notice import saves_on_notice
from kcap_ray.runs.interrupt import request_file
from kcap_ray.runs.results import RunDirectory


def test_everything_is_saved_when_a_node_is_to_go(tmp_path: Path) -> None:
    """Once for each node, whatever goes wrong in between; not while none is to go."""
    run = RunDirectory(tmp_path)
    run.prepare()
    request = request_file(run.cell("any"))
    answers = iter([{}, RuntimeError("no answer"), {"a": 0}, {"a": 0}, {"a": 0, "b": 0}])
    seen: list[bool] = []
    is_done = threading.Event()

    def draining() -> dict[str, int]:
        seen.append(request.exists())
        request.unlink(missing_ok=True)
        answer = next(answers, None)
        if isinstance(answer, RuntimeError):
            raise answer
        if answer is None:
            is_done.set()
            return {}
        return answer

    with saves_on_notice(run, draining, every_s=0.01):
        assert is_done.wait(30)
    assert seen[:6] == [False, False, False, True, False, True]
