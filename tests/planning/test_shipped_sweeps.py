"""The sweeps that come with kcap: each resolves, and asks what it says it asks."""

import functools
import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from kcap_ray.planning.sweep import Sweep, load_sweep
from kcap_ray.recipes.junk import JUNK
from kcap_ray.recipes.published import published_recipe
from kcap_ray.text.kinds.biod import biod_renderer
from kcap_ray.text.stream.corpus import facts_of

SWEEPS_DIR = Path(__file__).parents[2] / "sweeps"
SWEEPS = sorted(SWEEPS_DIR.glob("*.yaml"))


@functools.cache
def shipped(path: Path) -> Sweep:
    """A sweep that comes with kcap, read once."""
    return load_sweep(path)


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_file_resolves(path):
    """Every file in sweeps/ gives cells with unique ids, asks a question and says its command."""
    sweep = shipped(path)
    assert len({cell.cell_id for cell in sweep.cells}) == len(sweep.cells) > 0
    assert sweep.question.endswith("?")
    assert f"# Run: kcap sweep sweeps/{path.name}" in path.read_text()
    assert set(sweep.neighbour) == {cell.cell_id for cell in sweep.cells}


@pytest.mark.slow
@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_file_that_a_sweep_names_is_beside_it_or_made_by_a_command(path):
    """Files of facts come with the sweep; rewritten biographies are made first, and it says how."""
    for cell in shipped(path).cells:
        if cell.data.kind == "bioR":
            assert "kcap rewrite" in path.read_text()
        elif cell.data.file is not None:
            named = (cell.data.file, cell.data.templates, cell.data.pool_sizes)
            assert all(Path(name).is_file() for name in named if name is not None)


def test_sweeps_of_junk_run_every_setting_that_is_printed():
    """All cases, exposures and numbers of people of Param 10 are cells, with its values first."""
    names = ("junk100", "junk300", "junk600", "junk1000")
    cells = [cell for name in names for cell in shipped(SWEEPS_DIR / f"{name}.yaml").cells]
    found = set()
    for cell in cells:
        data, train = cell.data, cell.train
        asked = (data.n_people, train.exposures, data.junk, cell.model.name)
        recipe = published_recipe("gpt2", "bioS", *asked)
        assert recipe is not None and recipe.n_people == data.n_people
        assert (train.lr, train.batch_windows) == (recipe.lr, recipe.batch_windows)
        found |= {recipe} if data.junk is not None else set()
    assert found == set(itertools.chain.from_iterable(JUNK.values()))


@pytest.mark.slow
def test_every_paragraph_of_biod_fits_into_the_window():
    """In every form of biod.yaml all values are in sight of the name, of the longest one too."""
    for data in {cell.data for cell in shipped(SWEEPS_DIR / "biod.yaml").cells}:
        renderer = biod_renderer(replace(data, n_people=1))
        bounds = itertools.pairwise((*renderer.name_offsets, renderer.opening_offset))
        longest_name = sum(renderer.pieces.lengths[start:stop].max() for start, stop in bounds)
        assert longest_name + renderer.tokens_after_name <= 512


def test_forms_of_biod_need_models_within_a_factor_of_twenty():
    """Remark A.4: the models of 2 bits per parameter differ by at most 20 in size."""
    demands = {facts_of(cell.data).demand_bits for cell in shipped(SWEEPS_DIR / "biod.yaml").cells}
    assert max(demands) <= 20 * min(demands)
