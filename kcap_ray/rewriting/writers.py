"""Language models that write: any Hugging Face causal one, by vLLM or by transformers.

Shape letters: B prompts of a batch, T tokens, V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kcap_ray.config.digest import digest_of
from kcap_ray.config.errors import UserError, one_line
from kcap_ray.rewriting.job import Writer

_SAMPLED_BYTES = 1 << 20  # of both ends of a large file, for its digest
_WHOLE_BYTES = 1 << 26


@dataclass(frozen=True, kw_only=True)
class WriterSettings:
    """How a model is loaded and sampled from."""

    model: str
    """Directory of the model and its tokenizer."""
    max_new_tokens: int
    temperature: float
    top_p: float
    batch_size: int
    """Prompts at a time; vLLM sees to that itself."""
    n_gpus: float
    """GPUs of one writer; 0 for none."""


def open_writer(settings: WriterSettings) -> Writer:
    """vLLM where it is installed and there is a GPU, otherwise transformers."""
    if settings.n_gpus and find_spec("vllm") is not None:
        return VllmWriter(settings)
    return TransformersWriter(settings)


def model_digest(model: Path) -> str:
    """Digest of a model's directory: small files whole, of large ones their size and both ends.

    `UserError` if it is no directory of a model.
    """
    if not (model / "config.json").is_file():
        raise UserError(
            f"--model {model}: no config.json there; write the directory of a Hugging Face "
            "causal language model"
        )
    return digest_of(_samples(model))[:16]


def _samples(model: Path) -> Iterator[bytes]:
    for path in sorted(path for path in model.iterdir() if path.is_file()):
        size = path.stat().st_size
        yield f"{path.name} {size}\n".encode()
        with path.open("rb") as opened:
            if size > _WHOLE_BYTES:
                yield opened.read(_SAMPLED_BYTES)
                opened.seek(size - _SAMPLED_BYTES)
            yield opened.read()


class TransformersWriter:
    """`generate` of transformers; each text is drawn with random numbers of its own seed, so that
    it does not depend on the batch.
    """

    def __init__(self, settings: WriterSettings) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._settings = settings
        self._device = torch.device("cuda" if settings.n_gpus else "cpu")
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                settings.model,
                padding_side="left",
                local_files_only=True,
                trust_remote_code=False,
            )
            model: Any = AutoModelForCausalLM.from_pretrained(
                settings.model,
                dtype=torch.bfloat16 if settings.n_gpus else torch.float32,
                device_map="auto" if settings.n_gpus > 1 else None,
                local_files_only=True,
                trust_remote_code=False,
            )
        except (OSError, ValueError) as error:
            raise UserError(
                f"--model {settings.model}: cannot be loaded ({one_line(error)})"
            ) from None
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._model = (model if settings.n_gpus > 1 else model.to(self._device)).eval()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What the model answers to each prompt."""
        step, texts = self._settings.batch_size, []
        for start in range(0, len(prompts), step):
            texts += self._batch(prompts[start : start + step], seeds[start : start + step])
        return texts

    def _batch(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        import torch
        from transformers import (
            LogitsProcessorList,
            TemperatureLogitsWarper,
            TopPLogitsWarper,
        )

        templated = [_as_chat(self._tokenizer, prompt) for prompt in prompts]
        encoded = self._tokenizer(
            templated,
            return_tensors="pt",
            padding=True,
            # A chat template writes the first token itself.
            add_special_tokens=self._tokenizer.chat_template is None,
        ).to(self._device)
        settings = self._settings
        processors = LogitsProcessorList(
            [
                TemperatureLogitsWarper(settings.temperature),
                TopPLogitsWarper(settings.top_p),
                sampling_by_seed(seeds, self._device),
            ]
        )
        with torch.inference_mode():
            tokens_BT = self._model.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                max_new_tokens=settings.max_new_tokens,
                # The largest of logits with Gumbel noise is a sample.
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                logits_processor=processors,
                pad_token_id=self._tokenizer.pad_token_id,
            )
        answers_BT = tokens_BT[:, encoded["input_ids"].shape[1] :]
        return self._tokenizer.batch_decode(answers_BT, skip_special_tokens=True)


def sampling_by_seed(seeds: Sequence[int], device: Any) -> Any:
    """A logits processor after which the largest logit is a sample: it adds Gumbel noise (Gumbel
    1954), to each row from a generator of its own.
    """
    import torch
    from transformers import LogitsProcessor

    generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    class GumbelNoise(LogitsProcessor):
        def __call__(self, input_ids: Any, scores: Any) -> Any:
            noisy_BV = scores.float()
            for logits_V, generator in zip(noisy_BV, generators, strict=True):
                uniform_V = torch.rand(logits_V.shape, generator=generator, device=device)
                # 1 - u lies in (0, 1], and 0 would make noise without end.
                exponential_V = -torch.log1p(-uniform_V)
                logits_V -= exponential_V.clamp_min(torch.finfo(torch.float32).tiny).log()
            return noisy_BV

    return GumbelNoise()


class VllmWriter:
    """vLLM, which makes its own batches and takes a seed for each text."""

    def __init__(self, settings: WriterSettings) -> None:
        import vllm  # pyright: ignore[reportMissingImports]

        self._vllm: Any = vllm
        self._settings = settings
        self._model: Any = vllm.LLM(
            model=settings.model,
            tensor_parallel_size=max(int(settings.n_gpus), 1),
            # A share of a GPU leaves the other shares to other writers.
            gpu_memory_utilization=0.9 * min(settings.n_gpus, 1),
        )
        self._tokenizer: Any = self._model.get_tokenizer()

    def write(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What the model answers to each prompt."""
        settings = self._settings
        sampling = [
            self._vllm.SamplingParams(
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_new_tokens,
                seed=seed,
            )
            for seed in seeds
        ]
        templated = [_as_chat(self._tokenizer, prompt) for prompt in prompts]
        outputs = self._model.generate(templated, sampling, use_tqdm=False)
        return [output.outputs[0].text for output in outputs]


def _as_chat(tokenizer: Any, prompt: str) -> str:
    """The prompt as a user's message, for models that were trained on conversations."""
    if getattr(tokenizer, "chat_template", None) is None:
        return prompt + "\nBiography:\n"
    message = [{"role": "user", "content": prompt}]
    return tokenizer.apply_chat_template(message, tokenize=False, add_generation_prompt=True)
