"""Programs of a search that ended before earlier ones had: what is done of a cell, and what of it
is in its ledger.
"""

from kcap_ray.execution.ahead import done_ahead, take_in
from kcap_ray.planning.jobs import Job
from kcap_ray.runs.results import RunDirectory


class RanAhead:
    """Of each cell of a run the programs that ran ahead and have ended."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._ended: dict[str, dict[int, int]] = {}
        """First trial -> trials, by cell."""

    def add(self, cell_id: str, first_trial: int, n_trials: int) -> None:
        """A program that ran ahead has ended."""
        self._ended.setdefault(cell_id, {})[first_trial] = n_trials

    def take_in(self, cell_id: str) -> None:
        """Move into the ledger what ran ahead, as far as nothing before it is missing."""
        directory, ended = self._run.cell(cell_id), self._ended.get(cell_id, {})
        while ended and (first := len(directory.trials())) in ended:
            take_in(directory, first)
            del ended[first]

    def done_trials(self, job: Job) -> frozenset[int]:
        """Trials of the cell's search that are done, in the ledger or ahead of it, which is brought
        up to date.
        """
        directory = self._run.cell(job.cell_id)
        ahead = done_ahead(directory)
        for first, n_trials in job.programs():
            if first < job.n_trials and ahead.get(first, 0) >= n_trials:
                self.add(job.cell_id, first, n_trials)
        self.take_in(job.cell_id)
        done = set(range(min(len(directory.trials()), job.n_trials)))
        for first, n_trials in self._ended.get(job.cell_id, {}).items():
            done |= set(range(first, first + n_trials))
        return frozenset(done)
