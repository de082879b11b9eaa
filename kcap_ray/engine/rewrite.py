"""Biographies by Ray Data: a pool of actors, each with a language model, writes of all people."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from kcap_ray.config.errors import UserError
from kcap_ray.rewriting.job import RewriteJob, Writer, rewrite_people
from kcap_ray.rewriting.output import RewriteOutput, part_content


class PoolSize(NamedTuple):
    """Actors that write, and what each of them takes."""

    n_actors: int
    gpus_each: float
    cpus_each: int


def write_parts(
    job: RewriteJob,
    output: RewriteOutput,
    open_writer: Callable[[float], Writer],
    *,
    people_per_part: int,
    actors: tuple[int | None, float | None] = (None, None),
    on_part: Callable[[int, int], None] = lambda start, stop: None,
) -> None:
    """Write the parts of `output` that are missing, in a running Ray session.

    `actors`: how many, and GPUs of each; what is None follows from the cluster. `open_writer` is
    called in each actor with the GPUs of that actor; `on_part` is called for each
    part that is done. Raises `UserError` where the cluster cannot place an actor, or where the
    model cannot be loaded.
    """
    import ray

    missing = output.missing(job.people.n_people, people_per_part)
    pool = pool_size(ray.cluster_resources(), *actors)
    for row in _parts(missing, job, open_writer, pool).iter_rows() if missing else ():
        if row["mistake"]:
            raise UserError(row["mistake"])
        output.write_part(row["start"], row["stop"], row["content"])
        on_part(row["start"], row["stop"])


def pool_size(
    resources: Mapping[str, float], n_actors: int | None, gpus_per_actor: float | None
) -> PoolSize:
    """One actor per GPU or share of it; without GPUs one that has all CPUs but one."""
    n_gpus, n_cpus = resources.get("GPU", 0.0), int(resources.get("CPU", 1.0))
    gpus_each = min(n_gpus, 1.0) if gpus_per_actor is None else gpus_per_actor
    if gpus_each > n_gpus:
        raise UserError(
            f"--gpus-per-actor {gpus_each:g}: the cluster has {n_gpus:g} GPUs; write at most that"
        )
    if n_actors is None:
        n_actors = int(n_gpus // gpus_each) if gpus_each else 1
    # The last CPU is for Ray Data itself.
    return PoolSize(n_actors, gpus_each, 1 if gpus_each else max((n_cpus - 1) // n_actors, 1))


def _parts(
    missing: list[tuple[int, int]],
    job: RewriteJob,
    open_writer: Callable[[float], Writer],
    pool: PoolSize,
) -> Any:
    """A data set of parts: a row each, which Ray Data never cuts."""
    import ray.data

    # Its notes on every data set would stand between ours.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = [{"start": start, "stop": stop} for start, stop in missing]
    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        _PartMaker,
        fn_constructor_args=(job, open_writer, pool.gpus_each),
        batch_size=1,
        num_gpus=pool.gpus_each,
        num_cpus=pool.cpus_each,
        # An actor loads its model only if there is a part for it, and takes one part at a time.
        compute=ray.data.ActorPoolStrategy(
            min_size=1,
            max_size=min(pool.n_actors, len(items)),
            max_tasks_in_flight_per_actor=1,
        ),
    )


class _PartMaker:
    """An actor of the pool.

    A mistake of the user's comes back in the rows: of an actor that dies Ray keeps no exception.
    """

    def __init__(
        self, job: RewriteJob, open_writer: Callable[[float], Writer], n_gpus: float
    ) -> None:
        self._job, self._mistake = job, ""
        try:
            self._writer = open_writer(n_gpus)
        except UserError as error:
            self._mistake = str(error)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """One part, as the bytes of its file."""
        blocks = zip(batch["start"].tolist(), batch["stop"].tolist(), strict=True)
        contents = [b"" if self._mistake else self._content(*block) for block in blocks]
        return {**batch, "content": contents, "mistake": [self._mistake] * len(contents)}

    def _content(self, start: int, stop: int) -> bytes:
        return part_content(*rewrite_people(self._job, start, stop, self._writer))
