"""How often the intervals of c hold the truth, over named regimes of planted laws.

`python -m analysis coverage` (or `make coverage`) writes docs/results/coverage.{json,md}.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from analysis.inference import Inference, infer
from analysis.law import Floats, log_ratio

RANGE = (0.93, 0.97)
MIN_GIVEN = 0.2  # of runs with an interval, to judge the coverage of intervals alone
BATCH = 250
QUICKSTART = (0.958, 0.734, 3.237, 2.480)  # R_max of sweeps/quickstart.yaml


@dataclass(frozen=True, kw_only=True)
class Regime:
    """Cells and the noise on them. Standard deviations are of natural logs (0.05 is about 5%)."""

    name: str
    max_ratio_N: tuple[float, ...]
    """R_max of the cells of one number of people and one seed, in bits per parameter."""
    capacity: float = 1.5
    sharpness: float = 5.0
    cell_sd: float = 0.03
    """Of R in each run."""
    n_people: int = 1
    """Numbers of people, each with all cells."""
    people_sd: float = 0.0
    """Of c between numbers of people."""
    shape_sd: float = 0.0
    """Of c between shapes; the same for all people and seeds."""
    n_seeds: int = 1
    repeated_sd: float = 0.0
    """Of c between cells; the same for all seeds of a cell."""
    people_spacing: float = 1.0
    """Factor of R_max from one number of people to the next."""
    t_degrees: float | None = None
    """Degrees of freedom of the noise (heavy tails); None is normal noise."""
    is_in_capacity: bool = False
    """Whether noise moves c, so that saturated cells have next to none."""

    def design(self) -> tuple[Floats, dict[str, np.ndarray]]:
        """Log R_max and the cluster labels of every run."""
        n = len(self.max_ratio_N)
        shape_N = np.tile(np.arange(n), self.n_people * self.n_seeds)
        people_N = np.tile(np.repeat(np.arange(self.n_people), n), self.n_seeds)
        spacing_N = people_N * math.log(self.people_spacing)
        x_N = np.asarray(np.log(self.max_ratio_N)[shape_N] + spacing_N, dtype=np.float64)
        labels = {"cell": people_N * n + shape_N, "people": people_N, "shape": shape_N}
        return x_N, labels

    def draw(self, n_runs: int, rng: np.random.Generator) -> Floats:
        """Log R of `n_runs` sets of measurements, shape (B, N); at most 0.998 R_max."""
        x_N, labels = self.design()
        log_c_BN = np.full((n_runs, len(x_N)), math.log(self.capacity))
        effects = (("people", self.people_sd), ("shape", self.shape_sd), ("cell", self.repeated_sd))
        for name, sd in effects:
            effect_BK = rng.normal(0.0, sd, (n_runs, labels[name].max() + 1))
            log_c_BN += effect_BK[:, labels[name]]
        noise_BN = self.cell_sd * self._unit_noise(log_c_BN.shape, rng)
        if self.is_in_capacity:
            return log_ratio(x_N, log_c_BN + noise_BN, np.log(self.sharpness))
        y_BN = log_ratio(x_N, log_c_BN, np.log(self.sharpness)) + noise_BN
        return np.minimum(y_BN, x_N + math.log(0.998))

    def _unit_noise(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        if self.t_degrees is None:
            return rng.normal(0.0, 1.0, shape)
        return rng.standard_t(self.t_degrees, shape) * math.sqrt(1 - 2 / self.t_degrees)


def _span(low: float, high: float, n: int) -> tuple[float, ...]:
    return tuple(np.geomspace(low, high, n))


REGIMES = (
    Regime(name="3 cells", max_ratio_N=(0.7, 1.5, 4.0)),
    Regime(name="3 cells, all far beyond c", max_ratio_N=(6.0, 9.0, 14.0)),
    Regime(name="4 cells", max_ratio_N=(0.7, 1.3, 2.5, 5.0)),
    Regime(name="quickstart's 4 cells", max_ratio_N=QUICKSTART, capacity=1.2),
    Regime(name="quickstart's, 20% noise", max_ratio_N=QUICKSTART, capacity=1.2, cell_sd=0.2),
    Regime(name="6 cells", max_ratio_N=_span(0.6, 5, 6)),
    Regime(name="6 cells, all beyond c", max_ratio_N=_span(1.8, 6, 6)),
    Regime(name="8 cells", max_ratio_N=_span(0.6, 5, 8)),
    Regime(name="14 cells, 2% noise", max_ratio_N=_span(0.4, 6, 14), cell_sd=0.02),
    Regime(name="14 cells, 5% noise", max_ratio_N=_span(0.4, 6, 14), cell_sd=0.05),
    Regime(name="14 cells, 20% noise", max_ratio_N=_span(0.4, 6, 14), cell_sd=0.2),
    Regime(name="14 cells, soft corner (s = 2)", max_ratio_N=_span(0.4, 9, 14), sharpness=2.0),
    Regime(name="14 cells, hard corner (s = 12)", max_ratio_N=_span(0.4, 6, 14), sharpness=12.0),
    Regime(name="14 cells, heavy tails (t, 3)", max_ratio_N=_span(0.4, 6, 14), t_degrees=3.0),
    Regime(name="14 cells, noise in c only", max_ratio_N=_span(0.4, 6, 14), is_in_capacity=True),
    Regime(name="40 cells", max_ratio_N=_span(0.2, 6, 40)),
    Regime(name="10 cells far beyond c", max_ratio_N=_span(15, 100, 10)),
    Regime(name="20 saturated and 3 more", max_ratio_N=(*_span(0.05, 0.7, 20), 2.5, 3.5, 5.0)),
    Regime(name="20 saturated and 6 more", max_ratio_N=(*_span(0.05, 0.7, 20), *_span(1.8, 6, 6))),
    Regime(name="6 cells x 3 seeds", max_ratio_N=_span(0.8, 6, 6), n_seeds=3),
    Regime(
        name="6 cells x 3 seeds, cells 5%",
        max_ratio_N=_span(0.8, 6, 6),
        n_seeds=3,
        repeated_sd=0.05,
    ),
    Regime(
        name="6 cells x 3 seeds, cells 10%",
        max_ratio_N=_span(1.5, 6, 6),
        n_seeds=3,
        repeated_sd=0.1,
    ),
    Regime(name="5 N x 6 cells, N 10%", max_ratio_N=_span(0.6, 6, 6), n_people=5, people_sd=0.1),
    Regime(name="5 N x 30 cells", max_ratio_N=_span(0.2, 5, 30), n_people=5),
    Regime(name="5 N x 30 cells, N 15%", max_ratio_N=_span(0.2, 5, 30), n_people=5, people_sd=0.15),
    Regime(
        name="3 N x 8 shapes, shapes 8%",
        max_ratio_N=_span(0.3, 1.75, 8),
        n_people=3,
        people_spacing=2.0,
        shape_sd=0.08,
    ),
    Regime(name="c not reached", max_ratio_N=_span(0.4, 1.8, 10), capacity=2.0),
    Regime(name="c hardly reached", max_ratio_N=_span(0.4, 2.2, 10), capacity=2.0),
)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """What came of one regime."""

    regime: str
    n_runs: int
    given_frac: float
    """Runs with an interval."""
    interval_coverage: float | None
    """Share of those intervals that hold the truth; None where too few runs have one."""
    bound_frac: float
    """Runs that say only c > x."""
    bound_coverage: float | None
    """Share of those bounds that are true."""
    false_frac: float
    """Runs whose interval or bound excludes the truth."""
    median_width: float | None
    """Of intervals, relative to c."""

    @property
    def is_inside(self) -> bool:
        """Whether the intervals hold the truth as often as they say, where they are given."""
        return self.interval_coverage is None or RANGE[0] <= self.interval_coverage <= RANGE[1]


def measure(regime: Regime, n_runs: int, seed: int = 0) -> Coverage:
    """Simulate and fit `n_runs` sets of measurements."""
    rng = np.random.default_rng([seed, *map(ord, regime.name)])
    x_N, labels = regime.design()
    y_BN = regime.draw(n_runs, rng)
    parts = [infer(x_N, y_BN[i : i + BATCH], labels) for i in range(0, n_runs, BATCH)]
    return _summary(regime, parts, n_runs)


def _summary(regime: Regime, parts: list[Inference], n_runs: int) -> Coverage:
    low_B, high_B, given_B, reached_B = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("low_B", "high_B", "has_interval_B", "is_reached_B")
    )
    truth = math.log(regime.capacity)
    holds_B, bound_B = (low_B <= truth) & (truth <= high_B), ~reached_B
    stated_B = given_B | bound_B
    enough = given_B.mean() >= MIN_GIVEN
    width_B = np.exp(high_B[given_B]) - np.exp(low_B[given_B])
    return Coverage(
        regime=regime.name,
        n_runs=n_runs,
        given_frac=round(float(given_B.mean()), 4),
        interval_coverage=round(float(holds_B[given_B].mean()), 4) if enough else None,
        bound_frac=round(float(bound_B.mean()), 4),
        bound_coverage=round(float(holds_B[bound_B].mean()), 4) if bound_B.any() else None,
        false_frac=round(float((stated_B & ~holds_B).mean()), 4),
        median_width=round(float(np.median(width_B)) / regime.capacity, 4) if enough else None,
    )


def study(n_runs: int = 2000, seed: int = 0) -> list[Coverage]:
    """Every regime."""
    return [measure(regime, n_runs, seed) for regime in REGIMES]


def write_study(folder: Path, *, n_runs: int = 2000, command: str) -> Path:
    """folder/coverage.json and coverage.md; returns the latter's path."""
    found = study(n_runs)
    folder.mkdir(parents=True, exist_ok=True)
    record = {"command": command, "n_runs": n_runs, "regimes": [asdict(one) for one in found]}
    (folder / "coverage.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    path = folder / "coverage.md"
    path.write_text(_markdown(found, n_runs, command), encoding="utf-8")
    return path


def _markdown(found: list[Coverage], n_runs: int, command: str) -> str:
    chance = 1.96 * math.sqrt(0.95 * 0.05 / n_runs)
    lines = [
        "# Coverage of nominal 95% intervals of c",
        "",
        f"`{command}`: {n_runs} sets of cells of a planted law for each regime, noise of 3% unless",
        f"the name says otherwise; chance alone moves a share of 0.95 by {chance:.3f}. An interval",
        "is given where the cells leave two degrees of freedom and demand more than its upper end;",
        f"with fewer than {MIN_GIVEN:.0%} of the runs its coverage is not judged. `false`: runs",
        "whose interval or bound excludes the truth.",
        "",
        "| regime | interval given | coverage | median width | only c > x | true | false |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in found:
        mark = "" if one.is_inside else " (outside 0.93 to 0.97)"
        lines.append(
            f"| {one.regime} | {one.given_frac:.2f} | {_shown(one.interval_coverage)}{mark} | "
            f"{_shown(one.median_width)} | {one.bound_frac:.2f} | {_shown(one.bound_coverage)} | "
            f"{one.false_frac:.3f} |"
        )
    return "\n".join(lines) + "\n"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
