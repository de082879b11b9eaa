"""A finished cell's model, written as a Hugging Face directory."""

import json
from collections.abc import Callable
from pathlib import Path

from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.models.checkpoint import load_model, reading_checkpoint
from kcap_ray.models.convert import to_hugging_face
from kcap_ray.models.decoder import Decoder
from kcap_ray.models.hugging_face import KcapForCausalLM
from kcap_ray.models.own_model import OwnModel

MARK = "Made by `kcap export`."


Load = Callable[[Path], tuple[Decoder | OwnModel, Cell]]
"""From a directory to the model in it, and its cell."""


def export_cell(cell_directory: Path, out: Path, load: Load = load_model) -> str:
    """Write the model for `AutoModelForCausalLM.from_pretrained`, with `kcap_vocab.json` and a
    README beside it; return the line of Python that reads it. `load`: reads the directory.

    Raises `UserError` if there is no model, or if `out` cannot be written or holds files of
    somebody else.
    """
    _check_own(out)
    model, _ = load(cell_directory)
    with reading_checkpoint(cell_directory) as checkpoint:
        vocab = (checkpoint / "kcap_vocab.json").read_text(encoding="utf-8")
        eos = json.loads(vocab)["eos"]
    exported = _own_class(model, eos) or to_hugging_face(_decoder(model), eos=eos)
    how_to_read = "AutoModelForCausalLM.from_pretrained(DIRECTORY)"
    if isinstance(exported, KcapForCausalLM):
        # transformers has no such class: ours must be known before.
        how_to_read = f"import kcap_ray.models.hugging_face; {how_to_read}"
    transformers_logging.disable_progress_bar()
    try:
        exported.save_pretrained(out)
        (out / "kcap_vocab.json").write_text(vocab, encoding="utf-8")
        (out / "README.md").write_text(
            f"{MARK} Read it with `{how_to_read}`.\n{_experts_note(model)}",
            encoding="utf-8",
        )
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror})") from error
    return how_to_read


def _own_class(model: Decoder | OwnModel, eos: int) -> PreTrainedModel | None:
    """A model that is brought along, if transformers has a class for it.

    Raises `UserError` for one of which only its own file knows how it computes.
    """
    if not isinstance(model, OwnModel):
        return None
    if not isinstance(model.module, PreTrainedModel):
        raise UserError(
            f"{model.config.title}: transformers has no class for it; its weights and its code are "
            "model.safetensors and model.py in the cell's checkpoint directory"
        )
    model.module.config.bos_token_id = model.module.config.eos_token_id = eos
    model.module.config.use_cache = True
    return model.module


def _decoder(model: Decoder | OwnModel) -> Decoder:
    assert isinstance(model, Decoder), "models that are brought along have a class of their own"
    return model


def _experts_note(model: Decoder | OwnModel) -> str:
    if isinstance(model, OwnModel) or model.spec.n_expert == 0:
        return ""
    return (
        "\nIts experts take every token that is sent to them, as they did when kcap measured it: "
        "logits do not\ndepend on the other rows of a batch. In training mode (`model.train()`) an "
        f"expert takes at most\n{model.spec.capacity_factor:g} times its even share of a batch.\n"
    )


def _check_own(out: Path) -> None:
    """Raise `UserError` if there are files at `out` that no export has written."""
    if not out.is_dir():
        return
    try:
        is_own = not any(out.iterdir()) or (out / "README.md").read_text(
            encoding="utf-8"
        ).startswith(MARK)
    except (OSError, ValueError):
        is_own = False
    if not is_own:
        raise UserError(f"{out}: holds files that kcap did not write; name another directory")
