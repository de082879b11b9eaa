"""Several tests at once."""

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction: the smallest p times n, the next times n - 1, and so on, never
    less than the one before, in the given order (Scand. J. Statist. 6 (1979) 65).
    """
    n, largest = len(p_values), 0.0
    corrected = [0.0] * n
    for rank, i in enumerate(sorted(range(n), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (n - rank) * p_values[i]))
        corrected[i] = largest
    return corrected
