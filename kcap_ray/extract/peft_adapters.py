"""The same adapters by Hugging Face's peft, on the model as `kcap export` writes it.

peft adapts whole modules. Where queries, keys and values are one matrix, as in GPT-NeoX, the keys
are adapted with them, and where a class of ours stands in for one of transformers the embedding is
no module that peft knows.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kcap_ray.config.errors import UserError
from kcap_ray.extract.config import ExtractConfig
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder

_TARGETS = {
    "GPTNeoXForCausalLM": ("query_key_value", "embed_in"),
    "LlamaForCausalLM": ("q_proj", "v_proj", "embed_tokens"),
    "MistralForCausalLM": ("q_proj", "v_proj", "embed_tokens"),
}


def peft_student(
    model: Decoder, config: ExtractConfig, *, eos: int
) -> tuple[Callable[[Tensor], Tensor], Sequence[nn.Parameter]]:
    """From a decoder the logits of its export with adapters, and the adapters' weights.

    Raises `UserError` if peft is not installed, or does not fit the class of the export.
    """
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError(
            "--backend peft: peft is not installed; write pip install 'kcap-ray[peft]', or leave "
            "--backend out"
        ) from None
    exported: Any = to_hugging_face(model, eos=eos)
    targets = _TARGETS.get(type(exported).__name__)
    if targets is None:
        raise UserError(
            f"--backend peft: {type(exported).__name__}, the export of this model, has no "
            "embedding that peft can adapt; leave --backend out"
        )
    embedding = targets[-1]
    lora = LoraConfig(
        r=config.rank_attention,
        lora_alpha=config.rank_attention,
        lora_dropout=0.0,
        target_modules=list(targets),
        rank_pattern={embedding: config.rank_embedding},
        alpha_pattern={embedding: config.rank_embedding},
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings(), torch.random.fork_rng():
        torch.manual_seed(config.seed)
        # peft asks transformers for things by names that are going away.
        warnings.simplefilter("ignore", FutureWarning)
        adapted = get_peft_model(exported.to(model.embedding.device), lora).eval()
    trained = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    return (lambda tokens_BT: adapted(input_ids=tokens_BT).logits), trained
