"""A language model with random weights, in a Hugging Face directory with GPT-2's tokenizer."""

from pathlib import Path

from kcap_ray.text.tokenizer.bpe import EOS, VOCAB_SIZE, tokenizer


def save_tiny_model(folder: Path, *, seed: int = 0) -> None:
    """Write a LLaMA of one layer into a folder that exists."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        initializer_range=0.5,
        eos_token_id=EOS,
        bos_token_id=EOS,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), eos_token="<|endoftext|>")
    fast.save_pretrained(folder)
