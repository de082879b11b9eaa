"""A model, and lessons for it, as small as they can be."""

from kcap_ray.config.data import DataConfig
from kcap_ray.extract.config import ExtractConfig
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.spec import parse_model
from kcap_ray.text.stream.corpus import build_corpus

QUICK = ExtractConfig(steps=150, batch=16, lr=3e-2)


def small_model(data: DataConfig) -> Decoder:
    vocab = build_corpus(data).vocab.size
    model = Decoder(parse_model("gpt2-1-1", head_dim=16, vocab_size=vocab), n_tokens=128)
    model.init_weights(seed=0, std=1.0)
    return model
