"""Read one file of results, or say in two lines why it cannot be read."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq


class ResultsError(ValueError):
    """What was asked of the analysis cannot be done with these files; one or two lines."""


def read_parquet(path: Path) -> pd.DataFrame:
    """The table of a file. Raises ResultsError if it is not a readable Parquet file."""
    try:
        # Not `pd.read_parquet`, which looks for data sets of many files first.
        with pq.ParquetFile(path) as file:
            return file.read().to_pandas()
    except (OSError, ValueError) as error:  # pyarrow's errors derive from these two
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ResultsError(f"{path} cannot be read as parquet: {cause}") from error
