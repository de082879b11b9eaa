"""The published settings: which one is found, and where there is none."""

import pytest

from kcap_ray.recipes.published import arch_of, published_recipe


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
        ("llama", "bioD", 50_000, 1000),
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


def test_first_rate_is_one_that_was_tried():
    """The rate to try first is the middle option, and of two the lower."""
    three = published_recipe("gpt2", "bioS", 2_000_000, 100)
    two = published_recipe("gpt2", "bioS", 5_000_000, 100)
    assert three is not None and three.lr == sorted(three.lr_options)[1]
    assert two is not None and two.lr == min(two.lr_options)


def test_architecture_is_the_name_without_sizes_in_any_order_of_variants():
    """`llama-2-4-tied-standard` and `llama-8-8-standard-tied` are one architecture."""
    assert arch_of("llama-2-4-tied-standard") == arch_of("llama-8-8-standard-tied")
    assert arch_of("gpt2-2-2-mlp1/4") == "gpt2-mlp1/4"
