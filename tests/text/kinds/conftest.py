from typing import Any

import pytest

from kcap_ray.config.data import DataConfig
from tests.text.kinds.biography_files import rows_of, write_biographies


@pytest.fixture(scope="module")
def bior_data(tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    """Varied biographies of thirty people."""
    return write_biographies(tmp_path_factory.mktemp("bioR"))


@pytest.fixture(scope="module")
def bior_rows(bior_data: DataConfig) -> list[dict[str, Any]]:
    """The rows of their file."""
    return rows_of(bior_data)
