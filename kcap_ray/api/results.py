"""`read_results` of the Python interface."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from kcap_ray.config.errors import UserError

if TYPE_CHECKING:
    import pandas as pd


def read_results(*directories: str | Path) -> "pd.DataFrame":
    """The rows of one or several runs, or of folders of docs/results: one for each cell, and for
    each way in which it was quantized.

    The columns are those of docs/columns.md, in the present schema whatever version wrote them, and
    `run_dir` and `excluded_because`: why a row is neither fitted nor drawn, empty if it is. Raises
    `UserError` (a `ValueError`) where there is no results.parquet, or it cannot be read.
    """
    from analysis.files import ResultsError
    from analysis.load import load_results
    from kcap_ray.runs.opening import opened

    try:
        with contextlib.ExitStack() as stack:
            return load_results([stack.enter_context(opened(one)) for one in directories]).rows
    except ResultsError as error:
        raise UserError(str(error)) from error
