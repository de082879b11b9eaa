"""The fit of a device to its step times."""

import dataclasses

import pytest

from kcap_ray.planning.cost import device_of
from kcap_ray.planning.step_work import TERMS

TRUE = {
    "step": 2e-4,
    "operators": 1.5e-5,
    "values": 3e-10,
    "block_flop": 1.2e-11,
    "mixer_flop": 4e-12,
    "head_flop": 1e-11,
    "head_values": 3e-9,
    "scores": 4e-9,
    "held_scores": 8e-9,
    "routing": 8e-8,
    "weights": 2e-9,
    "muon_flop": 1.5e-11,
}


@pytest.fixture
def fitting(load):
    """The script that fits."""
    return load("device_fit")


@pytest.fixture
def records_of(load):
    """From coefficients to the shapes for a CPU, with the times that they give."""
    shapes, work_of = load("step_shapes").cpu_shapes(), load("device_fit").work_of

    def records(seconds):
        found = []
        for record in map(dataclasses.asdict, shapes):
            work = work_of(record)
            found.append({**record, "step_s": sum(s * work[term] for term, s in seconds.items())})
        return found

    return records


def test_fit_recovers_the_coefficients_that_made_the_times(fitting, records_of):
    """The shapes tell all kinds of work apart: without noise every coefficient comes back."""
    assert set(TRUE) == set(TERMS)
    assert fitting.fit(records_of(TRUE)) == pytest.approx(TRUE, rel=1e-6)


def test_shapes_for_a_gpu_tell_all_kinds_of_work_apart(fitting, load):
    """Of them too every coefficient comes back, at times such as a GPU takes."""
    records = []
    fast = {term: value * 1e-3 for term, value in TRUE.items()} | {"operators": 2.5e-6}
    for record in map(dataclasses.asdict, load("step_shapes").gpu_shapes()):
        work = fitting.work_of(record)
        records.append({**record, "step_s": sum(s * work[term] for term, s in fast.items())})
    assert fitting.fit(records) == pytest.approx(fast, rel=1e-4)


@pytest.mark.slow
def test_left_out_shapes_are_predicted_by_the_others(fitting, records_of):
    """Without noise exactly, one at a time."""
    records = records_of(TRUE)
    assert fitting.left_out_ratios(records) == pytest.approx([1.0] * len(records))


def test_no_coefficient_is_negative(fitting, records_of):
    """Times that some work would have to shorten are fitted without that work."""
    seconds = fitting.fit(records_of({**TRUE, "weights": -1e-9}))
    assert min(seconds.values()) == 0


@pytest.mark.slow
def test_written_device_is_read_by_the_plan(fitting, records_of, tmp_path):
    """The file that the benchmark writes is the one that `--device` takes."""
    made_by = {
        "date": "2026-01-02T03:04:05+00:00",
        "git_commit": "abc",
        "versions": {"torch": "2.13"},
        "machine": {"system": "Linux", "processor": "a processor", "cpus": 2},
    }
    path = tmp_path / "own.yaml"
    device = fitting.device_from(
        records_of(TRUE),
        name="own",
        is_gpu=False,
        start_s=0.25,
        compiled_ratio=0.7,
        made_by=made_by,
    )
    fitting.write_device(device, path)
    assert device_of(str(path)) == device
    assert device.unit == "core" and device.is_measured
