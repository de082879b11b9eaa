"""What sweep files expand to."""

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.models.spec import parse_model
from kcap_ray.planning.sweep import load_sweep
from kcap_ray.text.stream.corpus import facts_of
from tests.planning.complete_sweep import COMPLETE


def ratio(cell):
    """R_max of a cell: demand bits per parameter."""
    facts = facts_of(cell.data)
    spec = parse_model(cell.model.name, head_dim=cell.model.head_dim, vocab_size=facts.vocab_size)
    return facts.demand_bits / spec.n_params


def test_first_axis_varies_slowest(load_text):
    """The cells come in the order of nested loops over the axes, first axis outermost."""
    sweep = load_text(COMPLETE)
    points = [(cell.data.n_people, cell.model.name) for cell in sweep.cells]
    models = ["gpt2-1-1", "gpt2-2-1", "gpt2-2-2"]
    assert points == [(n, model) for n in (100, 200) for model in models]
    assert sweep.axes == {"data.n_people": [100, 200], "model": models}
    assert (sweep.name, sweep.question) == ("demo", "does it expand?")


def test_nested_and_dotted_keys_are_the_same(load_text):
    """Writing `train.lr` or `train: {lr: ...}` makes the same cells."""
    dotted = COMPLETE.replace(
        "train: {exposures: 20, lr: 1e-3, weight_decay: 0.01, batch_windows: 8, precision: fp32}",
        "train.exposures: 2e1\n  train.lr: 0.001\n  train.weight_decay: 1.0e-2\n"
        "  train.batch_windows: 8\n  train.precision: fp32",
    ).replace("data.n_people: [100, 200]", "data: {n_people: [100, 200]}")
    assert load_text(dotted).cells == load_text(COMPLETE).cells


def test_neighbour_is_one_step_back_on_the_first_axis(load_text):
    """A cell's neighbour differs in the first coordinate alone; the first of each row has none."""
    sweep = load_text(COMPLETE)
    ids = {(cell.data.n_people, cell.model.name): cell.cell_id for cell in sweep.cells}
    for (n_people, model), cell_id in ids.items():
        before = ids[100, model] if n_people == 200 else None
        assert sweep.neighbour[cell_id] == before


def test_where_keeps_only_cells_in_the_range(load_text):
    """R_max falls with the model's size, so an upper end leaves out the smallest models first."""
    everything = load_text(COMPLETE + "where: {max_capacity_ratio: {low: 0}}")
    assert everything.cells == load_text(COMPLETE).cells and everything.n_left_out == 0
    some = load_text(COMPLETE, where__max_capacity_ratio__high=str(ratio(everything.cells[1])))
    limit = ratio(everything.cells[1])
    kept = [cell.cell_id for cell in some.cells]
    assert kept == [cell.cell_id for cell in everything.cells if ratio(cell) <= limit]
    assert some.n_left_out == 6 - len(kept) > 0
    assert all(back is None or back in kept for back in some.neighbour.values())


def test_published_recipe_fills_what_is_left_out(load_text):
    """lr, weight decay, batch and precision are the paper's, unless the file says otherwise."""
    text = "base: {train.exposures: 100, data.n_people: 200_000, model: gpt2-2-2}"
    (cell,) = load_text(text).cells
    assert (cell.train.lr, cell.train.weight_decay) == (1e-3, 0.01)
    assert (cell.train.batch_windows, cell.train.precision) == (48, "fp16")
    (cell,) = load_text(text, train__precision="bf16", train__lr="3e-4").cells
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
    load_text, override, source, taken, difference
):
    """The nearest printed setting fills in, and a note says which, and for what it was printed."""
    text = "base: {train.exposures: 100, data.n_people: 50_000, model: gpt2-2-2}"
    assert load_text(text).notes == ()
    sweep = load_text(text, **override)
    (cell,), (note,) = sweep.cells, sweep.notes
    assert (cell.train.lr, cell.train.batch_windows) == taken
    assert source in note and difference in note and "1 cell" in note


def test_no_setting_of_the_published_sweep_is_refused(tmp_path):
    """exposure100 takes any architecture and kind of data, with the nearest setting and a note."""
    for changes in ({"model": "gpt2-2-2-mlp1/4"}, {"data.kind": "bioS_simple"}):
        sweep = load_sweep("sweeps/exposure100.yaml", changes)
        assert sweep.cells and (sweep.notes or "data.kind" not in changes)


def test_override_replaces_an_axis_and_base_values(load_text):
    """`--set` on a key of the grid replaces that axis; a list makes an axis of a base key."""
    one = load_text(COMPLETE, data__n_people="300", name="other", seed="3")
    assert {cell.data.n_people for cell in one.cells} == {300}
    assert len(one.cells) == 3 and one.name == "other" and one.cells[0].seed == 3
    more = load_text(COMPLETE, train__lr="[1e-3, 2e-3]", model="gpt2-1-1")
    assert [cell.train.lr for cell in more.cells] == [1e-3, 2e-3, 1e-3, 2e-3]
    tuned = load_text(
        COMPLETE, tune="{trials: 2, lr: {low: 1e-4, high: 1e-2}}", tune__lr__high="1e-3"
    )
    assert tuned.cells[0].tune.lr.high == 1e-3
    assert load_text(COMPLETE, tune="{lr: {low: 1e-4, high: 1}}", tune__lr="null").cells == (
        load_text(COMPLETE).cells
    )


GROUPED = """
base:
  model: gpt2-1-1
  train.exposures: 10
grid:
  data:
    - {kind: bioS, pools: mini, n_people: 200}
    - {kind: bioS_simple, pools: mini, n_people: 300}
  data.junk: [null, {ratio: 7, n_people: 1000}, {ratio: 7, n_people: 1000, token: true}]
"""


def test_override_of_a_part_of_an_axis_keeps_the_rest_of_it(load_text):
    """It is set in each value, and not where there is nothing that it could be part of; where that
    makes two of them one, or it is to be an axis itself, all of the axis has to be written.
    """
    sweep = load_text(GROUPED, data__n_people="100", data__junk__n_people="50")
    data = [cell.data for cell in sweep.cells]
    assert [(one.kind, one.pools, one.n_people) for one in data[::3]] == [
        ("bioS", "mini", 100),
        ("bioS_simple", "mini", 100),
    ]
    junk = [(one.junk.n_people, one.junk.token) if one.junk else None for one in data[:3]]
    assert junk == [None, (50, False), (50, True)]
    base = "base: {model: gpt2-1-1, train.exposures: 10, data.n_people: 200}\n"
    axis = "grid: {data.junk: [null, {ratio: 1, n_people: 10, token: true}]}\n"
    found = load_text(base + axis, data="{n_people: 60, junk: {ratio: 2.0, n_people: 50}}").cells
    assert [cell.data.n_people for cell in found] == [60, 60]
    assert found[0].data.junk is None
    assert found[1].data.junk is not None and found[1].data.junk.token
    with pytest.raises(UserError, match=r"two values of the axis data.junk are the same"):
        load_text(GROUPED, data__junk__token="true")
    with pytest.raises(UserError, match="give one value, or write all of data"):
        load_text(GROUPED, data__n_people="[100, 200]")
    assert {cell.data.junk for cell in load_text(GROUPED, data__junk="null").cells} == {None}


def test_words_and_numbers_read_as_written(load_text):
    """`on` is a word and `1e-3` a number, as YAML 1.2 has it."""
    cell = load_text(COMPLETE, train__compile="on", train__eps="1e-8", seed="1_0").cells[0]
    assert (cell.train.compile, cell.train.eps, cell.seed) == ("on", 1e-8, 10)
    for odd in ("010", "1:30", "0x10"):
        with pytest.raises(UserError, match=odd):
            load_text(COMPLETE, train__exposures=odd)


def test_pools_are_found_beside_the_file_and_in_the_working_directory(
    load_text, tmp_path, monkeypatch
):
    """A directory of pools is sought beside the sweep first; its path is relative to the working
    directory where it is inside of that, and absolute where it is not.
    """
    (tmp_path / "mine").mkdir()
    (tmp_path / "elsewhere" / "theirs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert load_text(COMPLETE, data__pools="mine").cells[0].data.pools == str(tmp_path / "mine")
    theirs = load_text(COMPLETE, data__pools="theirs").cells[0].data.pools
    assert theirs == "theirs"


def test_files_of_facts_are_found_beside_the_sweep(load_text, tmp_path, monkeypatch):
    """Files of the table and of its parts are sought beside the sweep; one that is not there yet
    is named by its place under the working directory, and nothing is refused.
    """
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "facts.csv").touch()
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = COMPLETE.replace("  data.kind: bioS\n  data.pools: mini", "  data.kind: tuples")
    parts = "[{kind: tuples, file: facts.csv, n_people: 3, weight: 1}]"
    (one, *_) = load_text(text, data__file="facts.csv", data__parts=parts).cells
    assert {one.data.file, one.data.parts[0].file} == {str(tmp_path / "facts.csv")}
    (later, *_) = load_text(text, data__file="later.csv").cells
    assert later.data.file == "later.csv"


def test_a_cell_is_the_same_wherever_its_files_lie(load_text, tmp_path, monkeypatch):
    """Seen from another directory, and by a worker in a directory of its own, the id is equal."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mine").mkdir()
    ids = set()
    for place in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(place)
        cell = load_text(COMPLETE, data__pools="mine").cells[0]
        ids |= {cell.cell_id, cell.with_absolute_paths().cell_id}
        assert cell.with_absolute_paths().data.pools == str(tmp_path / "mine")
    assert len(ids) == 1


def test_junk_brings_its_own_setting(load_text):
    """A cell with junk never begins with the setting of data without it."""
    text = "base: {train.exposures: 100, data.n_people: 200_000, model: gpt2-2-2}"
    assert load_text(text).cells[0].train.lr == 1e-3
    assert load_text(text, data__junk="{n_people: 100_000_000}").cells[0].train.lr == 5e-4
    sweep = load_text(text, data__junk="{n_people: 100_000_000, ratio: 3}")
    assert sweep.cells[0].train.lr == 5e-4
    assert "junk7x100M in place of junk3x100M" in sweep.notes[0]


def test_an_axis_may_set_several_keys_together(load_text):
    """An axis over a group moves its keys together instead of crossing them."""
    text = COMPLETE.replace(
        "data.n_people: [100, 200]",
        "data: [{n_people: 100, seed: 1}, {n_people: 200, seed: 2}]",
    )
    pairs = {(cell.data.n_people, cell.data.seed) for cell in load_text(text).cells}
    assert pairs == {(100, 1), (200, 2)}


def test_a_biography_that_cannot_fit_the_window_is_said(load_text):
    """In the plan, before anything runs: of bioD by its mean, of own facts by the longest."""
    biod = "{kind: bioD, pools: mini, K: 6, C: 5, D: 9, L: 5, T: 99}"
    text = COMPLETE.replace("data.n_people: [100, 200]", "data.n_people: [5]")
    text = text.replace("  data.kind: bioS\n  data.pools: mini\n", f"  data: {biod}\n")
    (note,) = load_text(text).notes
    assert "does not fit into a window of 128" in note and "3 cells" in note
    assert load_text(text, train__window_tokens="256").notes == ()
    facts = "sweeps/examples/elements.csv"
    settings = "{exposures: 2, lr: 1e-3, weight_decay: 0, batch_windows: 8, precision: fp32}"
    text = f"base: {{data: {{kind: tuples, n_people: 9}}, model: gpt2-1-1, train: {settings}}}"
    (cell,) = (own := load_text(text, data__file=facts, train__window_tokens="9")).cells
    assert "window of 9" in own.notes[0] and cell.data.n_people == 9
