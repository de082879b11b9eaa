"""To and from Hugging Face's classes: the export format, and the proof that the decoder is what it
says.

`gpt2` is `GPTNeoX` with `use_parallel_residual=False` and its share of rotary channels; `llama` and
`mistral` are the classes of that name. What none of them can hold becomes a `KcapForCausalLM`.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
)

from kcap_ray.models.decoder import Decoder
from kcap_ray.models.hugging_face import as_kcap_model
from kcap_ray.models.spec import ModelSpec


def _is_plain(spec: ModelSpec) -> bool:
    """Whether the layers are attention and one MLP, with nothing between."""
    is_once = spec.n_loop == 1 and spec.memory_percent == 0
    return spec.mixer == "attention" and not spec.canon and spec.n_expert == 0 and is_once


def _is_neox(spec: ModelSpec) -> bool:
    return (
        _is_plain(spec)
        and spec.mlp == "standard"
        and spec.norm == "layernorm"
        and spec.bias
        and spec.n_kv_head == spec.n_head
    )


def _is_llama(spec: ModelSpec) -> bool:
    # Their classes turn whole heads.
    is_gated = spec.mlp == "gated" and spec.norm == "rmsnorm" and not spec.bias
    return _is_plain(spec) and is_gated and spec.rotary_frac == 1.0


def to_hugging_face(model: Decoder, *, eos: int) -> PreTrainedModel:
    """The same model, with the same logits, as a class of transformers or, where there is none, as
    our own; `eos` is the end-of-text token's id.
    """
    spec = model.spec
    tokens = {"bos_token_id": eos, "eos_token_id": eos, "pad_token_id": eos}
    if not (_is_neox(spec) or _is_llama(spec)):
        return as_kcap_model(model, **tokens).eval()
    shared: dict[str, Any] = {
        **tokens,
        "vocab_size": spec.vocab_size,
        "hidden_size": spec.d_model,
        "num_hidden_layers": spec.n_layer,
        "num_attention_heads": spec.n_head,
        "intermediate_size": spec.d_ff,
        "max_position_embeddings": model.n_tokens,
        "tie_word_embeddings": spec.tied,
    }
    # GPT-2's gelu is the tanh form.
    activation = {"gelu": "gelu_new", "silu": "silu", "relu2": "relu2"}[spec.activation]
    if _is_neox(spec):
        config = GPTNeoXConfig(
            **shared,
            use_parallel_residual=False,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": spec.rope_base,
                "partial_rotary_factor": spec.rotary_frac,
            },
            hidden_act=activation,
            layer_norm_eps=spec.norm_eps,
            attention_dropout=0.0,
            hidden_dropout=0.0,
        )
        exported: PreTrainedModel = GPTNeoXForCausalLM(config)
        names = _neox_names(spec)
    else:
        shared |= {
            "num_key_value_heads": spec.n_kv_head,
            "head_dim": spec.head_dim,
            "hidden_act": activation,
            "rms_norm_eps": spec.norm_eps,
            "rope_parameters": {"rope_type": "default", "rope_theta": spec.rope_base},
        }
        if spec.n_kv_head == spec.n_head:
            exported = LlamaForCausalLM(LlamaConfig(**shared))
        else:
            exported = MistralForCausalLM(MistralConfig(**shared, sliding_window=None))
        names = _llama_names(spec)
    _copy_weights(model, exported, names)
    return exported.eval()


@torch.no_grad()
def _copy_weights(model: Decoder, exported: PreTrainedModel, names: dict[str, str]) -> None:
    theirs = dict(exported.named_parameters())
    for their_name, tensor in _renamed(model.state_dict(), names, model.spec):
        theirs.pop(their_name).copy_(tensor)
    tied_copies = {"embed_out.weight", "lm_head.weight"} if model.spec.tied else set()
    assert not set(theirs) - tied_copies, f"weights without a source: {sorted(theirs)}"


def _renamed(
    own: dict[str, Tensor], names: dict[str, str], spec: ModelSpec
) -> Iterator[tuple[str, Tensor]]:
    for our_name, their_name in names.items():
        tensor = own[our_name]
        if "{" not in their_name:
            yield their_name, _by_head(tensor, spec) if _is_neox_qkv(their_name) else tensor
            continue
        # Our fused matrix is their separate ones: `...{q,k,v}_proj` or `...{gate,up}_proj`.
        before, rest = their_name.split("{")
        parts, after = rest.split("}")
        is_attention = parts == "q,k,v"
        sizes = [spec.d_model, spec.d_kv, spec.d_kv] if is_attention else [spec.d_ff, spec.d_ff]
        for part, piece in zip(parts.split(","), tensor.split(sizes), strict=True):
            yield before + part + after, piece


def _is_neox_qkv(name: str) -> bool:
    return "query_key_value" in name


def _by_head(qkv: Tensor, spec: ModelSpec) -> Tensor:
    """Rows ordered (q|k|v, head, C), as ours are, to (head, q|k|v, C), as GPT-NeoX's are."""
    rows = qkv.view(3, spec.n_head, spec.head_dim, -1)
    return rows.transpose(0, 1).reshape(qkv.shape)


def _neox_names(spec: ModelSpec) -> dict[str, str]:
    names = {"embedding": "gpt_neox.embed_in.weight"}
    if not spec.tied:
        names["head"] = "lm_head.weight"
    inside = {
        "attention_norm": "input_layernorm",
        "attention.qkv": "attention.query_key_value",
        "attention.out": "attention.dense",
        "mlp_norm": "post_attention_layernorm",
        "mlp.up": "mlp.dense_h_to_4h",
        "mlp.down": "mlp.dense_4h_to_h",
    }
    for kind in ("weight", "bias"):
        names[f"final_norm.{kind}"] = f"gpt_neox.final_layer_norm.{kind}"
        for layer in range(spec.n_layer):
            for ours, theirs in inside.items():
                names[f"blocks.{layer}.{ours}.{kind}"] = f"gpt_neox.layers.{layer}.{theirs}.{kind}"
    return names


def _llama_names(spec: ModelSpec) -> dict[str, str]:
    names = {"embedding": "model.embed_tokens.weight", "final_norm.weight": "model.norm.weight"}
    if not spec.tied:
        names["head"] = "lm_head.weight"
    inside = {
        "attention_norm": "input_layernorm",
        "attention.qkv": "self_attn.{q,k,v}_proj",
        "attention.out": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.up": "mlp.{gate,up}_proj",
        "mlp.down": "mlp.down_proj",
    }
    for layer in range(spec.n_layer):
        for ours, theirs in inside.items():
            names[f"blocks.{layer}.{ours}.weight"] = f"model.layers.{layer}.{theirs}.weight"
    return names
