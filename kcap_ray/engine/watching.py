"""A look at something every few seconds, in a thread of its own."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator

_logger = logging.getLogger(__name__)


@contextlib.contextmanager
def watching(look: Callable[[threading.Event], bool], *, every_s: float) -> Iterator[None]:
    """Within it `look` is called again and again, `every_s` seconds apart, until it returns True.
    It gets the event that is set once the block has ended. A look that has begun is waited for. One
    that raises is no last one: the first error is logged, and the next look comes as ever.
    """
    is_over = threading.Event()

    def watch() -> None:
        has_failed = False
        while not is_over.wait(every_s):
            try:
                if look(is_over):
                    return
            except Exception:
                if not has_failed:
                    _logger.warning("a look every %g s failed; it goes on", every_s, exc_info=True)
                has_failed = True

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
