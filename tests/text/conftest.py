from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kcap_ray.config.data import DataConfig

BIOD: dict[str, Any] = {"kind": "bioD", "K": 4, "C": 3, "D": 20, "L": 2, "T": 300, "pools": "mini"}


@pytest.fixture(scope="session")
def untidy_pools(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Pools of values that GPT-2 merges with the words around them."""
    folder = tmp_path_factory.mktemp("pools")
    lists = {
        "first_names": ["Ana", "Zo\u00eb", "\u0141ukasz", "O'Neil", "X"],
        "middle_names": ["Bo", "J.", "D'", "M\u00fcller", "7"],
        "last_names": ["Ng", "O'Brien", "\u00d6z", "Smith", "\u5f20"],
        "cities": ["Rome", "Washington, D.C.", "(nowhere)", "St. John's", "K\u00f8benhavn", "29"],
        "universities": ["MIT", "Ivy Univ.", "Teachers'", "U. of '68", "'s Hertogenbosch"],
        "majors": [".NET", "C++", "Law...", "3D", "Dance!", '"Art"', "R'l"],
        "employers": [
            "Acme Inc.\tRome",
            "Yahoo!\tSt. John's",
            "3M 7\tU.S.",
            "7-Eleven;Oslo",
            "A.'\tX,",
        ],
        "dates": ["months 12", "days 28", "years 1990 2012"],
    }
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(folder)


BIOD_COMPACT: dict[str, Any] = BIOD | {"C": 1, "K": 7, "style": "compact"}


@pytest.fixture(
    scope="session",
    params=["bioS", "bioS mini", "bioS untidy", "bioS_simple", "bioD", "bioD compact"],
)
def data(request: pytest.FixtureRequest, untidy_pools: str) -> DataConfig:
    """One data set of each kind."""
    return {
        "bioS": DataConfig(n_people=200),
        "bioS mini": DataConfig(n_people=60, pools="mini", vocab="full"),
        "bioS untidy": DataConfig(n_people=60, pools=untidy_pools),
        "bioS_simple": DataConfig(n_people=60, kind="bioS_simple", pools="mini"),
        "bioD": DataConfig(n_people=60, **BIOD),
        "bioD compact": DataConfig(n_people=60, **BIOD_COMPACT),
    }[request.param]


@pytest.fixture(scope="session")
def is_uniform() -> Callable[[NDArray[np.integer]], bool]:
    """Whether counts fit equal chances: chi-square within 5 standard deviations of its mean."""

    def check(counts: NDArray[np.integer]) -> bool:
        expected = counts.sum() / counts.size
        chi_square = float(((counts - expected) ** 2 / expected).sum())
        freedom = counts.size - 1
        return abs(chi_square - freedom) < 5 * np.sqrt(2 * freedom)

    return check
