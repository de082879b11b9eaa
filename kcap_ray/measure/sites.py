"""Where in a person's texts the loss is: by attribute, and by token of its value.

Shape letters: E trials, P people, T tokens, A names and attributes, S places inside of a value, G
bands of frequency.
"""

import numpy as np
from numpy.typing import NDArray

from kcap_ray.measure.site_records import N_PLACES, SiteNats
from kcap_ray.text.stream.source import Source


class Sites:
    """Sums of losses by band, attribute and token of the value."""

    def __init__(self, source: Source, *, n_trials: int) -> None:
        n_bands, n_kinds = int(source.bands_P.max()) + 1, 1 + len(source.attributes)
        self._sums_EGAS = np.zeros((n_trials, n_bands, n_kinds, N_PLACES))

    def add(
        self, target_PT: NDArray[np.int8], nats_EPT: NDArray[np.float64], band_P: NDArray[np.int64]
    ) -> None:
        """Add the tokens of these documents; `target_PT` as in `EvaluationDocuments`."""
        p_N, t_N = target_PT.nonzero()
        kind_N = target_PT[p_N, t_N].astype(np.int64) - 1
        _, n_bands, n_kinds, n_places = self._sums_EGAS.shape
        place_N = np.minimum(_rank_in_group(p_N * n_kinds + kind_N), n_places - 1)
        key_N = (band_P[p_N] * n_kinds + kind_N) * n_places + place_N
        for sums_GAS, nats_PT in zip(self._sums_EGAS, nats_EPT, strict=True):
            added = np.bincount(key_N, nats_PT[p_N, t_N], minlength=sums_GAS.size)
            sums_GAS += added.reshape(n_bands, n_kinds, n_places)

    def means(self, trial: int, band: int, n_measured: int) -> SiteNats:
        """Mean over the `n_measured` people that were added of a band [A, S]."""
        return tuple(map(tuple, (self._sums_EGAS[trial, band] / n_measured).tolist()))


def _rank_in_group(group_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many of the same group came before: [7, 7, 3, 7] gives [0, 1, 0, 2]."""
    order = np.argsort(group_N, kind="stable")
    ordered = group_N[order]
    is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))
    rank_N = np.empty_like(group_N)
    rank_N[order] = np.arange(len(ordered)) - starts
    return rank_N
