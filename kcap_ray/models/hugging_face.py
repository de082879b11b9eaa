"""Our decoder as a Hugging Face model, for the variants that no class of theirs can hold.

Importing this module makes `AutoConfig` and `AutoModelForCausalLM` know the model type `kcap`; a
directory of such a model holds weights and settings and no code.
"""

from dataclasses import asdict
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
    initialization,
)
from transformers.modeling_outputs import CausalLMOutput

from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import ModelSpec, parse_model


class KcapConfig(PreTrainedConfig):
    """A `ModelSpec` and the longest sequence, as config.json holds them."""

    model_type = "kcap"

    def __init__(
        self,
        *,
        spec: dict[str, Any] | None = None,
        max_position_embeddings: int = 512,
        **others: Any,
    ) -> None:
        """`spec`: the fields of `ModelSpec`; without them a GPT-2 of the smallest size, since
        transformers makes configs without arguments to compare with.
        """
        spec = spec or asdict(parse_model("gpt2-1-1", head_dim=2, vocab_size=2))
        # Exports of earlier versions have a setting that there is no more.
        spec = {name: value for name, value in spec.items() if name != "test_capacity_factor"}
        self.spec = spec
        self.max_position_embeddings = max_position_embeddings
        self.vocab_size = spec["vocab_size"]
        self.num_hidden_layers = spec["n_layer"]
        self.num_attention_heads = spec["n_head"]
        self.hidden_size = spec["n_head"] * spec["head_dim"]
        for derived in ("vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size"):
            others.pop(derived, None)
        # A tied head is the embedding itself, so there is nothing left for transformers to tie.
        super().__init__(**{**others, "tie_word_embeddings": False, "use_cache": False})


class KcapForCausalLM(PreTrainedModel, GenerationMixin):
    """The decoder behind the interface of a causal language model of transformers.

    Sequences must not be padded: there is no attention mask in the decoder.
    """

    config_class = KcapConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"

    def __init__(self, config: KcapConfig) -> None:
        super().__init__(config)
        # transformers makes models without memory, in which nothing can be computed.
        with torch.device("cpu"):
            self.model = Decoder(ModelSpec(**config.spec), n_tokens=config.max_position_embeddings)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits [B, T, V] of tokens [B, T]; with labels [B, T], which are shifted here, the mean
        loss over those that are not -100.

        Raises `ValueError` if the mask leaves a token out, or the sequence is too long.
        """
        if attention_mask is not None and not bool((attention_mask == 1).all()):
            raise ValueError("this model takes no padding: give sequences of equal length")
        if input_ids.shape[1] > self.model.n_tokens:
            raise ValueError(
                f"a sequence of {input_ids.shape[1]} tokens is too long for this model, which was "
                f"trained on {self.model.n_tokens}"
            )
        logits = self.model(input_ids)
        loss = None
        if labels is not None:
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten())
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *_: Any, **kwargs: Any
    ) -> dict[str, Any]:
        """The whole sequence at every step: the decoder keeps nothing from the step before.

        By the name `kwargs` transformers knows that a mask may be given.
        """
        return {"input_ids": input_ids, "attention_mask": kwargs.get("attention_mask")}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Fill in what no file holds: tables that are computed, and all weights of a new model."""
        if module is not self.model:
            return
        fresh = Decoder(self.model.spec, n_tokens=self.model.n_tokens)
        fresh.init_weights(seed=0, std=0.02)
        for own, value in zip(
            (*self.model.parameters(), *self.model.buffers()),
            (*fresh.parameters(), *fresh.buffers()),
            strict=True,
        ):
            initialization.copy_(own, value)  # leaves alone what was read from a file


AutoConfig.register("kcap", KcapConfig)
AutoModelForCausalLM.register(KcapConfig, KcapForCausalLM)


def as_kcap_model(model: Decoder, **tokens: int) -> KcapForCausalLM:
    """The same model, with weights of its own; `tokens` are entries of the config such as
    eos_token_id.
    """
    config = KcapConfig(spec=asdict(model.spec), max_position_embeddings=model.n_tokens, **tokens)
    exported = KcapForCausalLM(config)
    exported.model.load_state_dict(model.state_dict())
    return exported
