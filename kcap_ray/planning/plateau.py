"""Whether a cell will probably end where names are known and values are not yet learnt.

Models of bioS learn the names first; the loss on values then stays at what the pools alone give,
and how long it does grows with the number of people and shrinks with the width of the model
(docs/protocol.md; arXiv 2503.21676 has the same for other texts). The rule is fitted to measured
runs, which stand beside it in `plateau.yaml`; `benchmarks/plateau_rule.py` makes that file.
"""

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kcap_ray.config.cell import Cell
from kcap_ray.config.yaml import read_yaml
from kcap_ray.models.own_spec import AnySpec
from kcap_ray.models.spec import ModelSpec
from kcap_ray.text.stream.corpus import facts_of

FILE = Path(__file__).parent / "plateau.yaml"


@dataclass(frozen=True, kw_only=True)
class PlateauRule:
    """Exposures at which values are first learnt: scale * people^a * width^b * step_tokens^c."""

    scale: float
    people: float
    """Exponent of the number of people."""
    width: float
    """Exponent of the width of the model."""
    step_tokens: float
    """Exponent of the tokens of a step."""

    def exposures(self, n_people: int, d_model: int, step_tokens: int) -> float:
        """Exposures that a run needs, as far as the fit goes."""
        return math.exp(
            math.log(self.scale)
            + self.people * math.log(n_people)
            + self.width * math.log(d_model)
            + self.step_tokens * math.log(step_tokens)
        )


@cache
def measured_rule() -> PlateauRule:
    """The rule that comes with kcap."""
    _, content = read_yaml(FILE)
    assert isinstance(content, dict), "the file is made by a benchmark"
    return PlateauRule(**content["rule"])


def plateau_exposures(cell: Cell, spec: AnySpec) -> float | None:
    """Exposures at which this cell should leave the plateau; None where nothing of its kind was
    measured: data other than bioS alone at uniform frequency, and models other than GPT-2 by AdamW.
    """
    data = cell.data
    is_bios = data.kind == "bioS" and not data.parts and data.junk is None
    if not isinstance(spec, ModelSpec):
        return None
    is_gpt2 = spec.arch == "gpt2" and spec.mixer == "attention" and spec.n_expert == 0
    if not (is_bios and data.frequency is None and is_gpt2 and cell.train.optimizer == "adamw"):
        return None
    step_tokens = cell.train.batch_windows * cell.train.window_tokens
    return measured_rule().exposures(cell.data.n_people, spec.d_model, step_tokens)


def ends_on_plateau(cell: Cell, spec: AnySpec, n_steps: int) -> bool:
    """Whether a run of so many steps is over before values are learnt, by the rule, which is good
    to a factor of two. False where there is no rule.
    """
    needed, train = plateau_exposures(cell, spec), cell.train
    if needed is None:
        return False
    tokens = n_steps * train.batch_windows * train.window_tokens
    per_exposure = cell.data.n_people * facts_of(cell.data).tokens_per_biography
    return tokens / per_exposure < needed
