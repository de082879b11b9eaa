import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from kcap_ray.config.errors import UserError
from kcap_ray.rewriting.writers import (
    TransformersWriter,
    VllmWriter,
    WriterSettings,
    model_digest,
    sampling_by_seed,
)
from tests.tiny_writer import save_tiny_model

PROMPTS = ["Write of Ann.", "Write of a man with a much longer name.", "Bo"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a tiny language model with random weights."""
    folder = tmp_path_factory.mktemp("model")
    save_tiny_model(folder)
    return folder


def settings(model: Path, **changes: Any) -> WriterSettings:
    """How it is sampled."""
    plain: dict[str, Any] = {
        "model": str(model),
        "max_new_tokens": 8,
        "temperature": 1.0,
        "top_p": 0.95,
        "batch_size": 3,
        "n_gpus": 0,
    }
    return WriterSettings(**plain | changes)


@pytest.mark.slow
def test_a_text_is_a_function_of_its_prompt_and_seed(model):
    """Not of the size of the batch, nor of what else is in it."""
    seeds = [3, 2**62, 4]
    texts = TransformersWriter(settings(model)).write(PROMPTS, seeds)
    alone = TransformersWriter(settings(model, batch_size=1))
    assert alone.write(PROMPTS, seeds) == texts
    assert alone.write(PROMPTS[::-1], seeds[::-1]) == texts[::-1]
    assert alone.write(PROMPTS, [5, 6, 7]) != texts
    assert len(set(texts)) == 3


@pytest.mark.slow
def test_a_cold_model_always_says_the_same(model):
    """Sampling follows the temperature: near 0 the seed no longer matters."""
    writer = TransformersWriter(settings(model, temperature=1e-6))
    assert writer.write(PROMPTS, [1, 2, 3]) == writer.write(PROMPTS, [4, 5, 6])


def test_samples_follow_the_probabilities():
    """The first token of many samples is as often each one as the model says."""
    n_samples, logits_V = 4000, torch.tensor([0.0, 1.0, 2.0, -torch.inf])
    noise = sampling_by_seed(range(n_samples), torch.device("cpu"))
    samples = noise(None, logits_V.repeat(n_samples, 1)).argmax(dim=1)
    counts = torch.bincount(samples, minlength=4)
    expected = torch.softmax(logits_V, dim=0) * n_samples
    assert counts[3] == 0
    chi_square = float(((counts - expected)[:3] ** 2 / expected[:3]).sum())
    assert chi_square < 14  # above it, two degrees of freedom come once in a thousand times


def test_a_directory_without_a_model_is_refused(tmp_path):
    """Before Ray is started, and where it is loaded."""
    with pytest.raises(UserError, match=r"no config\.json"):
        model_digest(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(UserError, match="cannot be loaded"):
        TransformersWriter(settings(tmp_path))


@pytest.mark.slow
def test_the_digest_is_that_of_the_contents(model, tmp_path):
    """Other weights of equal size are another model; the same ones elsewhere are not."""
    digests = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        (tmp_path / name).mkdir()
        save_tiny_model(tmp_path / name, seed=seed)
        digests.append(model_digest(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]


def test_vllm_is_given_a_seed_for_each_text(monkeypatch):
    """All prompts at once, as messages where the model was trained on conversations."""
    seen: dict[str, Any] = {}

    class FakeModel:
        def __init__(self, **options: Any) -> None:
            seen["options"] = options

        def get_tokenizer(self) -> Any:
            def apply_chat_template(message: Any, **_: Any) -> str:
                return f"<user>{message[0]['content']}"

            return SimpleNamespace(chat_template="x", apply_chat_template=apply_chat_template)

        def generate(self, prompts: list[str], sampling: list[Any], **_: Any) -> list[Any]:
            seen["seeds"] = [one.seed for one in sampling]
            return [SimpleNamespace(outputs=[SimpleNamespace(text=p.upper())]) for p in prompts]

    fake = SimpleNamespace(LLM=FakeModel, SamplingParams=SimpleNamespace)
    monkeypatch.setitem(sys.modules, "vllm", fake)
    writer = VllmWriter(settings(Path("m"), n_gpus=2))
    assert writer.write(["a", "b"], [7, 8]) == ["<USER>A", "<USER>B"]
    assert seen["seeds"] == [7, 8]
    assert seen["options"]["tensor_parallel_size"] == 2
