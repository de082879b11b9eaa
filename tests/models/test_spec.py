import csv
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

import analysis.published
from kcap_ray.config.errors import UserError
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
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
    assert sum(sizes.values()) - inside == spec.n_params_embedding


@pytest.mark.parametrize("name", MODELS)
def test_a_token_uses_all_weights_but_those_of_other_experts(name: str) -> None:
    """Active parameters are all of a dense model, and all but the idle experts of a mixture."""
    spec = parse_model(name, head_dim=16, vocab_size=101)
    parameters = Decoder(spec, n_tokens=8).named_parameters()
    in_experts = sum(p.numel() for key, p in parameters if ".experts." in key)
    of_one = in_experts // max(spec.n_expert, 1)
    for per_token in range(1, spec.n_expert + 1):
        used = replace(spec, experts_per_token=per_token)
        assert used.n_params - used.n_params_active == in_experts - per_token * of_one
    if spec.n_expert == 0:
        in_tables = sum(
            p.numel() * (1 - 1 / p.shape[-2])
            for key, p in Decoder(spec, n_tokens=8).named_parameters()
            if key.endswith("tables")
        )
        assert spec.n_params - spec.n_params_active == round(in_tables)


def test_a_wide_mixture_uses_the_published_share_of_its_weights() -> None:
    """32 experts of one width: (4 + 64) / (4 + 2) = 11.3 times the active weights (arXiv
    2404.05405, section 9), less what router and norms take.
    """
    spec = parse_model("gpt2-2-32-moe32", head_dim=64, vocab_size=101)
    active = spec.n_params_active - spec.n_params_embedding
    assert spec.n_params_non_embedding / active == pytest.approx(68 / 6, rel=0.01)


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
        ("gpt2-2-2-moe", "did you mean moe32"),
        ("gpt2-2-2-moe0", "at least one expert"),
        ("gpt2-2-2-canonE", "did you mean canonABCD"),
        ("gpt2-2-2-mlp0-canonC", "write canonAB"),
        ("gpt2-2-2-moe4-canonABCD", "write canonABC, or"),
        ("gpt2-0-2", "at least one layer"),
        ("gpt2-2-0", "at least one layer and one head"),
        ("", "not a model name"),
    ],
)
def test_wrong_model_name_says_what_to_write(name: str, needed: str) -> None:
    """A name that is none raises `UserError` with the form of a name or the closest word."""
    with pytest.raises(UserError, match=needed):
        parse_model(name, head_dim=16, vocab_size=101)


@pytest.mark.parametrize(
    "words",
    [
        "gated-standard",
        "mlp1/4-mlp0",
        "moe4-mlp0",
        "moe4-mlp1/4",
        "mlp0-gated",
        "mlp0-relu2",
        "gelu-silu",
        "layernorm-rmsnorm",
        "bias-nobias",
        "tied-untied",
        "tied-tied",
        "attention-ssd",
        "canonA-canonB",
    ],
)
def test_words_about_the_same_thing_are_refused(words: str) -> None:
    """Whichever comes first: a name says one thing about each part, and nothing about no part."""
    for pair in permutations(words.split("-")):
        with pytest.raises(UserError, match="keep one of them"):
            parse_model(f"gpt2-2-2-{'-'.join(pair)}", head_dim=16, vocab_size=101)


@pytest.mark.parametrize(
    "words",
    [
        ["gated", "mlp1/4", "untied"],
        ["standard", "tied", "gelu", "layernorm"],
        ["canon", "mlp0", "ssd"],
        ["canon", "moe4", "gated", "nobias"],
        ["relu2", "canonCA", "bias"],
    ],
)
def test_the_order_of_variants_does_not_matter(words: list[str]) -> None:
    """A name is a set of words: all orders give one model."""
    for arch in ("gpt2-2-2", "llama-2-2", "mistral-2-4"):
        specs = {
            parse_model("-".join([arch, *order]), head_dim=16, vocab_size=101)
            for order in permutations(words)
        }
        assert len(specs) == 1


def test_the_ladder_from_llama_to_gpt2_goes_one_step_at_a_time_from_either_side() -> None:
    """Every word of arXiv 2404.05405, figure 5, changes its own fields; all together, and only all,
    make LLaMA GPT-2, and the other way round.
    """
    steps = [
        ("standard", "gated", {"mlp", "d_ff"}),
        ("tied", "untied", {"tied"}),
        ("gelu", "silu", {"activation"}),
        ("layernorm", "rmsnorm", {"norm"}),
        ("bias", "nobias", {"bias"}),
    ]
    ends = {
        arch: vars(parse_model(f"{arch}-2-3", head_dim=16, vocab_size=101))
        for arch in ("llama", "gpt2")
    }
    for start, end, column in (("llama", "gpt2", 0), ("gpt2", "llama", 1)):
        name, before = f"{start}-2-3", ends[start]
        for step in steps:
            name = f"{name}-{step[column]}"
            after = vars(parse_model(name, head_dim=16, vocab_size=101))
            assert {field for field in after if after[field] != before[field]} == step[2]
            before = after
        assert before == {**ends[end], "arch": start}


def test_variants_change_what_they_name_and_nothing_else() -> None:
    """Two variants together make each one's change; the MLP is as wide as the paper says."""
    plain = parse_model("gpt2-2-4", head_dim=64, vocab_size=101)
    both = parse_model("gpt2-2-4-gated-untied", head_dim=64, vocab_size=101)
    assert (both.mlp, both.tied, both.d_ff) == ("gated", False, round(8 * 256 / 3))
    assert (both.norm, both.bias, both.activation) == (plain.norm, plain.bias, plain.activation)
    assert parse_model("gpt2-2-4-mlp1/4", head_dim=64, vocab_size=101).d_ff == plain.d_ff // 4
    experts = parse_model("llama-2-4-moe32", head_dim=64, vocab_size=101)
    assert (experts.n_expert, experts.d_ff, experts.mlp) == (32, 256, "gated")


def test_more_experts_per_token_than_there_are_is_refused() -> None:
    """The message names the setting and its largest value; a model without experts has none."""
    with pytest.raises(UserError, match=r"experts_per_token: got 3, .* at most 2"):
        parse_model("gpt2-1-1-moe2", head_dim=16, vocab_size=101, experts_per_token=3)
    assert parse_model("gpt2-1-1", head_dim=16, vocab_size=101, experts_per_token=3).n_expert == 0
