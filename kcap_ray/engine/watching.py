"""A look at something every few seconds, in a thread of its own."""

import contextlib
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def watching(look: Callable[[threading.Event], bool], *, every_s: float) -> Iterator[None]:
    """Within it `look` is called again and again, `every_s` seconds apart, until it returns True.
    It gets the event that is set once the block has ended. A look that has begun is waited for.
    """
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(every_s) and not look(is_over):
            pass

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
