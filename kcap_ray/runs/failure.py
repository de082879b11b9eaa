"""What is kept of an error that is not a mistake of the user's: a line, and the traceback in the
cell's directory, by which the next command knows that the cell is to be tried again.
"""

import traceback

from kcap_ray.config.errors import one_line
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.results import CellDirectory


def keep_error(error: Exception, directory: CellDirectory) -> str:
    """Write the traceback into the cell's directory; the error in a line that says so."""
    text = "".join(traceback.format_exception(error))
    write_atomically(directory.error_file, text)
    return f"{one_line(error)} (see cells/{directory.path.name}/error.txt)"
