"""One law for many sweeps of a data set: R of parameters, people, exposures and family.

    log c = a_family + g(exposures) + n log(people / people_0) + m log(parameters / parameters_0),

R as in `analysis.law`, one sharpness. g is one of the forms of `exposure_fit` (none for a single
exposures setting); n and m are there only where AICc prefers them. Minimised is Huber's loss of
log R, by scipy's least squares. An empirical description: it has no derivation, so what it says
outside of its cells is flagged.

Shape letters: N cells, P parameters.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import optimize

from analysis.exposure_fit import FORMS, Form
from analysis.groups import cluster_labels, families_of
from analysis.law import Floats, log_ratio
from analysis.load import ResultsError
from analysis.solver import HUBER_WIDTH, LOG_SHARPNESS_RANGE, USUAL_LOG_SD, USUAL_SHARPNESS

MIN_CELLS = 6
INFORMATIVE = 0.5  # share of a change of c that shows in R


@dataclass(frozen=True, kw_only=True)
class JointCells:
    """Cells as the joint law reads them."""

    family_N: np.ndarray
    exposures_N: Floats
    people_N: Floats
    params_N: Floats
    demand_N: Floats
    """Bits."""
    log_ratio_N: Floats = field(default_factory=lambda: np.empty(0))
    shape_N: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=object))

    @property
    def log_max_ratio_N(self) -> Floats:
        return np.log(self.demand_N / self.params_N)

    def take(self, where_N: np.ndarray) -> "JointCells":
        """Some of the cells."""
        return JointCells(**{name: value[where_N] for name, value in vars(self).items()})


def joint_cells(rows: pd.DataFrame) -> tuple[JointCells, int]:
    """Unquantized cells of positive R, and how many more store zero or less.

    Raises ResultsError where there are several data sets, or too few cells.
    """
    plain = rows[rows["quantization"] == "none"]
    datasets = sorted(set(plain["dataset"]))
    if not datasets:
        raise ResultsError("a joint law needs unquantized cells; there are none of this data set")
    if len(datasets) != 1:
        raise ResultsError(f"a joint law needs one data set, here are: {', '.join(datasets)}")
    positive = plain[plain["capacity_ratio"] > 0]
    if len(positive) < MIN_CELLS:
        raise ResultsError(f"{len(positive)} cell(s) for a joint law; {MIN_CELLS} are needed")
    cells = JointCells(
        family_N=families_of(positive).to_numpy(object),
        exposures_N=positive["exposures"].to_numpy(float),
        people_N=positive["n_people"].to_numpy(float),
        params_N=positive["n_params"].to_numpy(float),
        demand_N=positive["demand_bits"].to_numpy(float),
        log_ratio_N=np.log(positive["capacity_ratio"].to_numpy(float)),
        shape_N=cluster_labels(positive)["shape"],
    )
    return cells, len(plain) - len(positive)


@dataclass(frozen=True, kw_only=True)
class JointLaw:
    """The law with one choice of terms."""

    families: tuple[str, ...]
    form: Form | None
    """Of exposures; None where all cells have the same."""
    has_people: bool
    has_params: bool
    people_0: float
    params_0: float
    theta_P: Floats = field(default_factory=lambda: np.empty(0))
    aicc: float = math.inf

    @property
    def name(self) -> str:
        """The terms, in words."""
        terms = [self.form.name + " in exposures"] if self.form else []
        terms += ["people"] * self.has_people + ["parameters"] * self.has_params
        return "c by " + ", ".join(["family", *terms])

    @property
    def sharpness(self) -> float:
        return float(np.exp(self.theta_P[-1]))

    def log_capacity(self, theta_P: Floats, cells: JointCells) -> Floats:
        """log c of every cell."""
        n = len(self.families)
        index_N = np.array([self.families.index(name) for name in cells.family_N])
        log_c_N, at = theta_P[:n][index_N], n
        if self.form is not None:
            more = self.form.n_parameters - 1  # the first one is the level, which families have
            own_P = np.append(0.0, theta_P[at : at + more])
            log_c_N, at = log_c_N + self.form.log_capacity(own_P, cells.exposures_N), at + more
        if self.has_people:
            log_c_N, at = log_c_N + theta_P[at] * np.log(cells.people_N / self.people_0), at + 1
        if self.has_params:
            log_c_N = log_c_N + theta_P[at] * np.log(cells.params_N / self.params_0)
        return log_c_N

    def log_ratio(self, cells: JointCells) -> Floats:
        """The law's log R of every cell."""
        log_c_N = self.log_capacity(self.theta_P, cells)
        return log_ratio(cells.log_max_ratio_N, log_c_N, self.theta_P[-1])

    def told(self, cells: JointCells) -> Floats:
        """Share of a change of c that shows in R of every cell; see `solver.gradients`."""
        gap_N = cells.log_max_ratio_N - self.log_capacity(self.theta_P, cells)
        return 1 / (1 + np.exp(-np.clip(self.sharpness * gap_N, -500, 500)))

    def residuals(self, cells: JointCells) -> Floats:
        """Natural log of measured R over the law's."""
        return cells.log_ratio_N - self.log_ratio(cells)

    def coefficients(self) -> dict[str, float]:
        """The parameters by name."""
        names = [f"log_c {family}" for family in self.families]
        if self.form is not None:
            names += [f"{self.form.name} {i}" for i in range(1, self.form.n_parameters)]
        names += ["people exponent"] * self.has_people + ["parameters exponent"] * self.has_params
        return dict(zip([*names, "log_sharpness"], map(float, self.theta_P), strict=True))


def fit_joint(cells: JointCells) -> JointLaw:
    """The law of the smallest AICc among those that these cells can carry."""
    return min(candidates(cells), key=lambda law: law.aicc)


def candidates(cells: JointCells) -> list[JointLaw]:
    """Every choice of terms, fitted."""
    n_seen = len(np.unique(cells.exposures_N))
    forms: list[Form | None] = [None]
    if n_seen > 1:
        forms = [FORMS[name] for name in ("power", "saturating", "stretched")[: n_seen - 1]]
    people = [False, True] if len(np.unique(cells.people_N)) > 2 else [False]
    params = [False, True] if len(np.unique(cells.shape_N)) > 2 else [False]
    return [
        refit(_terms(cells, *choice), cells) for choice in itertools.product(forms, people, params)
    ]


def _terms(cells: JointCells, form: Form | None, has_people: bool, has_params: bool) -> JointLaw:
    return JointLaw(
        families=tuple(sorted(set(cells.family_N))),
        form=form,
        has_people=has_people,
        has_params=has_params,
        people_0=float(np.exp(np.log(cells.people_N).mean())),
        params_0=float(np.exp(np.log(cells.params_N).mean())),
    )


def refit(law: JointLaw, cells: JointCells) -> JointLaw:
    """The same terms on these cells: from every start, then with Huber's width of the scatter.

    AICc = n log(S / n) + 2k + 2k(k + 1) / (n - k - 1), with n the informative cells and S their
    cost, k the parameters and the variance.
    """
    found = min((_solve(law, cells, start, HUBER_WIDTH) for start in _starts(law, cells)),
                key=lambda one: one.cost)  # fmt: skip
    rough = _with(law, found.x)
    told_N = rough.told(cells) > INFORMATIVE
    told_N |= told_N.sum() < 3
    scatter = 1.4826 * float(np.median(np.abs(rough.residuals(cells)[told_N])))
    width = max(HUBER_WIDTH, 2 * scatter)
    found = _solve(law, cells, found.x, width, pull=max(scatter, 1e-4))
    n, k = int(told_N.sum()), len(found.x) + 1
    size_N = np.abs(_with(law, found.x).residuals(cells)[told_N])
    inside_N = np.minimum(size_N, width)
    cost = float((inside_N * (2 * size_N - inside_N)).sum())
    aicc = math.inf
    if n > k + 1:
        aicc = n * math.log(max(cost, 1e-12) / n) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
    return _with(law, found.x, aicc)


def _with(law: JointLaw, theta_P: Floats, aicc: float = math.inf) -> JointLaw:
    kept = {name: value for name, value in vars(law).items() if name not in ("theta_P", "aicc")}
    return JointLaw(**kept, theta_P=np.asarray(theta_P, dtype=float), aicc=aicc)


def _solve(
    law: JointLaw,
    cells: JointCells,
    start: Sequence[float] | Floats,
    width: float,
    pull: float = 1e-3,
) -> optimize.OptimizeResult:
    def residual(theta_P: Floats) -> Floats:
        log_c_N = law.log_capacity(theta_P, cells)
        law_N = log_ratio(cells.log_max_ratio_N, log_c_N, theta_P[-1])
        from_usual = (theta_P[-1] - math.log(USUAL_SHARPNESS)) / USUAL_LOG_SD
        return np.append(cells.log_ratio_N - law_N, pull * from_usual)

    low, high = np.full(len(start), -30.0), np.full(len(start), 30.0)
    low[-1], high[-1] = LOG_SHARPNESS_RANGE
    return optimize.least_squares(
        residual, start, bounds=(low, high), loss="huber", f_scale=width, max_nfev=60
    )


def _starts(law: JointLaw, cells: JointCells) -> list[list[float]]:
    """Levels at the upper part of each family's R, for each start of the form."""
    levels = [
        float(np.quantile(cells.log_ratio_N[cells.family_N == name], 0.8)) for name in law.families
    ]
    shapes = [list(start[1:]) for start in law.form.starts[:3]] if law.form else [[]]
    rest = [0.0] * (law.has_people + law.has_params)
    return [[*levels, *shape, *rest, math.log(USUAL_SHARPNESS)] for shape in shapes]
