"""What a cell asks for, in the columns that plan and results share."""

from kcap_ray.config.cell import Cell
from kcap_ray.planning.run_length import length_of, spec_of
from kcap_ray.runs.columns import Asked
from kcap_ray.text.stream.corpus import facts_of


def asked_of(cell: Cell, *, sweep: str) -> Asked:
    """Settings, sizes and demand of a cell; `sweep`: the name of its sweep."""
    facts, spec, length = facts_of(cell.data), spec_of(cell), length_of(cell)
    return Asked(
        sweep=sweep,
        cell_id=cell.cell_id,
        dataset=cell.data.label,
        n_people=cell.data.n_people,
        exposures=cell.train.exposures,
        arch=spec.arch,
        model=cell.model.title,
        n_layer=spec.n_layer,
        n_head=spec.n_head,
        d_model=spec.d_model,
        vocab=cell.data.vocab,
        vocab_size=spec.vocab_size,
        n_params=spec.n_params,
        n_params_non_embedding=spec.n_params_non_embedding,
        n_params_embedding=spec.n_params_embedding,
        n_params_active=spec.n_params_active,
        batch_windows=cell.train.batch_windows,
        window_tokens=cell.train.window_tokens,
        precision=cell.train.precision,
        optimizer=cell.train.optimizer,
        workers=None if cell.train.workers == "auto" else cell.train.workers,
        seed=cell.seed,
        data_seed=cell.data.seed,
        steps=length.steps,
        tokens=length.tokens,
        demand_bits=facts.demand_bits,
        demand_is_estimate=facts.demand_is_estimate,
        max_capacity_ratio=facts.demand_bits / spec.n_params,
    )
