"""Paths and URLs in what verbs are given: a run may be kept in a store, and anything else is local.

A verb gets a path in any case. Where it was given a URL that it takes, that is a copy for as long
as the verb runs, and what it writes there is in the store.
"""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from kcap_ray.config.errors import UserError
from kcap_ray.runs.opening import opened
from kcap_ray.runs.store import url_of
from kcap_ray.runs.working_copy import with_urls

RUNS = {
    "extract": "directory",
    "quantize": "directory",
    "report": "directories",
    "run-cell": "out",
    "status": "directories",
    "sweep": "out",
}
"""Of each verb that takes a run wherever it is kept, the argument or option that names it."""

WHOLE = {"export": "cell_directory", "measure": "model_directory"}
"""The same of those that read a directory with its weights."""


def placed(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, which sees only paths of this machine: what it may have in a store is opened for
    it, and any other URL is refused.
    """
    name = verb.__name__.removesuffix("_command").replace("_", "-")

    @functools.wraps(verb)
    def with_paths(*values: Any, **named: Any) -> Any:
        bound = inspect.signature(verb).bind_partial(*values, **named)
        with contextlib.ExitStack() as stack, named_by_url():
            for parameter, value in bound.arguments.items():
                bound.arguments[parameter] = _local(name, parameter, value, stack)
            return verb(*bound.args, **bound.kwargs)

    return with_paths


def _local(verb: str, parameter: str, value: Any, stack: contextlib.ExitStack) -> Any:
    if isinstance(value, list):
        return [_local(verb, parameter, one, stack) for one in value]
    if not isinstance(value, Path):
        return value
    url = url_of(value)
    is_whole = WHOLE.get(verb) == parameter
    if url is not None and not is_whole and RUNS.get(verb) != parameter:
        raise not_taken(verb, url)
    return stack.enter_context(opened(value, whole=is_whole))


def not_taken(what: str, url: str) -> UserError:
    """What to say of a URL where only a local path will do."""
    return UserError(f"{what}: {url} is a URL; write a path of this machine there")


@contextlib.contextmanager
def named_by_url() -> Iterator[None]:
    """Errors name the URL of a run that is kept in a store, and not where its copy was."""
    try:
        yield
    except UserError as error:
        text = with_urls(str(error))
        if text == str(error):
            raise
        raise type(error)(text) from error
    except OSError as error:
        if error.filename is None or with_urls(str(error.filename)) == str(error.filename):
            raise
        raise OSError(error.errno, error.strerror, with_urls(str(error.filename))) from error
