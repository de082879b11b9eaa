"""The published settings: which one is found, and where there is none."""

import pytest

from kcap_ray.config.data import JunkConfig
from kcap_ray.recipes.published import arch_of, nearest_recipe, published_recipe

RANDOM = JunkConfig(n_people=100_000_000)
REPETITIVE = JunkConfig(n_people=1_000)
TOKEN = JunkConfig(n_people=100_000_000, token=True)


@pytest.mark.parametrize("exposures, expected", [(100, (12, 0.01)), (1000, (96, 0.02))])
def test_published_numbers_of_people_have_their_own_setting(exposures, expected):
    """At a published number of people the setting is the one printed for it."""
    recipe = published_recipe("gpt2", "bioS", 50_000, exposures)
    assert recipe is not None and recipe.n_people == 50_000
    assert (recipe.batch_windows, recipe.weight_decay) == expected


def test_nearest_in_log_is_taken_between_published_numbers():
    """Between 200K and 500K the border is their geometric mean, 316K, not their mean, 350K."""
    below = published_recipe("gpt2", "bioS", 316_000, 1000)
    above = published_recipe("gpt2", "bioS", 317_000, 1000)
    assert below is not None and below.n_people == 200_000
    assert above is not None and above.n_people == 500_000


@pytest.mark.parametrize(
    "arch, kind, n_people, exposures",
    [
        ("gpt2", "bioS", 9_999, 1000),
        ("gpt2", "bioS", 20_000_001, 100),
        ("gpt2", "bioS", 50_000, 300),
        ("gpt2", "bioS_simple", 50_000, 100),
        ("gpt2-gated", "bioS", 50_000, 1000),
        ("gpt2-moe8", "bioS", 50_000, 100),
        ("gpt2-moe32", "bioS", 10_000_000, 100),
        ("gpt2-canon", "bioS", 50_000, 1000),
        ("gpt2-canon-moe32", "bioS", 50_000, 100),
        ("mistral-tied", "bioS", 50_000, 100),
        ("llama", "bioD", 50_000, 1000),
        ("gpt2", "tuples", 50_000, 100),
    ],
)
def test_there_is_no_setting_where_the_paper_prints_none(arch, kind, n_people, exposures):
    """Outside of the published people, exposures, data and architectures the answer is None."""
    assert published_recipe(arch, kind, n_people, exposures) is None


def test_biod_has_one_setting_for_any_number_of_people():
    """Param 5 names no number of people."""
    assert published_recipe("gpt2", "bioD", 7, 1000) == published_recipe(
        "gpt2", "bioD", 10**7, 1000
    )


@pytest.mark.parametrize("kind", ["bioS_simple", "bioR"])
def test_one_way_of_saying_and_rewriting_share_the_numbers_of_bios(kind):
    """Param 4 repeats the numbers of Param 1."""
    for n_people in (10_000, 200_000, 10_000_000):
        own = published_recipe("gpt2", kind, n_people, 1000)
        bios = published_recipe("gpt2", "bioS", n_people, 1000)
        assert own is not None and bios is not None
        assert (own.lr, own.weight_decay, own.batch_windows) == (
            (bios.lr, bios.weight_decay, bios.batch_windows)
        )
        assert "Param 4" in own.source


def test_first_rate_is_one_that_was_tried():
    """The rate to try first is the middle option, and of two the lower."""
    three = published_recipe("gpt2", "bioS", 2_000_000, 100)
    two = published_recipe("gpt2", "bioS", 5_000_000, 100)
    assert three is not None and three.lr == sorted(three.lr_options)[1]
    assert two is not None and two.lr == min(two.lr_options)


@pytest.mark.parametrize(
    "model, arch",
    [
        ("gpt2-2-2", "gpt2"),
        ("gpt2-2-2-mlp1/4", "gpt2-mlp1/4"),
        ("llama-2-4-tied-standard", "llama-standard-tied"),
        ("llama-8-8-standard-tied", "llama-standard-tied"),
        ("llama-2-2-silu-gated-untied", "llama"),
        ("mistral-2-4-tied-gated", "mistral-tied"),
        ("gpt2-2-2-gelu-standard-layernorm-bias-tied", "gpt2"),
    ],
)
def test_architecture_is_the_name_without_sizes_and_without_what_goes_without_saying(model, arch):
    """Variants come in any order, and one that the architecture has anyway changes nothing."""
    assert arch_of(model) == arch


@pytest.mark.parametrize(
    "arch, n_rates",
    [
        ("llama-tied", 3),
        ("llama-gelu-tied", 3),
        ("llama-layernorm-tied", 3),
        ("gpt2-gated", 3),
        ("gpt2-nobias-silu", 1),
        ("llama-standard", 1),
        ("llama-bias-gelu-layernorm-standard-tied", 1),
    ],
)
def test_every_step_between_llama_and_gpt2_has_a_setting_by_its_mlp(arch, n_rates):
    """Param 8: three rates for a gated MLP, one for a standard MLP, at 100 exposures of bioS."""
    recipe = published_recipe(arch, "bioS", 50_000, 100)
    assert recipe is not None and "Param 8" in recipe.source
    assert len(recipe.lr_options) == n_rates


def test_ends_of_the_ladder_keep_their_own_setting():
    """LLaMA has Param 7(a) and GPT2 Param 2, also beyond the people of the ladder."""
    for arch, source in (("llama", "Param 7(a)"), ("gpt2", "Param 2")):
        recipe = published_recipe(arch, "bioS", 20_000_000, 100)
        assert recipe is not None and source in recipe.source


@pytest.mark.parametrize(
    "exposures, n_people, expected",
    [
        (1000, 50_000, (96, 0.02, (1e-3, 2e-3))),
        (1000, 2_000_000, (1536, 0.005, (2e-3,))),
        (100, 50_000, (12, 0.01, (1e-3, 2e-3, 5e-3))),
        (100, 5_000_000, (384, 0.005, (3e-4, 5e-4, 1e-3))),
    ],
)
def test_experts_have_settings_of_their_own(exposures, n_people, expected):
    """Param 9, for 32 experts."""
    recipe = published_recipe("gpt2-moe32", "bioS", n_people, exposures)
    assert recipe is not None
    assert (recipe.batch_windows, recipe.weight_decay, recipe.lr_options) == expected


def test_short_convolutions_and_other_mixers_have_the_setting_of_part_4_1():
    """The second paper prints one list for all dense architectures, at 100 exposures."""
    recipes = {
        published_recipe(arch, "bioS", 200_000, 100)
        for arch in ("gpt2-canon", "llama-canon-tied", "gpt2-ssd", "gpt2-canon-ssd")
    }
    (recipe,) = recipes
    assert recipe is not None and recipe.batch_windows == 48
    assert recipe.lr_options == (5e-4, 1e-3) and "2512.17351" in recipe.source


@pytest.mark.parametrize(
    "junk, exposures, n_people, expected",
    [
        (RANDOM, 100, 50_000, (12, 0.01, 5e-4)),
        (RANDOM, 100, 1_000_000, (192, 0.005, 2e-4)),
        (RANDOM, 300, 50_000, (96, 0.01, 5e-4)),
        (RANDOM, 600, 500_000, (768, 0.002, 5e-4)),
        (RANDOM, 1000, 200_000, (1536, 0.01, 5e-4)),
        (REPETITIVE, 100, 200_000, (96, 0.01, 5e-4)),
        (REPETITIVE, 100, 1_000_000, (192, 0.01, 3e-4)),
        (TOKEN, 100, 200_000, (96, 0.01, 3e-4)),
        (TOKEN, 100, 500_000, (192, 0.005, 3e-4)),
        (TOKEN, 300, 500_000, (384, 0.005, 5e-4)),
    ],
)
def test_each_case_of_junk_has_its_own_setting(junk, exposures, n_people, expected):
    """Param 10: random junk (a), repetitive junk (b), a token before what is useful (c)."""
    recipe = published_recipe("gpt2", "bioS", n_people, exposures, junk)
    assert recipe is not None and recipe.n_people == n_people
    assert (recipe.batch_windows, recipe.weight_decay, recipe.lr) == expected


@pytest.mark.parametrize(
    "arch, kind, n_people, exposures, junk",
    [
        ("llama", "bioS", 50_000, 100, RANDOM),
        ("gpt2", "bioD", 50_000, 1000, RANDOM),
        ("gpt2", "bioS", 1_000_000, 300, RANDOM),
        ("gpt2", "bioS", 500_000, 1000, RANDOM),
        ("gpt2", "bioS", 50_000, 300, REPETITIVE),
        ("gpt2", "bioS", 50_000, 600, TOKEN),
        ("gpt2", "bioS", 50_000, 100, JunkConfig(n_people=1_000, token=True)),
        ("gpt2", "bioS", 50_000, 100, JunkConfig(n_people=100_000_000, ratio=3)),
    ],
)
def test_other_junk_has_no_setting(arch, kind, n_people, exposures, junk):
    """What the paper did not run has no setting, and never that of the data without junk."""
    assert published_recipe(arch, kind, n_people, exposures, junk) is None


@pytest.mark.parametrize(
    "model, n_people, changed",
    [("gpt2-2-20", 200_000, ("lr", 5e-4)), ("gpt2-28-20", 20_000_000, ("batch_windows", 1280))],
)
def test_two_models_have_a_number_of_their_own(model, n_people, changed):
    """Param 2 prints a rate for GPT2-2-20 at 200K, and a batch for GPT2-28-20 at 20M; no others."""
    field, value = changed
    plain = published_recipe("gpt2", "bioS", n_people, 100, None, "gpt2-3-20")
    own = published_recipe("gpt2", "bioS", n_people, 100, None, model)
    assert plain is not None and own is not None
    assert getattr(own, field) == value != getattr(plain, field)
    assert published_recipe("gpt2", "bioS", 50_000, 100, None, model) == published_recipe(
        "gpt2", "bioS", 50_000, 100
    )


@pytest.mark.parametrize(
    "n_people, steps, tokens_per_exposure",
    [
        (10_000, 140_000, 172),
        (50_000, 175_000, 172),
        (200_000, 349_000, 171.5),
        (500_000, 435_000, 85.5),
        (2_000_000, 220_000, 86.5),
        (10_000_000, 1_000_000, 78.6),
    ],
)
def test_printed_steps_are_a_column_of_param_1(n_people, steps, tokens_per_exposure):
    """Steps, and what they are for each person and exposure; no other list prints any."""
    recipe = published_recipe("gpt2", "bioS", n_people, 1000)
    assert recipe is not None and recipe.steps == steps and recipe.tokens is not None
    assert recipe.tokens / (1000 * n_people) == pytest.approx(tokens_per_exposure, abs=0.05)
    other = published_recipe("gpt2", "bioS", 50_000, 100)
    assert other is not None and other.steps is None


@pytest.mark.parametrize(
    "model, kind, n_people, exposures, junk, source, difference",
    [
        ("gpt2-2-2", "bioS", 9_999, 1000, None, "Param 1", "10,000 people in place of 9,999"),
        ("gpt2-2-2", "bioR", 50_000, 100, None, "Param 2", "bioS in place of bioR"),
        ("llama-2-2", "bioD", 7, 1000, None, "Param 5", "gpt2 in place of llama"),
        ("gpt2-2-2", "bioD", 7, 100, None, "Param 2", "bioS in place of bioD"),
        ("mistral-2-4-ssd-moe8", "bioS", 50_000, 100, None, "Param 7", "mistral in place of"),
        ("gpt2-2-2", "bioS", 50_000, 300, REPETITIVE, "8(f)", "100 exposures in place of 300"),
    ],
)
def test_the_nearest_setting_gives_up_as_little_as_may_be(
    model, kind, n_people, exposures, junk, source, difference
):
    """And says what it was printed for."""
    nearest = nearest_recipe(model, kind, n_people, exposures, junk)
    assert source in nearest.recipe.source
    assert nearest.difference is not None and difference in nearest.difference
