"""The record of `kcap extract`: what one model, fine-tuned on questions about half of the people,
answers about the other half.
"""

from dataclasses import dataclass
from typing import Annotated

from kcap_ray.runs.columns import RATIO, STORED
from kcap_ray.runs.schema import Column, Record


@dataclass(frozen=True, kw_only=True)
class _OfCell(Record):
    """The model that was taught, as its cell's row has it."""

    cell_id: Annotated[str, Column("Cell", "Id of the cell.")]
    dataset: Annotated[str, Column("Data", "Kind of data and its pools, without the people.")]
    n_people: Annotated[int, Column("People", "People of the first table (N).")]
    exposures: Annotated[int, Column("Exposures", "Times that each person is seen.")]
    model: Annotated[str, Column("Model", "Name of the model.")]
    n_params: Annotated[int, Column("Parameters", "Weights, without those of the adapters.")]
    stored_bits: Annotated[float, STORED]
    capacity_ratio: Annotated[float, RATIO]
    max_capacity_ratio: Annotated[float, Column("R_max", "demand_bits / n_params.", "bits/param")]
    value_bits_frac: Annotated[
        float | None,
        Column(
            "Value bits",
            "value_bits / (N log2(S0)): share of the values' entropy that is stored; none where "
            "it is not known, or people are of several tables or bands.",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Answers(Record):
    """Shares of right answers; a mean is over attributes, and none without any."""

    memorized_accuracy: Annotated[
        float | None,
        Column("Memorized", "Values said where a biography stops before them; mean."),
    ]
    extracted_accuracy: Annotated[
        float | None,
        Column("Extracted", "Right answers about people without a question in training; mean."),
    ]
    taught_accuracy: Annotated[
        float | None, Column("Taught", "Right answers about the people that were taught; mean.")
    ]
    guessed_accuracy: Annotated[
        float | None,
        Column("Guessed", "Right where the taught people's commonest value is answered; mean."),
    ]
    memorized_by_attribute: Annotated[
        dict[str, float], Column("Memorized by attribute", "Of each attribute.")
    ]
    extracted_by_attribute: Annotated[
        dict[str, float], Column("Extracted by attribute", "Of each attribute.")
    ]
    guessed_by_attribute: Annotated[
        dict[str, float], Column("Guessed by attribute", "Of each attribute.")
    ]
    n_people_taught: Annotated[int, Column("People taught", "People with questions in training.")]
    n_new_tokens: Annotated[int, Column("New tokens", "Tokens that only questions have.")]
    n_adapter_params: Annotated[int, Column("Adapter parameters", "Weights that were trained.")]
    final_loss_nats: Annotated[
        float, Column("Loss", "At the end, mean over the tokens of answers.", "nats/token")
    ]


@dataclass(frozen=True, kw_only=True)
class _Taught(Record):
    """The fine-tuning, as it was asked for."""

    rank_embedding: Annotated[int, Column("Embedding rank", "Rank of its change.")]
    rank_attention: Annotated[int, Column("Attention rank", "Rank of queries' and values' change.")]
    steps: Annotated[int, Column("Steps", "Optimizer steps.")]
    batch: Annotated[int, Column("Batch", "Questions of a step.")]
    lr: Annotated[float, Column("Learning rate", "At the start.")]
    weight_decay: Annotated[float, Column("Weight decay", "Of AdamW.")]
    backend: Annotated[str, Column("Backend", "`own`, or `peft`: Hugging Face's.")]
    seed: Annotated[int, Column("Seed", "Of the halves, adapters and batches.")]


@dataclass(frozen=True, kw_only=True)
class ExtractionRecord(_Taught, Answers, _OfCell):
    """One record of extraction.json."""

    label: Annotated[str, Column("Label", "Name of the settings, and of the cell's own file.")]
