"""Machines that are about to be taken away: what is at work is saved before they are gone."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Mapping

from kcap_ray.engine.watching import watching
from kcap_ray.runs.interrupt import ask_to_save
from kcap_ray.runs.results import RunDirectory

_logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""AWS gives two minutes' notice, others 30 seconds."""


@contextlib.contextmanager
def saves_on_notice(
    directory: RunDirectory,
    draining: Callable[[], Mapping[str, int]] | None = None,
    *,
    every_s: float = LOOK_EVERY_S,
) -> Iterator[None]:
    """Within it all who train save once more whenever the cluster begins to drain a node, as an
    autoscaler does that was given notice of it. `draining`: nodes by id; as Ray knows them if not
    given.
    """
    find = draining or _draining
    known: set[str] = set()

    def look(_: threading.Event) -> bool:
        try:
            found = set(find())
        except Exception as error:  # a cluster that does not answer is another's business
            _logger.debug("nodes that drain: %s", error)
            return False
        for node in sorted(found - known):
            _logger.warning("node %s is to be taken away; what is at work is saved", node[:8])
        if found - known:
            known.update(found)
            ask_to_save(directory)
        return False

    with watching(look, every_s=every_s):
        yield


def _draining() -> Mapping[str, int]:
    from ray._private.state import state

    return state.get_draining_nodes()
