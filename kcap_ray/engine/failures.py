"""What becomes of a program that raised an error, or whose worker or machine was lost.

A user's mistake is final. Anything else is tried again in a fresh process, from the program's last
checkpoint: a GPU in a bad state or a file system's hiccup is over by then, and a defect fails again
soon.
"""

import logging
import traceback
from collections import Counter
from pathlib import Path

from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.results import CellDirectory

_logger = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Times that a program may raise an error or bring its process down before it is given up."""

MAX_LOST_MACHINES = 100
"""Machines that may go away under a program without notice. Spot machines that were given notice
are not counted.
"""

_N_LOG_LINES = 3
_LONGEST = 300


class ProgramError(RuntimeError):
    """An error inside a program, in one line."""


def program_error(error: Exception, directory: CellDirectory) -> ProgramError:
    """The error in one line; its traceback goes into the cell's directory."""
    text = "".join(traceback.format_exception(error))
    write_atomically(directory.error_file, text)
    return ProgramError(f"{one_line(error)} (see cells/{directory.path.name}/error.txt)")


def one_line(error: BaseException) -> str:
    """Type and first line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:_LONGEST]}" if lines else type(error).__name__


class FailureRecord:
    """Counts how often programs failed or lost their worker, and logs it.

    Takes errors as the text that Ray makes of them, which is what it hands on.
    """

    def __init__(self, logs: Path | None) -> None:
        self._logs = logs
        self._n_failures: Counter[str] = Counter()

    def add(self, program_id: str, cell_id: str, error: str) -> None:
        """The program failed, or lost its worker, and is about to start again."""
        number = ""
        if not is_lost_machine(error):
            self._n_failures[program_id] += 1
            number = f" (failure {self._n_failures[program_id]} of at most {MAX_FAILURES})"
        _logger.warning(
            "%s: %s%s; it goes on from its last checkpoint", cell_id, self.cause(error), number
        )

    def is_last_chance(self, program_id: str) -> bool:
        """Whether the program is given up when it fails once more."""
        return self._n_failures[program_id] >= MAX_FAILURES - 1

    def cause(self, error: str) -> str:
        """The error in one line, with the end of what a dead process wrote if that is available."""
        lines = [line.strip() for line in error.splitlines() if line.strip()] or ["no reason given"]
        if not is_dead_process(error) or f"{ProgramError.__name__}: " in lines[-1]:
            return lines[-1].rpartition(f"{ProgramError.__name__}: ")[2][:_LONGEST]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        pid, host = fields.get("pid", "?"), fields.get("ip", "?")
        written = self._last_lines(pid)
        said = f'it wrote "{written}"' if written else "was it killed for memory?"
        return f"worker process {pid} on {host} died; {said}"

    def _last_lines(self, pid: str) -> str:
        for file in self._logs.glob(f"worker-*-{pid}.err") if self._logs else ():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            # Lines that begin with a colon are Ray's own marks.
            spoken = [line.strip() for line in lines if line.strip() and not line.startswith(":")]
            return " / ".join(spoken[-_N_LOG_LINES:])[:_LONGEST]
        return ""


def is_dead_process(error: str) -> bool:
    """Whether a process died on a machine that lives."""
    return "worker process has died" in error or "worker died or was killed" in error


def is_lost_machine(error: str) -> bool:
    """Whether a machine went away, which says nothing about the program."""
    return not is_dead_process(error) and "node has died" in error
