"""The columns of a run's records, section by section.

This is the one place where a column is added: its name, type, unit, label and meaning. The files,
the tables in the terminal and in the report, and docs/columns.md follow. Those of a search and its
confirmation, and of quantization, have pages of their own: `columns_search.py` and
`columns_quantized.py`.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from kcap_ray.runs.schema import SCHEMA_VERSION, Column, Record

Status = Literal["ok", "diverged", "failed", "stopped"]

LR = Column(
    "Learning rate", "Reference learning rate of the trial (of a cell: its best).", "", ".2g", "lr"
)
WEIGHT_DECAY = Column("Weight decay", "Weight decay of the same trial.", "", ".2g", "wd")
STEPS = Column("Steps", "Optimizer steps of one trial.", "", ",")
TOKENS = Column("Tokens", "Tokens of one trial: steps * batch_windows * window_tokens.", "", ",")
LOSS_NAME = Column(
    "Name loss",
    "p1: cross-entropy summed over the tokens of a name; mean over the people of the first table.",
    "nats/person",
)
LOSS_VALUE = Column(
    "Value loss",
    "Cross-entropy summed over the tokens of all counted values of a person; mean over the people "
    "of the first table.",
    "nats/person",
)
RATIO = Column(
    "R", "R(F) = stored_bits / n_params: bits per parameter, never clamped.", "bits/param", ".3f"
)


@dataclass(frozen=True, kw_only=True)
class Outcome(Record):
    """What became of it."""

    schema_version: Annotated[
        int,
        Column("Schema", "Version of these columns; files without it are of version 1.", since=2),
    ] = SCHEMA_VERSION
    status: Annotated[Status, Column("Status", "`ok`, or what became of it.")]
    reason: Annotated[str, Column("Reason", "Why the status is not `ok`; empty if it is.")] = ""


@dataclass(frozen=True, kw_only=True)
class Asked(Record):
    """What was asked for."""

    sweep: Annotated[str, Column("Sweep", "Name of the sweep.")]
    cell_id: Annotated[str, Column("Cell", "Id of the cell; a quantized model has its cell's.")]
    dataset: Annotated[str, Column("Data", "Kind of data and its pools, without the people.")]
    n_people: Annotated[int, Column("People", "People of the first table (N).", "", ",")]
    exposures: Annotated[int, Column("Exposures", "Times that each person is seen.", "", ",")]
    arch: Annotated[
        str,
        Column(
            "Architecture",
            "Family of the model; of one that is brought along its model type, or `own`.",
        ),
    ]
    model: Annotated[str, Column("Model", "Name of the model.")]
    n_layer: Annotated[
        int | None, Column("Layers", "Layers; none where a model from a file does not tell.")
    ]
    n_head: Annotated[
        int | None, Column("Heads", "Attention heads of a layer; none where it does not tell.")
    ]
    d_model: Annotated[
        int | None, Column("Width", "Width of the model; none without an embedding.")
    ]
    vocab: Annotated[str, Column("Vocabulary", "`compact`: the tokens of the data; `full`: all.")]
    vocab_size: Annotated[int, Column("Vocabulary size", "Tokens of the vocabulary.", "", ",")]
    n_params: Annotated[
        int,
        Column(
            "Parameters",
            "Weights (P); the embedding counts once where it is tied.",
            "",
            ",",
            "params",
        ),
    ]
    n_params_non_embedding: Annotated[
        int, Column("Without embedding", "n_params - n_params_embedding.", "", ",")
    ]
    n_params_embedding: Annotated[
        int,
        Column("Embedding", "Token embedding, and the output head where it is its own.", "", ","),
    ]
    n_params_active: Annotated[
        int,
        Column(
            "Active parameters",
            "Weights that one token uses: without the experts that it is not sent to.",
            "",
            ",",
        ),
    ]
    batch_windows: Annotated[int, Column("Batch", "Windows of a step.", "", ",")]
    window_tokens: Annotated[int, Column("Window", "Tokens of a window.", "", ",")]
    precision: Annotated[str, Column("Precision", "Number format of training.")]
    optimizer: Annotated[str, Column("Optimizer", "`adamw` or `muon`.")]
    workers: Annotated[
        int | None,
        Column("Workers", "Data-parallel workers at most; none where the schedule chose (`auto`)."),
    ]
    seed: Annotated[int, Column("Seed", "Seed of the weights and of the order of the data.")]
    data_seed: Annotated[int, Column("Data seed", "Seed of the table of people.")]
    steps: Annotated[int, STEPS]
    tokens: Annotated[int, TOKENS]
    demand_bits: Annotated[
        float,
        Column(
            "Demand",
            "N log2(N0 / N) + N log2(S0) for the names and values of every table; bioD counts "
            "K C log2(D) for log2(S0), and its strings: K D log2(U^L / D).",
            "bits",
            ",.0f",
        ),
    ]
    demand_is_estimate: Annotated[
        bool, Column("Estimated", "Whether pool sizes were estimated from the values in a file.")
    ]
    max_capacity_ratio: Annotated[
        float,
        Column(
            "R_max",
            "demand_bits / n_params: no model can have a larger R on these data.",
            "bits/param",
            ".3f",
            "R_max",
        ),
    ]


@dataclass(frozen=True, kw_only=True)
class Trained(Record):
    """How the best trial was trained."""

    exposures_seen: Annotated[
        float | None,
        Column("Exposures seen", "Exposures counted from the data, rather than asked for."),
    ] = None
    train_time_s: Annotated[
        float | None,
        Column(
            "Training",
            "Time of the program that trained the trial, with the trials fused into it.",
            "s",
            ".0f",
            "s",
        ),
    ] = None
    measure_time_s: Annotated[
        float | None,
        Column(
            "Measurement",
            "Time in which the models of that program were measured on everybody, whole and with "
            "each layer left out.",
            "s",
            ".2g",
        ),
    ] = None
    n_trials_fused: Annotated[
        int | None, Column("Fused trials", "Trials that this program trained together.")
    ] = None
    tokens_per_s: Annotated[
        float | None,
        Column("Speed", "n_trials_fused * tokens / train_time_s.", "tokens/s", ",.0f"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Measured(Record):
    """What a model was found to know."""

    loss_name_nats: Annotated[float | None, LOSS_NAME] = None
    loss_value_nats: Annotated[float | None, LOSS_VALUE] = None
    loss_value_attribute_nats: Annotated[
        float | None,
        Column(
            "Value loss per attribute",
            "p2 of definition 4.1: loss_value_nats / attributes of a person.",
            "nats/attribute",
            since=2,
        ),
    ] = None
    loss_value1_nats: Annotated[
        float | None,
        Column(
            "First-chunk loss",
            "bioD: cross-entropy summed over the tokens of the first chunk of all values of a "
            "person; mean over people.",
            "nats/person",
        ),
    ] = None
    loss_value1_attribute_nats: Annotated[
        float | None,
        Column(
            "First-chunk loss per attribute",
            "p3 of definition 4.1: loss_value1_nats / attributes of a person.",
            "nats/attribute",
            since=2,
        ),
    ] = None
    name_bits: Annotated[
        float | None,
        Column("Name bits", "N (log2(N0) - loss_name_nats / ln 2), over all tables.", "bits"),
    ] = None
    value_bits: Annotated[
        float | None,
        Column(
            "Value bits",
            "N (log2(S0) - loss_value_nats / ln 2), over all tables; bioD has K C log2(D) for "
            "log2(S0).",
            "bits",
        ),
    ] = None
    diversity_bits: Annotated[
        float | None,
        Column(
            "Diversity bits",
            "bioD: K D (log2(U^L / D) - loss_value1_attribute_nats / ln 2); otherwise 0.",
            "bits",
        ),
    ] = None
    memorized_bits: Annotated[
        float | None,
        Column(
            "Memorized",
            "Bits as arXiv 2505.24832 counts them: of each person (or random string) the entropy "
            "of name and values less the model's bits, at least 0; summed over people.",
            "bits",
            ",.0f",
            since=2,
        ),
    ] = None
    sites: Annotated[
        str | None,
        Column(
            "Where",
            "JSON list, one object per table and attribute, names first: demand and stored bits, "
            "and the loss in nats of the first, second, ... token of it; mean over people.",
            since=2,
        ),
    ] = None
    layers: Annotated[
        str | None,
        Column(
            "Without a layer",
            "JSON list: R of the model without its first layer, its second, ...; on the first 256 "
            "people of each table. Null where nothing finite is left.",
            since=2,
        ),
    ] = None
    groups: Annotated[
        str | None,
        Column(
            "Groups",
            "JSON list, one object per table and frequency band, with its people, exposures, "
            "demand, bits and losses; none where all people are alike.",
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Stored(Record):
    """Bits per parameter."""

    stored_bits: Annotated[
        float | None,
        Column("Stored", "name_bits + value_bits + diversity_bits.", "bits", ",.0f", "stored bits"),
    ] = None
    capacity_ratio: Annotated[float | None, RATIO] = None
    capacity_ratio_non_embedding: Annotated[
        float | None,
        Column("R without embedding", "stored_bits / n_params_non_embedding.", "bits/param", ".3f"),
    ] = None


@dataclass(frozen=True, kw_only=True)
class Provenance(Record):
    """Provenance."""

    device: Annotated[str, Column("Device", "What it was trained or quantized on.")] = ""
    git_commit: Annotated[str, Column("Commit", "Commit of kcap, `-dirty` if changed since.")] = ""
    kcap_version: Annotated[str, Column("kcap", "Version of kcap.")] = ""
    torch_version: Annotated[str, Column("torch", "Version of PyTorch.")] = ""
