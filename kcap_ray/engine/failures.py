"""What becomes of a program that raised an error, or whose worker or machine was lost.

A user's mistake is final. Anything else is tried again in a fresh process, from the program's last
checkpoint: a GPU in a bad state or a file system's hiccup is over by then, and a defect fails again
soon.
"""

import logging
import re
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kcap_ray.config.errors import LONGEST
from kcap_ray.engine.nodes import BEFORE_S, NODE_DEATH_S, Nodes, Place, comes_true
from kcap_ray.runs.failure import keep_error
from kcap_ray.runs.results import CellDirectory

_logger = logging.getLogger(__name__)

MAX_FAILURES = 3
"""Times that a program may raise an error or bring its process down before it is given up."""

MAX_LOST_MACHINES = 100
"""Machines that may go away under a program without notice. Spot machines that were given notice
are not counted.
"""

_N_LOG_LINES = 3

_ACTOR = re.compile(r"actor_id: ([0-9a-f]+)|The actor ([0-9a-f]+) is unavailable")
_UNREACHABLE = re.compile(r"The actor [0-9a-f]+ is unavailable.*?(?:RPC error: (.*?) rpc_code|$)")
_NODE_END = re.compile(r"the actor's node was (?:terminated )?(?:unexpectedly: )?(.*)")
_OF_PEERS = re.compile(
    r"(ObjectLost|OwnerDied|ObjectReconstruction|ObjectFetchTimedOut|ReferenceCounting|RayletDied"
    r"|WorkerCrashed|NodeDied|ActorDied|ActorUnavailable|RaySystem)\w*Error"
    r"|Connection (closed|reset|refused)|Socket closed|Broken pipe|ncclRemoteError"
)
"""Errors that a program raises when what it needs of another node is gone."""


class ProgramError(RuntimeError):
    """An error inside a program, in one line."""


def program_error(error: Exception, directory: CellDirectory) -> ProgramError:
    """The error in one line; its traceback goes into the cell's directory."""
    return ProgramError(keep_error(error, directory))


@dataclass(frozen=True, kw_only=True)
class _Failure:
    """A failure that counts, unless a node turns out to be the cause."""

    at: float
    """Seconds since 1970."""
    is_certain: bool
    """Whether it is the program's own, whatever became of nodes."""
    place: Place | None
    """Where it ran; None: other nodes had a part in it, or that is not known."""


class FailureRecord:
    """Counts how often programs failed or lost their worker, and logs it.

    Takes errors as the text that Ray makes of them, which is what it hands on. A worker that died
    or does not answer counts as the program's own failure until its node turns out to be gone.
    """

    def __init__(
        self,
        logs: Path | None,
        nodes: Nodes | None = None,
        *,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`nodes`: of a cluster whose nodes may vanish; None where there is one, this machine."""
        self._logs, self._nodes, self._clock, self._sleep = logs, nodes, clock, sleep
        self._failures: defaultdict[str, list[_Failure]] = defaultdict(list)
        self._n_lost: defaultdict[str, int] = defaultdict(int)

    def add(self, program_id: str, error: str) -> None:
        """The program failed, or lost its worker."""
        if is_lost_machine(error):
            self._n_lost[program_id] += 1
            return
        is_raised = f"{ProgramError.__name__}: " in error
        last = error.strip().splitlines()[-1] if error.strip() else ""
        self._failures[program_id].append(
            _Failure(
                at=self._clock(),
                is_certain=is_raised and not (_OF_PEERS.search(last) or is_dead_process(last)),
                place=None if is_raised else self._place(error),
            )
        )

    def warn(self, program_id: str, cell_id: str, error: str) -> None:
        """Log that the program, whose failure has been added, starts again."""
        number = ""
        is_open = is_lost_machine(error) or _UNREACHABLE.search(error)
        if not is_open and not self._is_of_a_node(self._failures[program_id][-1]):
            number = f" (failure {self.n_own(program_id)} of at most {MAX_FAILURES})"
        _logger.warning(
            "%s: %s%s; it goes on from its last checkpoint", cell_id, self.cause(error), number
        )

    def is_given_up(self, program_id: str) -> bool:
        """Whether the program has failed too often. Waits, where that depends on a node's end,
        until the head must have noticed it.
        """
        failures = self._failures[program_id]
        if len(failures) + self._n_lost[program_id] > MAX_LOST_MACHINES:
            return True
        if self.n_own(program_id) < MAX_FAILURES:
            return False
        if self._nodes is None or all(failure.is_certain for failure in failures):
            return True
        return not comes_true(
            lambda: self.n_own(program_id) < MAX_FAILURES,
            until=failures[-1].at + NODE_DEATH_S,
            clock=self._clock,
            sleep=self._sleep,
        )

    def cause(self, error: str) -> str:
        """The error in one line, with the end of what a dead process wrote if that is available."""
        lines = [line.strip() for line in error.splitlines() if line.strip()] or ["no reason given"]
        if f"{ProgramError.__name__}: " in lines[-1]:
            return lines[-1].rpartition(f"{ProgramError.__name__}: ")[2][:LONGEST]
        fields = dict(line.split(": ", 1) for line in lines if ": " in line)
        pid, host = fields.get("pid", "?"), fields.get("ip", "?")
        if is_dead_process(error):
            written = self._last_lines(pid)
            said = f'it wrote "{written}"' if written else "was it killed for memory?"
            return f"worker process {pid} on {host} died; {said}"
        if is_lost_machine(error):
            return f"its node has died ({host}: {end_of_node(error) or lines[-1]})"[:LONGEST]
        if silent := _UNREACHABLE.search(error):
            place = self._place(error)
            host = place.host if place else "?"
            return f"its node does not answer ({host}: {silent[1] or 'no reason given'})"[:LONGEST]
        return lines[-1][:LONGEST]

    def n_own(self, program_id: str) -> int:
        """How often the program failed by itself, as far as is known now."""
        return sum(not self._is_of_a_node(failure) for failure in self._failures[program_id])

    def _is_of_a_node(self, failure: _Failure) -> bool:
        if failure.is_certain or self._nodes is None:
            return False
        if failure.place is None:
            return self._nodes.lost_since(failure.at - BEFORE_S)
        return self._nodes.is_gone(failure.place.node)

    def _place(self, error: str) -> Place | None:
        found = _ACTOR.search(error)
        if found is None or self._nodes is None:
            return None
        return self._nodes.place_of(found[1] or found[2])

    def _last_lines(self, pid: str) -> str:
        for file in self._logs.glob(f"worker-*-{pid}.err") if self._logs else ():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            # Lines that begin with a colon are Ray's own marks.
            written = [line.strip() for line in lines if line.strip() and not line.startswith(":")]
            return " / ".join(written[-_N_LOG_LINES:])[:LONGEST]
        return ""


def end_of_node(error: str) -> str:
    """What Ray says of how a node ended; empty if it says nothing."""
    found = _NODE_END.search(error)
    return found[1] if found else ""


def is_dead_process(error: str) -> bool:
    """Whether a process died on a machine that lives."""
    return "worker process has died" in error or "worker died or was killed" in error


def is_lost_machine(error: str) -> bool:
    """Whether a machine went away, which says nothing about the program."""
    return not is_dead_process(error) and "node has died" in error
