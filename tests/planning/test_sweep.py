"""Sweep files: what they expand to, and how mistakes in them are answered."""

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.models.spec import parse_model
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.text.stream.corpus import facts_of

COMPLETE = """\
# Question: does it expand?
name: demo
base:
  data.kind: bioS
  data.pools: mini
  train: {exposures: 20, lr: 1e-3, weight_decay: 0.01, batch_windows: 8, precision: fp32}
  train.window_tokens: 128
grid:
  data.n_people: [100, 200]
  model: [gpt2-1-1, gpt2-2-1, gpt2-2-2]
"""

HUNDRED = ", ".join(map(str, range(1, 101)))
SIX_AXES = COMPLETE[: COMPLETE.index("grid:")] + "  model: gpt2-1-1\ngrid:\n"
SIX_AXES = SIX_AXES.replace("exposures: 20, ", "")
SIX_AXES = SIX_AXES.replace("batch_windows: 8, ", "") + "".join(
    f"  {key}: [{HUNDRED}]\n"
    for key in (
        "data.n_people",
        "seed",
        "data.seed",
        "train.exposures",
        "train.batch_windows",
        "train.warmup_steps",
    )
)
"""A million million cells, which nobody waits for."""


@pytest.fixture
def load(tmp_path):
    """Loads a sweep from its text."""

    def load_text(text, **overrides):
        path = tmp_path / "some.yaml"
        path.write_text(text)
        return load_sweep(path, {key.replace("__", "."): value for key, value in overrides.items()})

    return load_text


def ratio(cell):
    """R_max of a cell: demand bits per parameter."""
    facts = facts_of(cell.data)
    spec = parse_model(cell.model.name, head_dim=cell.model.head_dim, vocab_size=facts.vocab_size)
    return facts.demand_bits / spec.n_params


def refused(load, text, **overrides):
    """The message with which the sweep is refused; every message is at most two lines."""
    with pytest.raises(UserError) as caught:
        load(text, **overrides)
    message = str(caught.value)
    assert message.count("\n") <= 1
    return message


def test_first_axis_varies_slowest(load):
    """The cells come in the order of nested loops over the axes, first axis outermost."""
    sweep = load(COMPLETE)
    points = [(cell.data.n_people, cell.model.name) for cell in sweep.cells]
    models = ["gpt2-1-1", "gpt2-2-1", "gpt2-2-2"]
    assert points == [(n, model) for n in (100, 200) for model in models]
    assert sweep.axes == {"data.n_people": [100, 200], "model": models}
    assert (sweep.name, sweep.question) == ("demo", "does it expand?")


def test_nested_and_dotted_keys_are_the_same(load):
    """Writing `train.lr` or `train: {lr: ...}` makes the same cells."""
    dotted = COMPLETE.replace(
        "train: {exposures: 20, lr: 1e-3, weight_decay: 0.01, batch_windows: 8, precision: fp32}",
        "train.exposures: 2e1\n  train.lr: 0.001\n  train.weight_decay: 1.0e-2\n"
        "  train.batch_windows: 8\n  train.precision: fp32",
    ).replace("data.n_people: [100, 200]", "data: {n_people: [100, 200]}")
    assert load(dotted).cells == load(COMPLETE).cells


def test_neighbour_is_one_step_back_on_the_first_axis(load):
    """A cell's neighbour differs in the first coordinate alone; the first of each row has none."""
    sweep = load(COMPLETE)
    ids = {(cell.data.n_people, cell.model.name): cell.cell_id for cell in sweep.cells}
    for (n_people, model), cell_id in ids.items():
        before = ids[100, model] if n_people == 200 else None
        assert sweep.neighbour[cell_id] == before


def test_where_keeps_only_cells_in_the_range(load):
    """R_max falls with the model's size, so an upper end leaves out the smallest models first."""
    everything = load(COMPLETE + "where: {max_capacity_ratio: {low: 0}}")
    assert everything.cells == load(COMPLETE).cells and everything.n_left_out == 0
    some = load(COMPLETE, where__max_capacity_ratio__high=str(ratio(everything.cells[1])))
    limit = ratio(everything.cells[1])
    kept = [cell.cell_id for cell in some.cells]
    assert kept == [cell.cell_id for cell in everything.cells if ratio(cell) <= limit]
    assert some.n_left_out == 6 - len(kept) > 0
    assert all(back is None or back in kept for back in some.neighbour.values())


def test_published_recipe_fills_what_is_left_out(load):
    """lr, weight decay, batch and precision are the paper's, unless the file says otherwise."""
    text = "base: {train.exposures: 100, data.n_people: 200_000, model: gpt2-2-2}"
    (cell,) = load(text).cells
    assert (cell.train.lr, cell.train.weight_decay) == (1e-3, 0.01)
    assert (cell.train.batch_windows, cell.train.precision) == (48, "fp16")
    (cell,) = load(text, train__precision="bf16", train__lr="3e-4").cells
    assert (cell.train.lr, cell.train.precision, cell.train.batch_windows) == (3e-4, "bf16", 48)


@pytest.mark.parametrize(
    "override, source, taken, difference",
    [
        ({"data__kind": "bioS_simple"}, "Param 2", (1e-3, 12), "bioS in place of bioS_simple"),
        ({"data__n_people": "1000"}, "Param 2", (1e-3, 12), "50,000 people in place of 1,000"),
        ({"train__exposures": "300"}, "Param 2", (1e-3, 12), "100 exposures in place of 300"),
        (
            {"model": "gpt2-2-2-mlp1/4", "data__n_people": "2_000_000"},
            "Param 2",
            (5e-4, 384),
            "gpt2 in place of gpt2-mlp1/4",
        ),
        (
            {"data__kind": "tuples", "data__file": "x.csv", "train__lr": "1e-3"},
            "Param 2",
            (1e-3, 12),
            "bioS in place of tuples",
        ),
    ],
)
def test_what_is_not_printed_begins_with_the_nearest_that_is(
    load, override, source, taken, difference
):
    """The nearest printed setting fills in, and a note says which, and for what it was printed."""
    text = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    assert load(text).notes == ()
    sweep = load(text, **override)
    (cell,), (note,) = sweep.cells, sweep.notes
    assert (cell.train.lr, cell.train.batch_windows) == taken
    assert source in note and difference in note and "1 cell" in note


def test_batches_of_other_windows_must_be_written(load):
    """A batch is counted in windows: with shorter ones it would be another batch."""
    text = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    message = refused(load, text, train__window_tokens="128")
    assert "512 tokens" in message and "128" in message and "train.batch_windows" in message
    assert load(text, train__window_tokens="128", train__batch_windows="48").cells[0].train.lr


def test_no_setting_of_the_published_sweep_is_refused(tmp_path):
    """exposure100 takes any architecture and kind of data, with the nearest setting and a note."""
    for changes in ({"model": "gpt2-2-2-mlp1/4"}, {"data.kind": "bioS_simple"}):
        sweep = load_sweep("sweeps/exposure100.yaml", changes)
        assert sweep.cells and (sweep.notes or "data.kind" not in changes)


def test_override_replaces_an_axis_and_base_values(load):
    """`--set` on a key of the grid replaces that axis; a list makes an axis of a base key."""
    one = load(COMPLETE, data__n_people="300", name="other", seed="3")
    assert {cell.data.n_people for cell in one.cells} == {300}
    assert len(one.cells) == 3 and one.name == "other" and one.cells[0].seed == 3
    more = load(COMPLETE, train__lr="[1e-3, 2e-3]", model="gpt2-1-1")
    assert [cell.train.lr for cell in more.cells] == [1e-3, 2e-3, 1e-3, 2e-3]
    tuned = load(COMPLETE, tune="{trials: 2, lr: {low: 1e-4, high: 1e-2}}", tune__lr__high="1e-3")
    assert tuned.cells[0].tune.lr.high == 1e-3
    assert load(COMPLETE, tune="{lr: {low: 1e-4, high: 1}}", tune__lr="null").cells == (
        load(COMPLETE).cells
    )


@pytest.mark.parametrize(
    "line, named",
    [
        ("train.exposuers: 20", "train.exposures"),
        ("exposures: 20", "train.exposures"),
        ("data: {npeople: 20}", "data.n_people"),
        ("modle: gpt2-2-2", "model"),
        ("data.n_peopel: 5", "data.n_people"),
        ("tune.trails: 5", "tune.trials"),
        ("tune.lr.hihg: 5", "tune.lr.high"),
    ],
)
def test_unknown_key_names_the_closest(load, line, named):
    """A mistyped key is answered with the field that was meant, and with the file."""
    message = refused(load, f"base:\n  {line}\n")
    assert f"did you mean {named}?" in message
    assert "some.yaml" in message


@pytest.mark.parametrize(
    "line, given",
    [
        ("train.exposures: many", "'many'"),
        ("train.exposures: true", "True"),
        ("train.exposures: 1.5", "1.5"),
        ("train.lr: .inf", "inf"),
        # More than a float holds, and more than any count.
        (f"seed: {10**400}", f"{10**400}"),
        (f"train.lr: {10**400}", f"{10**400}"),
        (f"data.n_people: {2**63}", f"{2**63}"),
        ("train.lr: '1e-3'", "'1e-3'"),
        ("train.precision: fp8", "fp16"),
        ("train.compile: 1", "auto, on, off"),
        ("keep_checkpoint: 1", "true or false"),
        ("data.pools: 3", "3"),
        ("data.pools: no/such/dir", "no/such/dir"),
        ("tune.lr: 3", "tune.lr.low"),
        ("tune: {trials: 1, lr: {low: 1.0}}", "tune.lr.high"),
        ("tune: {lr: {low: 2, high: 1}}", "tune.lr"),
        ("train.batch_windows: 0", "train.batch_windows"),
    ],
)
def test_wrong_value_says_what_was_given_and_what_is_allowed(load, line, given):
    """Every wrong value names its key and what was given, or what may be written instead."""
    base = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    key, value = line.split(": ", 1)
    message = refused(load, base, **{key: value})
    assert key in message and given in message


@pytest.mark.parametrize(
    "text, part",
    [
        ("base: {a: 1", "line"),
        ("? [a]\n: 3", "line 1: a key must be"),
        ("base: {tune.lr.many: 3}", "allowed are tune.lr.low, tune.lr.high, tune.lr.log"),
        ("name: a\nname: b", "line 2: name is given twice"),
        ("[1, 2]", "mapping"),
        ("train.lr: 1", "goes under `base:`"),
        ("gird: {}", "did you mean grid?"),
        ("name: ../up", "name"),
        ("grid: {data.n_people: []}", "no values"),
        ("grid: {data.n_people: 5}", "is a list"),
        ("base: {train.exposures: [1, 2]}", "train.exposures: got a list"),
        ("base: {train.lr: 1, train: {lr: 2}}", "train.lr is given twice"),
        ("base: {tune.trials: 1}\ntune: {trials: 2}", "tune.trials is given twice"),
        ("base: {model: gpt2-2-2}\ngrid: {model: [gpt2-2-2]}", "model is given twice"),
        ("base: " + "{a: " * 5_000 + "1" + "}" * 5_000, "nested too deep"),
        ("base: {data.n_people: " + "9" * 5_000 + "}", "cannot be read"),
        (SIX_AXES, "1,000,000,000,000 points; at most 100,000"),
        ("base: {seed: 1}", "data.n_people, model, train.exposures"),
        (COMPLETE.replace("[100, 200]", "[100, 1e2]"), "same cell: data.n_people=100"),
        (COMPLETE.replace("gpt2-1-1", "gpt3-1-1"), "model 'gpt3-1-1'"),
        (COMPLETE + "where: {max_capacity_ratio: {high: 0}}", "leaves out all 6"),
        (COMPLETE + "where: {max_capacity_ratio: {hgih: 0}}", "where.max_capacity_ratio"),
        (COMPLETE + "where: {n_people: 3}", "where"),
    ],
)
def test_wrong_file_is_answered_with_its_name_and_the_place(load, text, part):
    """The message names the file and the section, line or key that is wrong."""
    message = refused(load, text)
    assert "some.yaml" in message and part in message


def test_missing_file_is_named(tmp_path):
    """A path without a file is a user error, not a traceback."""
    with pytest.raises(UserError, match=r"none\.yaml: there is no such file"):
        load_sweep(tmp_path / "none.yaml")


def test_words_and_numbers_read_as_written(load):
    """`on` is a word and `1e-3` a number, as YAML 1.2 has it."""
    cell = load(COMPLETE, train__compile="on", train__eps="1e-8").cells[0]
    assert (cell.train.compile, cell.train.eps) == ("on", 1e-8)


def test_pools_are_found_beside_the_file_and_in_the_working_directory(load, tmp_path, monkeypatch):
    """A directory of pools is sought beside the sweep first; its path is relative to the working
    directory where it is inside of that, and absolute where it is not.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere" / "theirs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load(COMPLETE, data__pools="mine").cells[0].data.pools == str(tmp_path / "mine")
    theirs = load(COMPLETE, data__pools="theirs").cells[0].data.pools
    assert theirs == "theirs"


def test_files_of_facts_are_found_beside_the_sweep(load, tmp_path, monkeypatch):
    """Files of the table and of its parts are sought beside the sweep; one that is not there yet
    is named by its place under the working directory, and nothing is refused.
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "facts.csv").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = COMPLETE.replace("  data.kind: bioS\n  data.pools: mini", "  data.kind: tuples")
    parts = "[{kind: tuples, file: facts.csv, n_people: 3, weight: 1}]"
    (one, *_) = load(text, data__file="facts.csv", data__parts=parts).cells
    assert {one.data.file, one.data.parts[0].file} == {str(tmp_path / "facts.csv")}
    (later, *_) = load(text, data__file="later.csv").cells
    assert later.data.file == "later.csv"


def test_a_cell_is_the_same_wherever_its_files_lie(load, tmp_path, monkeypatch):
    """Seen from another directory, and by a worker in a directory of its own, the id is equal."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").mkdir()
    ids = set()
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        cell = load(COMPLETE, data__pools="mine").cells[0]
        ids |= {cell.cell_id, cell.with_absolute_paths().cell_id}
        assert cell.with_absolute_paths().data.pools == str(tmp_path / "mine")
    assert len(ids) == 1


def test_junk_brings_its_own_setting(load):
    """A cell with junk never begins with the setting of data without it."""
    text = "base: {train.exposures: 100, data.n_people: 200_000, model: gpt2-2-2}"
    assert load(text).cells[0].train.lr == 1e-3
    assert load(text, data__junk="{n_people: 100_000_000}").cells[0].train.lr == 5e-4
    sweep = load(text, data__junk="{n_people: 100_000_000, ratio: 3}")
    assert sweep.cells[0].train.lr == 5e-4
    assert "junk7x100M in place of junk3x100M" in sweep.notes[0]


def test_an_axis_may_set_several_keys_together(load):
    """An axis over a group moves its keys together instead of crossing them."""
    text = COMPLETE.replace(
        "data.n_people: [100, 200]",
        "data: [{n_people: 100, seed: 1}, {n_people: 200, seed: 2}]",
    )
    pairs = {(cell.data.n_people, cell.data.seed) for cell in load(text).cells}
    assert pairs == {(100, 1), (200, 2)}


def test_a_biography_that_cannot_fit_the_window_is_said(load):
    """In the plan, before anything runs: of bioD by its mean, of own facts by the longest."""
    biod = "{kind: bioD, pools: mini, K: 6, C: 5, D: 9, L: 5, T: 99}"
    text = COMPLETE.replace("data.n_people: [100, 200]", "data.n_people: [5]")
    text = text.replace("  data.kind: bioS\n  data.pools: mini\n", f"  data: {biod}\n")
    (note,) = load(text).notes
    assert "does not fit into a window of 128" in note and "3 cells" in note
    assert load(text, train__window_tokens="256").notes == ()
    facts = "sweeps/examples/elements.csv"
    settings = "{exposures: 2, lr: 1e-3, weight_decay: 0, batch_windows: 8, precision: fp32}"
    text = f"base: {{data: {{kind: tuples, n_people: 9}}, model: gpt2-1-1, train: {settings}}}"
    (cell,) = (own := load(text, data__file=facts, train__window_tokens="9")).cells
    assert "window of 9" in own.notes[0] and cell.data.n_people == 9
