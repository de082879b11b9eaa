"""The board of capacities: what each architecture, optimizer and quantizer stores per parameter, by
data and exposures, from the tables of committed runs.
"""

import json
import re
import shlex
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.cell_tables import PART, CellTables, collect_tables
from analysis.estimate import Estimate, mean
from analysis.groups import GroupKey, split_groups
from analysis.load import load_results, read_environment, read_sweep_text
from analysis.runs import Run, group_by, runs_of
from analysis.words import dataset_words, hours_words

MIN_EXPOSURES = 100
"""What is seen less often is not on the board: it is the beginning of learning."""

_RUN = re.compile(r"^#[ \t]*Run:[ \t]*(.*?)(?:[ \t]{2,}.*)?$", re.MULTILINE)

_NO_RIVALS = (
    *("seed", "label", "workers", "micro_windows", "compile"),
    *("probe_exposures", "probe_people"),
)
"""Settings by which models are seeds of one another, or differ by rounding or in what is shown."""

_INTRODUCTION = """\
# Capacity board

Bits per parameter (R) by architecture, optimizer and quantizer: of each kind of model the best
size, number of people and other settings that the run has, as the mean over seeds with Student's
95% interval.
`make board` writes this page from the tables in `docs/results`.

- R says something of a model only beside others of the same data and exposures, and only where it
  is not near R_max, which is all there was to store.
- The best of several (column *of*) is chosen by the same seeds that are averaged.
- Two rows of one seed each do not rank their models.
- Hours are the training of all trials, fresh seeds and sizes behind a row, on the run's own
  machine, which often had other work.
- Runs of bioD from before a correction of what is credited were converted
  ([decision 0062](decisions/0062-what-is-counted.md)).

**To add a row**: run a sweep to its end, `python -m analysis compact runs/NAME docs/results/NAME`,
`make board`, and commit both. What counts: finished cells at 100 exposures or more, whatever they
show.
"""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A row of the board."""

    key: GroupKey
    n_people: int
    model: str
    """The best one."""
    n_params: int
    ratio: Estimate
    max_ratio: float
    """R_max of that model, in bits per parameter."""
    n_seeds: int
    n_models: int
    """Sizes, numbers of people and other settings that it is the best of."""
    hours: float | None
    """Of training, of all trials behind it; None of quantized models, which are trained above."""
    folder: str
    """Of the run."""
    command: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Markdown of the columns."""
        ends = self.ratio.low, self.ratio.high
        none = "one seed" if self.n_seeds < 2 else "all equal"
        interval = none if ends[0] is None else f"{ends[0]:.2f} to {ends[1]:.2f}"
        weights = "as trained" if self.key.quantization == "none" else self.key.quantization
        return (
            self.key.family,
            weights,
            f"**{self.ratio.value:.2f}**",
            interval,
            f"{self.max_ratio:.2f}",
            self.model,
            f"{self.n_params:,}",
            f"{self.n_people:,}",
            str(self.n_seeds),
            str(self.n_models),
            "" if self.hours is None else hours_words(self.hours),
            f"`{self.folder}`",
        )


COLUMNS = {
    "architecture": "---",
    "weights": "---",
    "R": "--:",
    "95%": "---",
    "R_max": "--:",
    "best model": "---",
    "parameters": "--:",
    "people": "--:",
    "seeds": "--:",
    "of": "--:",
    "hours": "--:",
    "run": "---",
}
"""Headings of a table, and how each column is aligned."""


def read_entries(directory: Path) -> list[Entry]:
    """The entries of one run directory, which may be compact. Raises `ResultsError`."""
    used = load_results([directory]).used
    used = used[used["exposures"] >= MIN_EXPOSURES]
    if used.empty:
        return []
    hours = hours_of(used)
    return [
        _entry(key, rows, hours if key.quantization == "none" else None, directory)
        for key, rows in split_groups(used)
    ]


def _entry(
    key: GroupKey, rows: pd.DataFrame, hours: dict[str, float] | None, directory: Path
) -> Entry:
    runs = runs_of(rows)
    models = dict(zip((run.cell for run in runs), rows["model"], strict=True))
    settings = dict(zip(map(id, runs), map(_but_for_seeds, rows.to_dict("records")), strict=True))
    tried = group_by(runs, lambda run: (run.size, run.n_people, settings[id(run)]))
    best = max(tried.values(), key=lambda own: mean(_ratios(own)).value)
    ratios = _ratios(best)
    return Entry(
        key=key,
        n_people=best[0].n_people,
        model=str(models[best[0].cell]),
        n_params=best[0].n_params,
        ratio=mean(ratios),
        max_ratio=best[0].max_ratio,
        n_seeds=len(ratios),
        n_models=len(tried),
        hours=None if not hours else sum(hours.get(run.cell[1], 0.0) for run in runs),
        folder=directory.name,
        command=command_of(directory),
    )


def _but_for_seeds(row: Mapping[Hashable, object]) -> str:
    """Data, model and training, in which rows that are seeds of one another are alike."""
    config = row.get("config")
    settings = json.loads(config) if isinstance(config, str) else {}
    parts = {name: settings.get(name) or {} for name in ("data", "model", "train")}
    return json.dumps(
        {
            part: {name: value for name, value in own.items() if name not in _NO_RIVALS}
            for part, own in parts.items()
        },
        sort_keys=True,
    )


def _ratios(runs: Sequence[Run]) -> list[float]:
    """R of each seed of one size: of each row, or where it is one row the fresh seeds of it; of
    several rows of one seed, their mean.
    """
    if len(runs) == 1 and runs[0].fresh:
        return [ratio for _, ratio in runs[0].fresh]
    seeds = group_by(runs, lambda run: run.replicate).values()
    return [sum(run.ratio for run in own) / len(own) for own in seeds]


def hours_of(rows: pd.DataFrame) -> dict[str, float]:
    """Hours that each cell has trained, fresh seeds too; nothing of runs without a trials table."""
    return {cell_id: float(own["hours"].sum()) for cell_id, own in _trained(rows)}


def seed_hours_of(rows: pd.DataFrame) -> dict[str, float]:
    """Hours that one seed more of each cell takes: as a run after its search did, where there were
    any; else as long as the search, which every seed has to itself.
    """
    after = {cell_id: own.loc[own[PART].notna(), "hours"] for cell_id, own in _trained(rows)}
    whole = hours_of(rows)
    return {
        cell_id: float(own.mean()) if len(own) else whole[cell_id] for cell_id, own in after.items()
    }


def _trained(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """Cells and their runs of training, with their `hours`: of fused ones, each has its share."""
    found, _ = collect_tables(rows.drop_duplicates(["run_dir", "cell_id"]), CellTables.trained)
    for row, own in found:
        if {"train_time_s", "n_trials_fused"} <= set(own.columns):
            hours = own["train_time_s"] / own["n_trials_fused"] / 3600
            yield str(row["cell_id"]), own.assign(hours=hours)


def command_of(directory: Path) -> str:
    """The last one that the environment has kept, or that the sweep's first lines say."""
    command = read_environment(directory).get("command", [])
    if isinstance(command, list) and command:
        return shlex.join(map(str, command))
    match = _RUN.search(read_sweep_text(directory))
    return match[1] if match else "see its page"


def render(entries: Iterable[Entry]) -> str:
    """The page: a section for each number of exposures and data set, the largest R first; what has
    no other beside it comes together in the last one.
    """
    settings = _by_setting(_without_copies(entries))
    parts, alone = [_INTRODUCTION], []
    for (exposures, dataset), own in settings.items():
        setting = f"{exposures:g} exposures, {dataset_words(dataset)}"
        if len(own) == 1:
            alone.append((setting, *own[0].cells))
        else:
            parts.append(f"\n## {setting}\n\n{markdown_table([one.cells for one in own])}")
    if alone:
        columns = {"exposures and data": "---", **COLUMNS}
        parts.append(f"\n## Alone at their exposures and data\n\n{markdown_table(alone, columns)}")
    commands = sorted({(one.folder, one.command) for own in settings.values() for one in own})
    rows = [(f"`{folder}`", f"`{command}`") for folder, command in commands]
    parts.append(f"\n## Commands\n\n{markdown_table(rows, {'run': '---', 'command': '---'})}")
    return "".join(parts)


def _without_copies(entries: Iterable[Entry]) -> list[Entry]:
    """Cells that one run took over from another, or trained again to the same bits, stand once, in
    the first run.
    """
    found: dict[tuple[object, ...], Entry] = {}
    for one in entries:
        found.setdefault((one.key, one.model, one.n_people, one.ratio), one)
    return list(found.values())


def _by_setting(entries: Iterable[Entry]) -> dict[tuple[float, str], list[Entry]]:
    """Entries that can be compared, the most exposures first, and of each the largest R first."""
    found: dict[tuple[float, str], list[Entry]] = {}
    for one in sorted(entries, key=lambda one: -one.ratio.value):
        found.setdefault((one.key.exposures, one.key.dataset), []).append(one)
    return dict(sorted(found.items(), key=lambda pair: (-pair[0][0], pair[0][1])))


def markdown_table(rows: Sequence[Sequence[str]], columns: Mapping[str, str] = COLUMNS) -> str:
    """Lines of a table; `columns` says how each heading is aligned."""
    lines = [[*columns], [*columns.values()], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
