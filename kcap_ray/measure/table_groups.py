"""From sums of losses over people to the groups of a table."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from kcap_ray.knowledge.entropy import Entropy
from kcap_ray.measure.bits import KnowledgeLoss
from kcap_ray.measure.groups import Group
from kcap_ray.text.stream.source import Source


def sampled_people(source: Source, n_people: int) -> NDArray[np.int64]:
    """About so many people of a table, ascending: evenly spaced in each of its bands of frequency,
    of each its share and at least one. A file may be in any order, and its first people all alike.
    """
    size_G = np.bincount(source.bands_P)
    n_people = min(n_people, source.n_people)
    stop_G = np.rint(np.cumsum(size_G) * n_people / source.n_people).astype(np.int64)
    found = []
    for band, n_own in enumerate(np.diff(stop_G, prepend=0).clip(min=1)):
        own_P = np.flatnonzero(source.bands_P == band)
        # The middles of so many equal parts; of all people, each.
        found.append(own_P[(2 * np.arange(n_own) + 1) * len(own_P) // (2 * n_own)])
    return np.sort(np.concatenate(found))


def groups_of(
    index: int, source: Source, sums_3G: NDArray[np.float64], people_P: NDArray[np.int64]
) -> list[Group]:
    """The groups of the table of that number, from sums over these people of it (`sampled_people`)
    of the losses on names, values and first chunks, by band of frequency.
    """
    entropy = source.entropy
    assert entropy is not None, "junk is not measured"
    n_people = entropy.n_people
    ruled_out = math.log(n_people / (n_people - 1)) if n_people > 1 else 0.0
    if source.behind is not None:
        ruled_out = 0.0  # a junk person stands before the document
    groups = []
    for band, (name, value, first_chunk) in enumerate(sums_3G.T.tolist()):
        is_in_P = source.bands_P == band
        n_in_band = int(is_in_P[people_P].sum())
        loss = KnowledgeLoss(
            name_nats=name / n_in_band + ruled_out,
            value_nats=value / n_in_band,
            value1_nats=first_chunk / n_in_band if entropy.n_diversity else None,
        )
        frequency = 1.0 if source.frequency_P is None else float(source.frequency_P[is_in_P].mean())
        groups.append(
            Group(
                table_index=index,
                table=source.label,
                band=band,
                n_people=int(is_in_P.sum()),
                n_measured=n_in_band,
                frequency=frequency,
                loss=loss,
                entropy=_entropy_of_band(source, is_in_P),
                attributes=source.attributes,
            )
        )
    return groups


def _entropy_of_band(source: Source, is_in_P: NDArray[np.bool_]) -> Entropy:
    """That of the table, with the value bits of these people."""
    assert source.entropy is not None
    if source.value_bits_P is None:
        return source.entropy
    return replace(source.entropy, value_bits=float(source.value_bits_P[is_in_P].mean()))
