"""Whether every node of a cluster sees the run directory: found out before anything is trained."""

import secrets

from kcap_ray.config.errors import UserError, one_line
from kcap_ray.engine.capacity import on_every_node
from kcap_ray.runs.files import write_atomically
from kcap_ray.runs.opening import TOKEN, RunPlace, UnsharedError, unseen_by
from kcap_ray.runs.results import RunDirectory
from kcap_ray.runs.store import SLOWEST_RETRY_S, Store

_UNSEEN = "unseen"


def check_nodes(directory: RunDirectory) -> None:
    """Write a token into the run directory and have every node that is up read it, and write where
    the run is kept in a store. Raises `UserError`, which names the nodes that cannot.

    Nodes that join later are asked before their first program.
    """
    write_atomically(directory.path / TOKEN, secrets.token_hex(16))
    place = RunPlace.of(directory)
    answers = on_every_node(node_problem, place)
    unseen = [host for host, answer in answers.items() if answer == _UNSEEN]
    if unseen:
        raise UnsharedError(f"--out {place.url or place.path}: {unseen_by(unseen)}")
    for host, answer in answers.items():
        if answer is not None:
            raise UserError(f"--out {place.url}: node {host} cannot use it ({answer})")


def node_problem(place: RunPlace) -> str | None:
    """What keeps the node that this runs on from working in the run directory; None if nothing
    does.
    """
    if not place.url:
        try:
            place.check()
        except UnsharedError:
            return _UNSEEN
        return None
    store, probe = Store(place.url, patience_s=SLOWEST_RETRY_S), f".probe-{secrets.token_hex(8)}"
    try:
        if store.get(TOKEN) != place.token.encode():
            return _UNSEEN
        store.put(probe, b"")
        store.delete(probe)
    except (OSError, UserError) as error:
        return getattr(error, "strerror", None) or one_line(error)
    return None
