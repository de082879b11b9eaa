"""Devices: the files that describe them, and what they make of a step."""

import pytest
import yaml

from kcap_ray.config.errors import UserError
from kcap_ray.models.spec import parse_model
from kcap_ray.planning.cost import BUILT_IN, Device, device_of, flops_per_token
from kcap_ray.planning.step_work import TERMS

FIELDS = {
    "name": "mine",
    "unit": "core",
    "precision": "fp32",
    "source": "a test",
    "seconds": {"step": 1e-3, "block_flop": 1e-11},
}


@pytest.fixture
def written(tmp_path):
    """Writes a device file, FIELDS with changes (None leaves a key out), and names it."""

    def write(**changes):
        path = tmp_path / "mine.yaml"
        fields = {k: v for k, v in {**FIELDS, **changes}.items() if v is not None}
        path.write_text(yaml.safe_dump(fields))
        return str(path)

    return write


def test_a_file_reads_as_the_device_that_it_describes(written):
    """Every field comes back; work that the file leaves out takes no time."""
    device = device_of(written(error=0.1, start_s=2.0))
    assert device == Device(**FIELDS, error=0.1, start_s=2.0)
    assert device.is_measured and not device_of(written()).is_measured


@pytest.mark.parametrize("name", BUILT_IN)
def test_step_takes_longer_with_more_tokens_layers_and_trials(name):
    """Time of a step grows with each of them, and is never below that of launching it."""
    small, deep = (parse_model(f"gpt2-{n}-2", head_dim=64, vocab_size=3275) for n in (2, 20))
    device = device_of(name)
    times = [
        device.step_s(spec, tokens=tokens, window_tokens=512, n_trials=n_trials)
        for spec, tokens, n_trials in (
            (small, 0, 1),
            (small, 512, 1),
            (small, 6144, 1),
            (deep, 6144, 1),
            (deep, 6144, 3),
        )
    ]
    assert times[0] > 0 and times == sorted(set(times))


def test_a100_gives_back_the_step_that_was_reported():
    """GPT-2 small with its own vocabulary, 16 windows of 1,024 tokens: 90 ms, to a tenth."""
    spec = parse_model("gpt2-12-12", head_dim=64, vocab_size=50_304)
    step_s = device_of("a100").step_s(spec, tokens=16_384, window_tokens=1_024)
    assert step_s == pytest.approx(0.090, rel=0.1)


def test_operations_match_the_closed_formula_of_gpt2():
    """6 (12 L d^2 + V d) + 12 L d T per token, biases and norms aside."""
    spec = parse_model("gpt2-12-12", head_dim=64, vocab_size=3275)
    closed = 6 * (12 * 12 * 768**2 + 3275 * 768) + 12 * 12 * 768 * 512
    assert flops_per_token(spec, 512) == pytest.approx(closed, rel=0.01)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seconds": {"stp": 1.0}}, "did you mean step"),
        ({"seconds": {"step": -1.0}}, "not negative"),
        ({"seconds": {"step": "fast"}}, "not negative"),
        ({"seconds": {"step": True}}, "not negative"),
        ({"seconds": {"step": float("inf")}}, "not negative"),
        ({"seconds": {"step": 0.0}}, "all are 0"),
        ({"seconds": 3}, "for each kind of work"),
        ({"seconds": None}, "seconds: missing"),
        ({"unit": "rack"}, "device, core"),
        ({"precision": "int8"}, "fp32, bf16, fp16"),
        ({"error": -0.1}, "not negative"),
        ({"start": 3}, "did you mean start_s"),
    ],
)
def test_a_wrong_file_is_answered_with_what_to_write(written, changes, said):
    """One or two lines that name the file, and what is allowed."""
    with pytest.raises(UserError, match=said) as raised:
        device_of(written(**changes))
    assert "mine.yaml" in str(raised.value) and str(raised.value).count("\n") < 2


def test_a_file_that_is_not_there_is_named():
    """A path is taken for a file, whatever it ends with."""
    for name in ("./mine", "mine.yaml"):
        with pytest.raises(UserError, match=r"mine.*there is no such file"):
            device_of(name)


def test_coefficients_of_built_in_devices_name_every_work_that_they_do_not_leave_out():
    """A term that is new or renamed is missed in no file: each has what tells models apart."""
    for name in BUILT_IN:
        seconds = device_of(name).seconds
        assert set(seconds) <= set(TERMS)
        assert all(seconds[term] > 0 for term in ("operators", "block_flop", "values"))
