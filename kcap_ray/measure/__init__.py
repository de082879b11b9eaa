"""What a model knows, in bits. Called, this package is `measure` of the Python interface, which has
its name: see kcap_ray/api/measure.py.
"""

import importlib
import sys
from types import ModuleType
from typing import Any


class _Measure(ModuleType):
    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return importlib.import_module("kcap_ray.api.measure").measure(*arguments, **named)


sys.modules[__name__].__class__ = _Measure
