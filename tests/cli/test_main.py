"""The verbs as a stranger uses them: mistakes get one or two helpful lines and exit status 2."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from kcap_ray.cli.main import app
from kcap_ray.runs.manifest import only_driver
from kcap_ray.runs.results import RunDirectory

SWEEP = """\
# Question: what does a stranger do?
name: strange
base:
  data: {kind: bioD, pools: mini, n_people: 20, K: 2, C: 1, D: 5, L: 1, T: 100, style: compact}
  model: gpt2-1-1
  model.head_dim: 16
  train: {exposures: 2, lr: 1.0e-3, weight_decay: 0.1, batch_windows: 2, precision: fp32}
  train.window_tokens: 32
grid:
  seed: [0, 1]
"""


@pytest.fixture
def sweep(tmp_path):
    """A sweep file without mistakes."""
    path = tmp_path / "strange.yaml"
    path.write_text(SWEEP)
    return path


def run(*arguments):
    """A verb's result: exit_code, stdout, stderr."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refused(*arguments):
    """What is said to a command that cannot be obeyed: at most two lines, exit status 2."""
    done = run(*arguments)
    assert done.exit_code == 2, done.output
    assert isinstance(done.exception, SystemExit)
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    return done.stderr


MISTAKES = [
    ("train.exposure=3", ["train.exposure", "train.exposures"]),
    ("train.learning_rate=3", ["train.learning_rate", "train.lr"]),
    ("train.exposures=many", ["train.exposures", "many"]),
    ("train.exposures=0", ["train.exposures", "0"]),
    ("data.n_people=1_000_000_000", ["n_people"]),
    ("data.T=1_000_000", ["data.T"]),
    ("name=..", ["name", ".."]),
    ("data.kind=bioX", ["bioX", "bioS", "bioD"]),
    ("data.pools=nowhere", ["nowhere", "mini"]),
    ("model=gpt2-1", ["gpt2-1"]),
    ("model=gpt9-1-1", ["gpt9", "gpt2"]),
    ("model=gpt2-0-1", ["gpt2-0-1"]),
    ("train.workers=99", ["train.workers: 99", "train.batch_windows"]),
    ("tune.trials=3", ["tune.trials", "tune.lr"]),
    ("no-equals-sign", ["no-equals-sign", "key=value"]),
    ("=3", ["key=value"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("setting", "words"), MISTAKES, ids=[setting for setting, _ in MISTAKES])
def test_mistake_in_a_setting_is_explained(sweep, tmp_path, setting, words):
    """Before anything is made, the message repeats what is wrong and names what is right."""
    out = tmp_path / "run"
    message = refused("sweep", sweep, "--set", setting, "--out", out)
    for word in words:
        assert word in message
    assert not (out / "results.parquet").exists()
    # `sweep` says first what it is about to do.
    assert message.endswith(refused("plan", sweep, "--set", setting))


@pytest.mark.parametrize(
    "text",
    [
        "name: broken\nbase: [unclosed",
        "name: broken\nbase:\n\tmodel: gpt2-1-1",
        "just some words",
        "",
        "- a\n- list",
        "\0\1",
        SWEEP.replace("seed: [0, 1]", "seed: []"),
        SWEEP.replace("grid:", "gird:"),
        SWEEP.replace("  model: gpt2-1-1\n", ""),
    ],
)
def test_broken_sweep_file_is_refused_by_name(tmp_path, text):
    """Whatever is in the file: its name, or the key at fault, and no traceback."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    message = refused("plan", path)
    assert "broken.yaml" in message or "model" in message or "seed" in message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "nowhere.yaml"], ["nowhere.yaml"]),
        (["plan", "."], ["directory"]),
        (["status", "."], ["not a run directory"]),
        (["status", "nowhere"], ["nowhere"]),
        (["report", "."], ["results.parquet"]),
        (["report", "nowhere"], ["nowhere"]),
        (["export", "nowhere", "out"], ["nowhere"]),
        (["swep", "a.yaml"], ["swep", "sweep"]),
        (["plan"], ["SWEEP"]),
    ],
)
def test_wrong_path_or_verb_is_named(tmp_path, monkeypatch, arguments, words):
    """In an empty directory there is nothing to plan, show, report or export."""
    monkeypatch.chdir(tmp_path)
    message = refused(*arguments)
    for word in words:
        assert word in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plan", "--device", "abacus"], ["abacus", "a100"]),
        (["plan", "--prices", "nowhere.yaml"], ["nowhere.yaml"]),
        (["plan", "--devices", "8", "--max-hours", "inf"], ["--max-hours", "finite"]),
        (["simulate", "--devices", "8", "--max-cost", "inf"], ["--max-cost", "finite"]),
        (["simulate", "--devices", "8", "--spot-loss-per-hour", "inf"], ["--spot-loss", "finite"]),
        (["simulate", "--devices", "8", "--save-every", "inf"], ["--save-every", "finite"]),
        (["simulate", "--devices", "8", "--boot-minutes", "inf"], ["--boot-minutes", "finite"]),
        (["simulate", "--devices", "8", "--idle-minutes", "inf"], ["--idle-minutes", "finite"]),
        (["simulate", "--devices", "8", "--spot-loss-per-hour", "1e9"], ["--save-every"]),
        (["sweep", "--max-hours", "nan"], ["--max-hours"]),
        (["sweep", "--device", "abacus"], ["abacus", "gpu"]),
        (["sweep", "--colour", "red"], ["--colour"]),
        (["run-cell", "--cell", "nonesuch"], ["nonesuch", "bioD-n20"]),
        (["data", "--cell", "nonesuch"], ["nonesuch", "bioD-n20"]),
        (["data", "--n", "0"], ["--n"]),
        (["data", "--split", "test"], ["test", "eval"]),
        (["data", "--out", "nowhere/deep/file"], ["nowhere/deep/file"]),
    ],
)
def test_wrong_option_is_explained(sweep, tmp_path, monkeypatch, arguments, words):
    """The message repeats the option or its value and says what is allowed."""
    monkeypatch.chdir(tmp_path)
    verb, *options = arguments
    message = refused(verb, sweep, *options)
    for word in words:
        assert word in message


@pytest.mark.parametrize("verb", ["sweep", "run-cell"])
def test_directory_that_cannot_be_written_is_refused(sweep, tmp_path, verb):
    """A path below a file is no directory, even for root."""
    (tmp_path / "file").touch()
    assert "--out" in refused(verb, sweep, "--out", tmp_path / "file" / "run")


@pytest.mark.parametrize("verb", ["sweep", "run-cell"])
def test_second_driver_of_a_directory_is_refused(sweep, tmp_path, verb):
    """Two of them would train the same cells and overwrite each other's rows."""
    RunDirectory(tmp_path / "run").prepare()
    with only_driver(tmp_path / "run"):
        assert "another kcap" in refused(verb, sweep, "--out", tmp_path / "run")


def test_address_without_a_cluster_is_refused(sweep, tmp_path):
    """In one line that repeats the address, and not after a minute."""
    message = refused("sweep", sweep, "--out", tmp_path / "run", "--address", "127.0.0.1:1")
    assert "127.0.0.1:1" in message


@pytest.mark.slow
def test_finished_sweep_needs_no_ray(sweep, tmp_path):
    """Cells that are done, by whichever verb, are not run again: `sweep` only writes the table."""
    out = tmp_path / "run"
    one_by_one = run("run-cell", sweep, "--out", out, "--cell", "*-s0-*")
    assert one_by_one.exit_code == 0, one_by_one.output
    assert "1 of 2 cells done" in run("status", out).stdout
    assert run("run-cell", sweep, "--out", out).exit_code == 0
    done = run("sweep", sweep, "--out", out, "--address", "127.0.0.1:1")
    assert done.exit_code == 0, done.output
    assert "2 of 2 cells done" in run("status", out).stdout
    told = run("sweep", sweep, "--out", out, "--address", "127.0.0.1:1", "--json")
    assert [(row["seed"], row["status"]) for row in json.loads(told.stdout)] == [
        (0, "ok"),
        (1, "ok"),
    ]


def test_plan_as_json_has_a_row_per_cell(sweep):
    """For programs: a list of objects, with the names of the table's columns."""
    rows = json.loads(run("plan", sweep, "--json").stdout)
    assert [row["seed"] for row in rows] == [0, 1]
    assert {"cell_id", "n_params", "demand_bits", "device_hours", "price"} <= set(rows[0])


def test_plan_says_how_many_seeds_a_difference_needs(sweep):
    """Where it is asked to; a difference of nothing is a mistake."""
    assert "seeds" not in run("plan", sweep).stdout
    assert "5% more" in run("plan", sweep, "--power", "0.05").stdout
    assert run("plan", sweep, "--power", "0").exit_code == 2
    for options in ([], ["--devices", "4"]):
        found = json.loads(run("plan", sweep, "--power", "0.05", "--json", *options).stdout)
        assert len(found["cells"]) == 2
        assert [one["difference"] for one in found["seeds"]] == [0.05]
        assert found["seeds"][0]["n_seeds"] >= 2


def test_dry_run_shows_the_plan_and_makes_nothing(sweep, tmp_path):
    """`sweep --dry-run` is `plan`, as JSON too."""
    rows = json.loads(run("sweep", sweep, "--dry-run", "--json").stdout)
    assert [row["seed"] for row in rows] == [0, 1]
    done = run("sweep", sweep, "--dry-run", "--out", tmp_path / "run")
    assert done.stdout == run("plan", sweep).stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_planning_loads_neither_torch_nor_ray(sweep):
    """So that it answers at once; the same holds for `status` and for --help."""
    code = (
        "import sys; from kcap_ray.cli.main import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code\n"
        "print(sorted({'torch', 'ray', 'transformers', 'optuna', 'matplotlib'} & set(sys.modules)))"
    )
    for arguments in (["plan", str(sweep)], ["--help"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[]", arguments


@pytest.mark.slow
def test_reader_that_stops_early_is_no_error(sweep):
    """`kcap data ... | head -1` ends quietly."""
    command = [sys.executable, "-m", "kcap_ray.cli", "data", str(sweep), "--n", "20"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 0
    process.stderr.close()


def test_version_is_one_line():
    """Before any verb is asked for."""
    done = run("--version")
    assert done.exit_code == 0
    assert done.stdout.startswith("kcap ")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("kcap pla", {"plan"}),
        ("kcap plan quick", {"quickstart"}),
        ("kcap sweep stra", {"strange.yaml"}),
        ("kcap plan b", {"beyond100", "biod", "bior", "bios_10k", "bios_simple", "beside/"}),
        ("kcap measure model --data quick", {"quickstart"}),
        ("kcap plan [", set()),
    ],
)
def test_shells_complete_verbs_sweeps_and_files(sweep, monkeypatch, words, expected):
    """As bash asks: names of sweeps that come with kcap, sweep files and folders."""
    monkeypatch.chdir(sweep.parent)
    (sweep.parent / "beside").mkdir()
    asked = {
        "_KCAP_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = CliRunner().invoke(app, [], prog_name="kcap", env=asked)
    assert set(done.stdout.split()) == expected
