"""Models that are brought along: what is asked of them, and how they are counted."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kcap_ray.config.contents import with_source
from kcap_ray.config.errors import UserError
from kcap_ray.config.model import ModelConfig, Settings
from kcap_ray.models.own_build import build_seeded
from kcap_ray.models.own_model import (
    OwnModel,
    check_model,
    check_read_back,
    load_weights,
    own_model,
    randomness,
    weights_of,
)
from kcap_ray.models.own_source import builder_of
from kcap_ray.models.own_spec import own_spec
from tests.rounding import float64

FILE = Path(__file__).with_name("own_models.py")
N_TOKENS, VOCAB = 24, 37
QWEN = {
    "model_type": "qwen3",
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "intermediate_size": 32,
}


def from_file(build: str, **kwargs: Any) -> ModelConfig:
    return with_source(ModelConfig(file=str(FILE), build=build, kwargs=Settings(kwargs)))


def from_settings(**changed: Any) -> ModelConfig:
    return ModelConfig(hf=Settings({**QWEN, **changed}))


def made(config: ModelConfig) -> OwnModel:
    return own_model(config, VOCAB, N_TOKENS)


def test_a_model_is_counted_as_it_is_built() -> None:
    """Shared weights once, buffers not, the embedding and an own head by their rows."""
    tied = own_spec(from_file("Recurrent", width=16, n_layer=3), VOCAB, N_TOKENS)
    layer = 3 * (16 * 16 * 2 + 2 * 16)
    assert tied.n_params == VOCAB * 16 + 3 * layer + 2 * 16
    assert (tied.n_params_embedding, tied.n_layer, tied.d_model) == (VOCAB * 16, 3, 16)
    assert (tied.arch, tied.n_head) == ("own", None)
    untied = own_spec(from_settings(), VOCAB, N_TOKENS)
    model = made(from_settings())
    assert untied.n_params == sum(parameter.numel() for parameter in model.parameters())
    assert untied.n_params_embedding == 2 * VOCAB * 16
    assert (untied.arch, untied.n_layer, untied.n_head) == ("qwen3", 2, 2)


def test_only_the_experts_that_a_token_is_sent_to_are_active() -> None:
    mixtral = {
        **QWEN,
        "model_type": "mixtral",
        "num_local_experts": 4,
        "num_experts_per_tok": 1,
    }
    spec = own_spec(ModelConfig(hf=Settings(mixtral)), VOCAB, N_TOKENS)
    assert spec.n_params - spec.n_params_active == 2 * 3 * (3 * 16 * 32)


def test_a_model_that_computes_with_its_weights_is_counted_too() -> None:
    assert own_spec(from_file("ComputesWithItsWeights"), VOCAB, N_TOKENS).n_params > 0


def test_weights_follow_from_the_seed_and_leave_the_global_generator_alone() -> None:
    config = from_file("Recurrent")
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again, other = (
        build_seeded(config, VOCAB, N_TOKENS, seed=seed).state_dict()["embedding.weight"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_a_file_draws_when_it_is_read_is_the_same_for_every_seed() -> None:
    """And weights follow from the seed alone, whichever model of the process is the first."""
    config = from_file("DrawsAtImport")
    first, other = (own_model(config, VOCAB, N_TOKENS, seed=seed).state_dict() for seed in (0, 0))
    assert all(torch.equal(first[name], other[name]) for name in first)
    anew = OwnModel(own_spec(config, VOCAB, N_TOKENS), config, n_tokens=N_TOKENS, anew=True)
    here = own_model(config, VOCAB, N_TOKENS, seed=5).module
    assert torch.equal(anew.module.get_buffer("shift"), here.get_buffer("shift"))


def test_what_a_file_drew_in_float64_is_not_taken_for_what_it_draws_in_float32(
    tmp_path: Path,
) -> None:
    """A module that is read once is read once for each default type: their draws differ."""
    file = tmp_path / "mine.py"
    file.write_text(f"{FILE.read_text()}# Nobody has read this one.\n")
    config = with_source(ModelConfig(file=str(file), build="DrawsAtImport"))
    with float64():
        own_model(config, VOCAB, N_TOKENS)
    anew = build_seeded(config, VOCAB, N_TOKENS, seed=0, anew=True)
    here = build_seeded(config, VOCAB, N_TOKENS, seed=0)
    assert torch.equal(anew.get_buffer("shift"), here.get_buffer("shift"))


def test_a_file_that_keeps_what_it_drew_for_another_model_is_refused() -> None:
    """Read back in a process of its own the second would have another shift."""
    config = from_file("KeepsWhatItDrew")
    own_model(config, VOCAB, N_TOKENS, seed=1)
    with pytest.raises(UserError, match="another model: its file keeps what it drew"):
        check_read_back(own_model(config, VOCAB, N_TOKENS, seed=2), seed=2)
    for build in ("KeepsTables", "Rotated", "Recurrent"):
        check_read_back(own_model(from_file(build), VOCAB, N_TOKENS, seed=2), seed=2)


def test_a_matrix_of_as_many_rows_is_no_embedding_beside_one() -> None:
    """GPT-2's layers in transformers are bare matrices, of as many rows as the model is wide."""
    gpt2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = ModelConfig(hf=Settings(gpt2))
    alike, other = (own_model(config, size, N_TOKENS) for size in (16, 17))
    assert alike.roles == other.roles
    assert alike.spec.n_params_embedding == 16 * 16


def test_roles_go_by_shape_and_the_file_may_say_otherwise() -> None:
    roles = made(from_file("WithEverything")).roles
    assert roles == {
        "module.embedding.weight": "decay",
        "module.positions.weight": "decay",
        "module.conv.weight": "decay",
        "module.conv.bias": "plain",
        "module.up.weight": "muon",
        "module.up.bias": "plain",
        "module.down.weight": "plain",  # parameter_groups
        "module.down.bias": "plain",
        "module.router.weight": "decay",  # four rows
        "module.experts": "muon",
        "module.unused": "plain",
        "module.head.weight": "decay",
        "module.head.bias": "plain",
    }


@pytest.mark.parametrize(
    ("build", "inside", "n_embedding"),
    [("BareTables", {"module.inside"}, VOCAB * 16), ("Padded", {"module.up.weight"}, 2 * 64 * 16)],
)
def test_muon_takes_no_table_however_it_is_written(
    build: str, inside: set[str], n_embedding: int
) -> None:
    """An embedding that is a parameter, positions with an axis in front, rows beyond the words."""
    model = made(from_file(build))
    assert {name for name, role in model.roles.items() if role == "muon"} == inside
    assert model.spec.n_params_embedding == n_embedding
    check_model(model)


def test_complex_tables_stay_what_the_file_makes_them() -> None:
    """Cast to real numbers they would turn nothing, and the model would be another one."""
    config = from_file("Rotated")
    model = own_model(config, VOCAB, N_TOKENS, seed=3)
    check_model(model)
    torch.manual_seed(3)
    plain = builder_of(config)(VOCAB, N_TOKENS)
    tokens = torch.arange(N_TOKENS)[None] % VOCAB
    assert torch.equal(model.eval()(tokens), plain.eval()(tokens))


@pytest.mark.parametrize(
    "config",
    [
        from_file("Recurrent", dropout=0.5),
        from_file("WithEverything"),
        from_file("OddlyKept"),
        from_file("KeepsTables"),
        from_file("SparseTable"),
        from_file("Rotated", persistent=True),
        from_settings(),
    ],
    ids=lambda config: config.title,
)
def test_a_model_in_order_passes_and_stays_as_it_was(config: ModelConfig) -> None:
    model = made(config)
    before = {name: tensor.clone() for name, tensor in weights_of(model).items()}
    check_model(model)
    assert model.training
    for name, tensor in weights_of(model).items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("build", "kwargs", "message"),
    [
        ("Bidirectional", {}, "not causal"),
        ("Bidirectional", {"from_token": N_TOKENS - 1}, "not causal"),
        ("AlwaysDrops", {}, "the same again"),
        ("CountsCalls", {}, "the same again"),
        ("WrongShape", {}, f"of shape [2, 8, {VOCAB - 1}]"),
        ("NotANumber", {}, "NaN or infinite"),
        ("NoLogits", {}, "gives tuple"),
        ("Fails", {}, "fails on token ids [2, 8]: RuntimeError"),
        ("TiedByData", {}, "embedding.weight and head.weight share their memory"),
        ("TiedTransposed", {}, "back and embedding.weight share their memory"),
    ],
)
def test_a_model_that_is_not_in_order_is_refused(
    build: str, kwargs: dict[str, Any], message: str
) -> None:
    """One that looks ahead too, where its weights start at zero or it does so in long texts."""
    with pytest.raises(UserError) as error:
        check_model(made(from_file(build, **kwargs)))
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (from_file("Recurent"), "did you mean Recurrent?"),
        (from_file("not_a_module"), "gave int"),
        (from_file("Recurrent", widht=3), "got an unexpected keyword argument 'widht'"),
        (from_file("Recurrent", width=-3), "raised"),
        (from_file("Complex"), "poles: complex weights are not trained"),
        (from_file("Lazy"), "head.weight: a lazy layer"),
        (from_file("Sparse"), "embedding: sparse gradients"),
        (from_settings(model_type="qwen33"), "did you mean"),
        (from_settings(hiden_size=3), "did you mean hidden_size?"),
        (from_settings(vocab_size=3), "comes from the data"),
    ],
)
def test_what_cannot_be_built_is_said_in_one_line(config: ModelConfig, message: str) -> None:
    with pytest.raises(UserError) as error:
        made(config)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_has_changed_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    with pytest.raises(UserError, match="no such file"):
        with_source(ModelConfig(file=str(file), build="M"))
    file.write_text("import not_installed_anywhere\n", encoding="utf-8")
    config = with_source(ModelConfig(file=str(file), build="M"))
    with pytest.raises(UserError, match="not_installed_anywhere"):
        made(config)
    file.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(UserError, match="has changed"):
        made(config)


def test_a_configuration_of_transformers_drops_nothing_and_fits_vocabulary_and_window() -> None:
    gpt2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = made(ModelConfig(hf=Settings(gpt2)))
    assert {part.p for part in model.modules() if isinstance(part, torch.nn.Dropout)} == {0.0}
    assert model(torch.zeros(1, N_TOKENS, dtype=torch.long)).shape == (1, N_TOKENS, VOCAB)
    asked = made(ModelConfig(hf=Settings({**gpt2, "resid_pdrop": 0.3, "n_positions": 99})))
    assert 0.3 in {part.p for part in asked.modules() if isinstance(part, torch.nn.Dropout)}
    assert 99 in {p.num_embeddings for p in asked.modules() if isinstance(p, torch.nn.Embedding)}


def test_weights_are_kept_once_and_read_back() -> None:
    first, second = made(from_file("WithEverything")), made(from_file("Recurrent"))
    kept = weights_of(first)
    assert "module.n_calls" in kept and "module.head.weight" not in weights_of(second)
    other = own_model(from_file("WithEverything"), VOCAB, N_TOKENS, seed=1)
    load_weights(other, kept)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights_of(other).items())
    with pytest.raises(ValueError, match="another model"):
        load_weights(second, kept)


def test_what_is_drawn_follows_from_the_numbers_alone() -> None:
    cpu = torch.device("cpu")
    drawn = []
    for numbers in ((0, 1), (0, 1), (0, 2), (1, 1)):
        with randomness(cpu, *numbers):
            drawn.append(torch.rand(1).item())
    assert drawn[0] == drawn[1] and len(set(drawn)) == 3
