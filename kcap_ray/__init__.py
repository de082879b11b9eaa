"""Measures how many bits of knowledge a language model stores per parameter.

The Python interface, the same that the verbs of `kcap` do:

- `load_sweep(path, overrides=None)`: a sweep file, or the name of a sweep that comes with kcap
- `plan(sweep)`: what it would run and cost, as a table
- `run(sweep, out)`: runs what is left of it, and gives its rows
- `read_results(out)`: the rows of runs
- `measure(model_directory, sweep)`: the bits of any Hugging Face causal language model
- `Sweep`, `Cell`, `UserError`: what they take, and what they raise for a mistake in it

Each is loaded when it is first used: importing kcap_ray loads nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kcap_ray.api.measure import measure
    from kcap_ray.api.plan import plan
    from kcap_ray.api.results import read_results
    from kcap_ray.api.run import run
    from kcap_ray.config.cell import Cell
    from kcap_ray.config.errors import UserError
    from kcap_ray.planning.sweep import Sweep, load_sweep

__all__ = ["Cell", "Sweep", "UserError", "load_sweep", "measure", "plan", "read_results", "run"]

_PLACES = {
    "Cell": "kcap_ray.config.cell",
    "Sweep": "kcap_ray.planning.sweep",
    "UserError": "kcap_ray.config.errors",
    "load_sweep": "kcap_ray.planning.sweep",
    "plan": "kcap_ray.api.plan",
    "read_results": "kcap_ray.api.results",
    "run": "kcap_ray.api.run",
}


def __getattr__(name: str) -> Any:
    if name == "measure":  # also the name of a package, which can be called
        return importlib.import_module("kcap_ray.measure")
    if name not in _PLACES:
        raise AttributeError(f"module 'kcap_ray' has no attribute {name!r}")
    return getattr(importlib.import_module(_PLACES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
