"""A tiny cell that is tuned by five trials in rounds of two, and what its search may start from."""

from kcap_ray.config.cell import Range, TuneConfig
from kcap_ray.execution.search import WarmStart
from kcap_ray.training.point import Point
from tests.tiny import tiny_cell

TUNE = TuneConfig(
    trials=5, lr=Range(low=1e-4, high=1e-1), weight_decay=Range(low=1e-3, high=1.0), fused=2
)
TUNED_CELL = tiny_cell(tune=TUNE, exposures=4)
WARM_START = WarmStart(point=Point(lr=5e-3, weight_decay=0.5), n_steps=10)
