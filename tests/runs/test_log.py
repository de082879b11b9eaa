import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kcap_ray.runs import log

_logger = logging.getLogger("kcap_ray.of.a.test")
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} (INFO|WARNING|ERROR) .*")


def lines_of(directory: Path) -> list[str]:
    """The lines of its log."""
    return (directory / log.FILE).read_text(encoding="utf-8").splitlines()


def test_every_line_has_its_time_and_a_second_command_adds_to_the_first(tmp_path: Path) -> None:
    """The command and how it ended stand in the run's own file."""
    for end in (None, ValueError("no room")):
        try:
            with log.command_logged_to(tmp_path), log.logged_to(tmp_path):
                _logger.info("half of it")
                if end is not None:
                    raise end
        except ValueError:
            pass
    lines = lines_of(tmp_path)
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line.split()[2] for line in lines] == ["INFO"] * 5 + ["ERROR"]
    assert [line.split(maxsplit=3)[3] for line in (lines[1], lines[4])] == ["half of it"] * 2
    assert lines[-1].endswith("ended by ValueError: no room")
    _logger.info("after it")
    assert lines_of(tmp_path) == lines


def test_a_log_that_cannot_be_written_costs_a_warning_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not the run."""
    (tmp_path / log.FILE).mkdir()
    with log.command_logged_to(tmp_path):
        _logger.warning("goes on")
    assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is full")
def test_a_full_disk_ends_no_run(tmp_path: Path) -> None:
    """Nor does it say so with every line."""
    (tmp_path / log.FILE).symlink_to("/dev/full")
    code = (
        "import logging, pathlib; from kcap_ray.runs import log; log.log_to_standard_error()\n"
        f"with log.logged_to(pathlib.Path({str(tmp_path)!r})):\n"
        "    logging.getLogger('kcap_ray.x').info('goes on')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 1


def test_standard_error_gets_each_line_once(capsys: pytest.CaptureFixture[str]) -> None:
    """However often a command begins in a process; standard output gets none."""
    for _ in range(2):
        log.log_to_standard_error()
    _logger.info("a line")
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and LINE.fullmatch(captured.err.strip())
    assert captured.out == ""
