"""Mathematics in figures: kcap's own symbols are set as such, and nothing else is.

Names of data sets and models are the user's, and may hold what mathematics is written with.
"""

import re

from matplotlib.figure import Figure
from matplotlib.text import Text

_OWN = re.compile(r"(\$R(?:_\{max\})?(?: = R_\{max\})?\$)")


def set_own_symbols(figure: Figure) -> None:
    """Set R and R_max as mathematics in a figure whose texts are shown as they are written."""
    for text in figure.findobj(Text):
        assert isinstance(text, Text), "asked for texts"
        parts = _OWN.split(text.get_text())
        if len(parts) == 1:
            continue
        # Every second part is a symbol.
        shown = [part if i % 2 else part.replace("$", r"\$") for i, part in enumerate(parts)]
        text.set_text("".join(shown))
        text.set_parse_math(True)
