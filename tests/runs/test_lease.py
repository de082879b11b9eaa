"""One holder of a lease at a time, whatever became of the one before."""

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from kcap_ray.config.errors import UserError
from kcap_ray.runs.lease import Lease, held, is_held
from kcap_ray.runs.lease_object import Found, PlainObject
from kcap_ray.runs.store import Store


@dataclass
class Memory:
    """A lease object with conditional writes, as S3 has them."""

    content: bytes | None = None
    tag: int = 0
    written_at: float = 0.0
    before_write: list[Callable[[], None]] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def read(self) -> Found | None:
        """What is there."""
        with self.lock:
            if self.content is None:
                return None
            return Found(self.content, str(self.tag), time.monotonic() - self.written_at)

    def create(self, content: bytes) -> str | None:
        """If there is none."""
        while self.before_write:
            self.before_write.pop()()
        with self.lock:
            return None if self.content is not None else self._write(content)

    def replace(self, content: bytes, tag: str) -> str | None:
        """If it has the tag."""
        while self.before_write:
            self.before_write.pop()()
        with self.lock:
            return None if tag != str(self.tag) else self._write(content)

    def _write(self, content: bytes) -> str:
        self.content, self.tag, self.written_at = content, self.tag + 1, time.monotonic()
        return str(self.tag)

    def leave(self, **changed: Any) -> None:
        """A lease that somebody of another machine holds."""
        holder = {"key": "k", "host": "other", "pid": 7, "boot": "b", "pids": "p", "state": "held"}
        with self.lock:
            self._write(json.dumps(holder | changed).encode())


def lease_on(place: Any, lost: list[str] | None = None, **times: float) -> Lease:
    """A lease that is renewed often and lasts shortly."""
    times = {"lasts_s": 0.4, "renew_every_s": 0.05} | times
    return Lease(place, "s3://b/run", on_lost=[].append if lost is None else lost.append, **times)


def test_who_comes_second_is_told_who_was_first() -> None:
    """On this machine at once, without waiting."""
    place = Memory()
    with held(lease_on(place)):
        with pytest.raises(UserError, match=r"s3://b/run: another kcap is at work there \(process"):
            lease_on(place).acquire()
        assert is_held(place)
    assert not is_held(place)


def test_a_lease_that_was_given_back_is_taken_at_once() -> None:
    """By the next command, which also gives it back."""
    place = Memory()
    for _ in range(3):
        with held(lease_on(place, lasts_s=1e9)):
            pass


def test_the_lease_of_a_process_that_is_gone_is_taken_at_once_on_its_machine() -> None:
    """Its number may be another's by now, which began at another time; or this one's, before it
    took its own place.
    """
    place = Memory()
    mine = lease_on(place)._me
    for gone in ({"pid": 2**22 + 1}, {"began": "1"}, {"image": "before"}):
        place.leave(**(mine | gone))
        with held(lease_on(place, lasts_s=1e9)):
            pass


def test_the_lease_of_another_machine_is_waited_for_until_it_runs_out() -> None:
    """Nobody writes it any more."""
    place = Memory()
    place.leave()
    began = time.monotonic()
    with held(lease_on(place)):
        assert time.monotonic() - began > 0.3


def test_a_holder_that_writes_its_lease_anew_is_at_work() -> None:
    """Then the second command ends and does not wait for it."""
    place = Memory()
    place.leave()
    numbers = itertools.count()
    read = place.read

    def read_and_go_on() -> Found | None:
        found = read()
        place.leave(n_written=next(numbers))
        return found

    place.read = read_and_go_on  # type: ignore[method-assign]
    with pytest.raises(UserError, match="process 7 on other"):
        lease_on(place, lasts_s=1e9).acquire()


def test_of_two_that_begin_at_once_one_gets_it() -> None:
    """Between looking and writing the other one has written."""
    place = Memory()
    place.before_write.append(lambda: place.leave(n_written=0) or None)
    with pytest.raises(UserError):
        place_read = place.read
        numbers = itertools.count(1)
        place.read = lambda: (place.leave(n_written=next(numbers)), place_read())[1]  # type: ignore[method-assign]
        lease_on(place, lasts_s=1e9).acquire()


def test_a_holder_learns_that_another_has_taken_over() -> None:
    """It says who, and gives nothing back that is not its own."""
    place, lost = Memory(), []
    lease = lease_on(place, lost)
    lease.acquire()
    place.leave()
    end = time.monotonic() + 10
    while not lost and time.monotonic() < end:
        time.sleep(0.01)
    lease.release()
    assert lost == ["process 7 on other"]
    found = place.read()
    assert found is not None and found.holder["state"] == "held"


def test_an_outage_does_not_lose_a_lease_that_nobody_has_taken() -> None:
    """Whether it is still held is known when the store answers again."""
    place, lost = Memory(), []
    fails = threading.Event()

    def fail() -> None:
        if fails.is_set():
            place.before_write.append(fail)
            raise OSError("no answer")

    with held(lease_on(place, lost)):
        fails.set()
        place.before_write.append(fail)
        time.sleep(0.6)  # longer than it lasts
        fails.clear()
        tag = place.tag
        end = time.monotonic() + 10
        while place.tag == tag and time.monotonic() < end:
            time.sleep(0.01)
        assert not lost and place.tag > tag


def test_without_conditional_writes_the_last_to_write_has_it() -> None:
    """Both look when it has settled, and one finds the other."""
    store = Store("memory://kcap-lease/run")
    first, second = (PlainObject(store, settle_s=0.0) for _ in range(2))
    assert first.create(b'{"key": "1"}') is not None
    assert second.create(b'{"key": "2"}') is None
    settled = PlainObject(store, settle_s=0.3)
    tag = first.read()
    assert tag is not None
    thread = threading.Timer(0.1, lambda: store.put(".lease", b'{"key": "3"}'))
    thread.start()
    assert settled.replace(b'{"key": "2"}', tag.tag) is None
    thread.join()
