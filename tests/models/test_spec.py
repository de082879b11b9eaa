import csv
from pathlib import Path

import pytest

import analysis.published
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from kcap_ray.user_error import UserError
from tests.tiny import MODELS

PUBLISHED_VOCABULARY = 3_275
"""Tokens of GPT-2 that bioS uses with the pools of arXiv 2404.05405."""


def _published_points() -> list[dict[str, str]]:
    path = Path(analysis.published.__file__).parent / "published" / "fig1a_1000exp.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def test_gpt2_has_all_published_sizes_at_the_published_vocabulary() -> None:
    """At 3,275 tokens every model of Figure 1(a) has exactly the size that its label stands for."""
    points = _published_points()
    assert len(points) == 169
    assert len({point["P_params"] for point in points}) == 60
    for point in points:
        spec = parse_model(f"gpt2-{point['model']}", head_dim=64, vocab_size=PUBLISHED_VOCABULARY)
        assert spec.n_params == int(point["P_params"]), point["model"]


@pytest.mark.parametrize("name", MODELS)
def test_built_model_has_the_parameters_of_the_closed_formula(name: str) -> None:
    """What torch counts is what `kcap plan` says, with and without the embedding and the head."""
    spec = parse_model(name, head_dim=16, vocab_size=101)
    sizes = {key: p.numel() for key, p in Decoder(spec, n_tokens=8).named_parameters()}
    assert sum(sizes.values()) == spec.n_params
    inside = sum(n for key, n in sizes.items() if key not in ("embedding", "head"))
    assert inside == spec.n_params_non_embedding


@pytest.mark.parametrize("name", MODELS)
def test_trials_axis_holds_that_many_models(name: str) -> None:
    """E trials have E times the parameters of one."""
    spec = parse_model(name, head_dim=16, vocab_size=101)
    fused = Decoder(spec, n_tokens=8, n_trials=3)
    assert sum(p.numel() for p in fused.parameters()) == 3 * spec.n_params


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("gpt-2-2", "did you mean gpt2"),
        ("gpt2-2", "<arch>-<layers>-<heads>"),
        ("gpt2-2-2-mlp", "did you mean mlp0"),
        ("gpt2-0-2", "at least one layer"),
        ("gpt2-2-0", "at least one layer and one head"),
        ("", "not a model name"),
    ],
)
def test_wrong_model_name_says_what_to_write(name: str, needed: str) -> None:
    """A name that is none raises `UserError` with the form of a name or the closest word."""
    with pytest.raises(UserError, match=needed):
        parse_model(name, head_dim=16, vocab_size=101)


def test_variants_change_what_they_name_and_nothing_else() -> None:
    """Two variants together make each one's change; the MLP is as wide as the paper says."""
    plain = parse_model("gpt2-2-4", head_dim=64, vocab_size=101)
    both = parse_model("gpt2-2-4-gated-untied", head_dim=64, vocab_size=101)
    assert (both.mlp, both.tied, both.d_ff) == ("gated", False, round(8 * 256 / 3))
    assert (both.norm, both.bias, both.activation) == (plain.norm, plain.bias, plain.activation)
    assert parse_model("gpt2-2-4-mlp1/4", head_dim=64, vocab_size=101).d_ff == plain.d_ff // 4
