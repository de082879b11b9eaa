"""What `kcap export` does: a finished cell's model as a directory of Hugging Face."""

import json
from pathlib import Path, PurePath

from kcap_ray.config.cell import Cell
from kcap_ray.config.errors import UserError
from kcap_ray.runs.record import ResultRow
from kcap_ray.runs.results import CellDirectory

EXAMPLE = """\
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (a.from_pretrained({path!r}) for a in (AutoModelForCausalLM, AutoTokenizer))
print(tokenizer.decode(model.generate(**tokenizer("<|endoftext|>", return_tensors="pt"))[0]))
"""
"""Reads the directory and says one biography, in an environment without kcap."""

_OURS = "import kcap_ray.models.hugging_face  # transformers has no class for this model\n"


def export(cell_directory: Path, out: Path) -> str:
    """Write model, tokenizer, generation config and model card; return the Python that uses them.

    A quantized model (`DIR/cells/ID/quantized/LABEL`) is written in the format of auto-gptq where
    that can hold it, and otherwise as floats that lie on its grid.

    Raises `UserError` if there is no model, or if `out` cannot be written or holds files of
    somebody else.
    """
    from transformers import GenerationConfig

    from kcap_ray.models.export import MARK, export_cell
    from kcap_ray.text.tokenizer.hugging_face import save_tokenizer

    if is_quantized := (cell_directory / "checkpoint" / "quantization.json").exists():
        from kcap_ray.quantize.store import load_quantized

        how_to_read = export_cell(cell_directory, out, load_quantized)
    else:
        how_to_read = export_cell(cell_directory, out)
    example = (_OURS if "kcap_ray" in how_to_read else "") + EXAMPLE.format(path=str(out))
    try:
        vocab = json.loads((out / "kcap_vocab.json").read_text(encoding="utf-8"))
        text = (cell_directory / "checkpoint" / "cell.json").read_text(encoding="utf-8")
        cell = Cell.from_dict(json.loads(text))
        n_tokens, eos = cell.train.window_tokens, vocab["eos"]
        save_tokenizer(out, vocab["gpt2_ids"], n_tokens=n_tokens)
        GenerationConfig(
            bos_token_id=eos, eos_token_id=eos, pad_token_id=eos, max_length=n_tokens
        ).save_pretrained(out)
        card = out / "README.md"
        notes = card.read_text(encoding="utf-8").partition("\n")[2]
        if is_quantized:
            notes += _packed(out, cell_directory, eos)
        row = CellDirectory(cell_directory).result()
        card.write_text(f"{MARK}\n{_card(cell, row, example)}{notes}", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{out}: cannot write there ({error.strerror})") from error
    return example


def _packed(out: Path, quantized: Path, eos: int) -> str:
    """Pack a quantized model that was exported as floats; what the card says of it."""
    from kcap_ray.quantize.gptq_files import NotGptqError, pack_export

    try:
        pack_export(out, quantized, eos=eos)
    except NotGptqError as error:
        return f"\nQuantized; its weights are floats that lie on the grid ({error}).\n"
    return "\nIts weights are packed as auto-gptq does; transformers reads them with gptqmodel.\n"


def _data(cell: Cell) -> str:
    """Whose knowledge it is: made up, or read from files, which may be about anybody."""
    data, exposures = cell.data, f"each seen {cell.train.exposures:,} times"
    files = [one.file for one in (data, *data.parts) if one.kind == "tuples" and one.file]
    if not files:
        made_up = "synthetic, so nothing in it is about anybody"
        return f"{data.label}, {data.n_people:,} made-up people, {exposures}; {made_up}"
    names = ", ".join(f"`{PurePath(file).name}`" for file in files)
    return f"{data.label}, {data.n_people:,} names, {exposures}; read from {names}"


def _card(cell: Cell, row: ResultRow | None, example: str) -> str:
    lines = [
        "",
        f"# {cell.model.title} on {cell.data.label}",
        "",
        f"- cell: `{cell.cell_id}`",
        f"- data: {_data(cell)}",
    ]
    if row is not None and row.capacity_ratio is not None:
        lines += [
            f"- stores {row.stored_bits:,.0f} of {row.demand_bits:,.0f} bits: R = "
            f"{row.capacity_ratio:.3f} bits per parameter, {row.n_params:,} parameters",
            *([] if row.quantization == "none" else [f"- quantized: {row.quantization}"]),
            f"- made with kcap {row.kcap_version}, commit {row.git_commit or 'not known'}",
        ]
    lines += [
        "- the tokenizer knows the words of these data; other text has tokens that the model has "
        "not",
        "",
        "```python",
        example.rstrip(),
        "```",
        "",
    ]
    return "\n".join(lines)
