"""Trials of a search that run before earlier ones are done: each program in a part of its cell's
directory, so that no two write the same file, until the ledger has come so far.
"""

import dataclasses

from kcap_ray.runs.files import fetch, move, remove_tree
from kcap_ray.runs.record import best_trial
from kcap_ray.runs.results import AHEAD, CellDirectory


def ahead_of(directory: CellDirectory, first_trial: int) -> CellDirectory:
    """Where a program that runs ahead keeps its trials, which count from 0 there."""
    return directory.part(f"{AHEAD}{first_trial}")


def done_ahead(directory: CellDirectory) -> dict[int, int]:
    """Programs that ran ahead: first trial -> trials that are done."""
    found = {}
    for place in directory.parts():
        number = place.path.name.removeprefix(AHEAD)
        if number.isdigit() and place.path.name != number:
            found[int(number)] = len(place.trials())
    return found


def take_in(directory: CellDirectory, first_trial: int) -> None:
    """Move a program's trials into the cell's ledger, and weights and curve of their best if that
    is the cell's best by now. A command that is killed meanwhile is done with by the next one.
    """
    place, trials = ahead_of(directory, first_trial), directory.trials()
    if len(trials) == first_trial:
        records = [
            dataclasses.replace(record, trial=first_trial + index)
            for index, record in enumerate(place.trials())
        ]
        best = best_trial([*trials, *records])
        if best is not None and any(best is record for record in records):
            _move(place, directory)
        _move_logs(place, directory, {index: one.trial for index, one in enumerate(records)})
        directory.add_trials(records)
    remove_tree(place.path)


def _move_logs(place: CellDirectory, directory: CellDirectory, numbers: dict[int, int]) -> None:
    """Curves and event files of the trials, under the numbers that they have in the cell."""
    fetch(place.path / "curves")
    for own, number in numbers.items():
        moves = {
            place.curve_file(own): directory.curve_file(number),
            place.event_files / f"trial{own}": directory.event_files / f"trial{number}",
        }
        for source, target in moves.items():
            if not source.exists():
                continue
            if target.is_dir():
                remove_tree(target)
            move(source, target)


def _move(place: CellDirectory, directory: CellDirectory) -> None:
    if place.history_file.is_file():
        move(place.history_file, directory.history_file)
    if place.checkpoint.is_dir():
        remove_tree(directory.checkpoint)
        move(place.checkpoint, directory.checkpoint)
