"""How good predictions of cells are that the joint law never saw."""

import math
from dataclasses import asdict

import numpy as np
import pandas as pd

from analysis.joint import INFORMATIVE, JointCells, joint_cells
from analysis.load import ResultsError
from analysis.predict import Predictor, Question, folds_of, labels_of, predictor_of


def held_out(rows: pd.DataFrame, by: str) -> pd.DataFrame:
    """Every cell predicted by a predictor that never saw its people, shape or exposures.

    `by` is one of those. Columns: the question's, `ratio`, `predicted`, `low`, `high`, `inside`,
    `told` (whether c limits it) and `outside` (what is extrapolated). Raises ResultsError where
    there are fewer than three of `by`, or where no prediction has an interval; cells whose has none
    are left out.
    """
    cells, _ = joint_cells(rows)
    label_N = labels_of(cells)[by]
    if len(np.unique(label_N)) < 3:
        raise ResultsError(f"{by}: fewer than three to leave out one of")
    fold_N = folds_of(label_N)
    records = []
    for fold in np.unique(fold_N):
        out_N = fold_N == fold
        found = predictor_of(cells.take(~out_N))
        records += _check(found, cells.take(out_N))
    if not records:
        raise ResultsError(
            f"no cell is predicted with an interval when its {by} is left out: what is left has no "
            "cell of its family, or too few"
        )
    return pd.DataFrame(records)


def _check(found: Predictor, own: JointCells) -> list[dict[str, object]]:
    records = []
    for i, family in enumerate(own.family_N):
        if family not in found.law.families:
            continue
        question = Question(
            n_params=float(own.params_N[i]),
            n_people=float(own.people_N[i]),
            exposures=float(own.exposures_N[i]),
            family=str(family),
        )
        said = found.predict(question)
        measured = float(np.exp(own.log_ratio_N[i]))
        if said.ratio.low is None or said.ratio.high is None:
            continue
        low, high = said.ratio.low, said.ratio.high
        told = found.law.told(own.take(np.array([i])))[0] > INFORMATIVE
        # Stored bits are a bound in expectation: a saturated cell may lie above R_max by a little.
        top = math.inf if high >= said.max_ratio else high
        records.append(
            {
                **asdict(question),
                "ratio": measured,
                "predicted": said.ratio.value,
                "low": low,
                "high": high,
                "inside": low <= measured <= top,
                "told": bool(told),
                "outside": "; ".join(said.outside),
            }
        )
    return records


def summary(checked: pd.DataFrame) -> dict[str, object]:
    """How good the predictions of `held_out` were; those inside of the other cells' range apart."""

    def of(rows: pd.DataFrame) -> dict[str, object]:
        if rows.empty:
            return {"n_cells": 0}
        error = np.abs(np.log((rows["predicted"] / rows["ratio"]).to_numpy(float)))
        return {
            "n_cells": len(rows),
            "inside_frac": round(float(rows["inside"].mean()), 4),
            "median_error": round(float(np.median(error)), 4),
        }

    within = checked[checked["outside"] == ""]
    return {
        "within range": of(within),
        "within range, limited by c": of(within[within["told"]]),
        "extrapolated": of(checked[checked["outside"] != ""]),
    }
