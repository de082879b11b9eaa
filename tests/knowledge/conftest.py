from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture(scope="session")
def is_uniform() -> Callable[[NDArray[np.integer]], bool]:
    """Whether counts fit equal chances: chi-square within 5 standard deviations of its mean."""

    def check(counts: NDArray[np.integer]) -> bool:
        expected = counts.sum() / counts.size
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        freedom = counts.size - 1
        return abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)

    return check
