"""What a model that was not run would store, from the joint law, and how far off that may be.

Shape letters: N cells.
"""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.estimate import LEVEL, Estimate
from analysis.joint import INFORMATIVE, JointCells, JointLaw, fit_joint, joint_cells, refit
from analysis.load import ResultsError

MAX_FOLDS = 8
MIN_ERROR = 0.01  # relative: what is measured of one cell is not known better


@dataclass(frozen=True, kw_only=True)
class Question:
    """A cell that was not run."""

    n_params: float
    n_people: float
    exposures: float
    family: str

    def __post_init__(self) -> None:
        asked = {"params": self.n_params, "people": self.n_people, "exposures": self.exposures}
        wrong = [f"{name} {value:g}" for name, value in asked.items() if not 0 < value < math.inf]
        if wrong:
            raise ResultsError(f"{', '.join(wrong)}: must be numbers above 0")


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """R of such a cell."""

    question: Question
    ratio: Estimate
    """R in bits per parameter, with a prediction interval."""
    max_ratio: float
    """R_max in bits per parameter."""
    outside: tuple[str, ...]
    """What lies outside of the cells that were fitted, in words; empty for an interpolation."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "is_outside": bool(self.outside)}


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Relative errors of predictions of cells that were left out, and how many folds tell them."""

    told: float
    """Root mean square where c limits."""
    saturated: float
    """Root mean square where the data do."""
    n_folds: int


@dataclass(frozen=True, kw_only=True)
class Predictor:
    """A joint law and how far off it was on people, shapes and exposures left out."""

    law: JointLaw
    cells: JointCells
    errors: dict[str, Errors]
    n_censored: int = 0
    """Cells of zero or negative bits, which the law knows nothing of."""

    def predict(self, question: Question, *, level: float = LEVEL) -> Prediction:
        """R of a cell, with the errors of leaving out what is new about it.

        A new number of people is predicted as well as people left out were, a new exposures
        setting likewise; a model is always new. Of these the largest counts, with Student's
        quantile of the folds. R is at most R_max. Where something is new that the cells have
        only one or two of, nothing tells the error, and there is no interval; nor is there one
        beyond the R_max of a family whose cells do not reach its c.
        """
        if question.family not in self.law.families:
            known = ", ".join(self.law.families)
            raise ResultsError(f"no cell of family {question.family!r}; there are: {known}")
        asked = self._as_cell(question)
        max_ratio = float(np.exp(asked.log_max_ratio_N[0]))
        centre = float(self.law.log_ratio(asked)[0])
        p = float(self.law.told(asked)[0])
        errors = [self.errors.get(name) for name in self._new(question)]
        low = high = None
        own = self.cells.take(self.cells.family_N == question.family)
        most_told = float(self.law.told(own).max())
        is_beyond = most_told <= INFORMATIVE and p > 1.01 * most_told
        if all(errors) and not is_beyond:
            reach = max(_reach(one, p, level) for one in errors if one)
            low = min(math.exp(centre - reach), max_ratio)
            high = min(math.exp(centre + reach), max_ratio)
        ratio = Estimate(value=math.exp(centre), low=low, high=high, level=level)
        outside = self._outside(own, asked)
        if is_beyond:
            outside += (f"no cell of {question.family} reaches its c",)
        return Prediction(question=question, ratio=ratio, max_ratio=max_ratio, outside=outside)

    def _new(self, question: Question) -> list[str]:
        """What about the question no cell has: its shape, and maybe people and exposures."""
        is_new = {
            "shape": True,
            "people": question.n_people not in self.cells.people_N,
            "exposures": question.exposures not in self.cells.exposures_N,
        }
        return [name for name, new in is_new.items() if new]

    def _as_cell(self, question: Question) -> JointCells:
        demand = demand_bits(self.cells, question.n_people)
        if not 0 < demand < math.inf:
            raise ResultsError(f"people {question.n_people:g}: more than there are names")
        return JointCells(
            family_N=np.array([question.family], dtype=object),
            exposures_N=np.array([question.exposures]),
            people_N=np.array([question.n_people]),
            params_N=np.array([question.n_params]),
            demand_N=np.array([demand]),
        )

    def _outside(self, own: JointCells, asked: JointCells) -> tuple[str, ...]:
        ranges = {
            "exposures": (asked.exposures_N[0], own.exposures_N),
            "people": (asked.people_N[0], own.people_N),
            "parameters": (asked.params_N[0], own.params_N),
            "R_max": (np.exp(asked.log_max_ratio_N[0]), np.exp(own.log_max_ratio_N)),
        }
        outside = [
            f"{name} {value:,.4g} is outside of {known.min():,.4g} to {known.max():,.4g}"
            for name, (value, known) in ranges.items()
            if not known.min() * 0.999 <= value <= known.max() * 1.001
        ]
        people = np.unique(self.cells.people_N)
        if len(people) == 1 and asked.people_N[0] != people[0]:
            outside.append(f"R_max follows from {people[0]:,.4g} people alone")
        return tuple(outside)


def fit_predictor(rows: pd.DataFrame) -> Predictor:
    """A predictor of one data set from usable rows.

    Raises ResultsError where the rows do not carry a joint law.
    """
    cells, n_censored = joint_cells(rows)
    return predictor_of(cells, n_censored)


def predictor_of(cells: JointCells, n_censored: int = 0) -> Predictor:
    """The joint law of these cells, and its errors on what is left out."""
    law = fit_joint(cells)
    errors = {name: left_out(law, cells, label_N) for name, label_N in labels_of(cells).items()}
    known = {name: error for name, error in errors.items() if error is not None}
    if "shape" not in known:
        raise ResultsError(_why_no_error(cells))
    return Predictor(law=law, cells=cells, errors=known, n_censored=n_censored)


def _why_no_error(cells: JointCells) -> str:
    if len(np.unique(cells.shape_N)) < 2:
        return "a prediction needs at least two shapes of models to learn its error"
    largest = math.exp(float(cells.log_max_ratio_N.max()))
    return (
        f"c is not reached: too few shapes demand more than a parameter holds (largest R_max "
        f"{largest:.3g}); add smaller models or more people"
    )


def left_out(law: JointLaw, cells: JointCells, label_N: np.ndarray) -> Errors | None:
    """Errors on each label's cells of the law fitted to the others; None for a single label.

    More than `MAX_FOLDS` labels are left out several at a time. Each fold counts alike, however
    many cells it has.
    """
    fold_N = folds_of(label_N)
    told, saturated = [], []
    for fold in np.unique(fold_N):
        out_N = fold_N == fold
        rest = cells.take(~out_N)
        if set(cells.family_N[out_N]) - set(rest.family_N) or len(rest.family_N) < 4:
            continue
        other, own = refit(law, rest), cells.take(out_N)
        residual_N, p_N = other.residuals(own), other.told(own)
        for where_N, into in ((p_N > INFORMATIVE, told), (p_N <= INFORMATIVE, saturated)):
            if where_N.any():
                into.append(float((residual_N[where_N] ** 2).mean()))
    if len(told) < 2:
        return None
    return Errors(
        told=max(math.sqrt(float(np.mean(told))), MIN_ERROR),
        saturated=max(math.sqrt(float(np.mean(saturated or told))), MIN_ERROR),
        n_folds=len(told),
    )


def demand_bits(cells: JointCells, n_people: float) -> float:
    """What so many people of this data set demand, in bits.

    N people demand N log2(N0 / N) for names, a constant times N for values and a constant for
    diversity sets (Definitions 4.1 and 4.3 of arXiv 2404.05405), so demand + N log2 N is a
    straight line in N, read off the cells.
    """
    people, first = np.unique(cells.people_N, return_index=True)
    line = cells.demand_N[first] + people * np.log2(people)
    if len(people) == 1:
        slope, at_zero = line[0] / people[0], 0.0
    else:
        design = np.column_stack([people, np.ones_like(people)])
        slope, at_zero = np.linalg.lstsq(design, line, rcond=None)[0]
    return float(slope * n_people + at_zero - n_people * math.log2(n_people))


def labels_of(cells: JointCells) -> dict[str, np.ndarray]:
    """What cells are left out by: shape, people, exposures."""
    return {
        "shape": cells.shape_N,
        "people": cells.people_N,
        "exposures": cells.exposures_N,
    }


def folds_of(label_N: np.ndarray) -> np.ndarray:
    """At most `MAX_FOLDS` folds of whole labels, neighbours in different folds."""
    _, index_N = np.unique(label_N, return_inverse=True)
    return index_N % MAX_FOLDS


def _reach(errors: Errors, p: float, level: float) -> float:
    """Half the width of the prediction interval of log R for a cell that tells p of c."""
    quantile = float(special.stdtrit(max(errors.n_folds - 1, 1), (1 + level) / 2))
    return quantile * math.sqrt(p * errors.told**2 + (1 - p) * errors.saturated**2)
