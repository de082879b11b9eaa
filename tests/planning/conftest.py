from collections.abc import Callable
from pathlib import Path

import pytest

from kcap_ray.planning.sweep import Sweep, load_sweep


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[..., Sweep]:
    """Loads the sweep of a text, as a file of the test's folder; `train__lr` overrides train.lr."""

    def load(text: str, **overrides: str) -> Sweep:
        path = tmp_path / "some.yaml"
        path.write_text(text)
        return load_sweep(path, {key.replace("__", "."): value for key, value in overrides.items()})

    return load
