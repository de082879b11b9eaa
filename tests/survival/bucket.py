"""A bucket on this machine: moto's S3 server in a process of its own, and before it a proxy that
makes a share of the requests fail, by a seed.

`python -m tests.survival.bucket` is that process; `Bucket` starts it, and asks it what it saw.
"""

import argparse
import http.client
import json
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

NAME = "runs"
"""The bucket."""

FAULTS = ("500", "503", "reset before", "reset after", "slow")
"""Internal error; slow down; the connection breaks before the request arrives, or after it was
done; an answer that takes its time.
"""
SLOW_S = (0.05, 0.4)

_ERROR = (
    "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}, by the test</Message></Error>"
)
_CONTROL = "/-/"


class _Proxy(BaseHTTPRequestHandler):
    """Hands requests on to the server, or makes them fail."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def log_message(self, format: str, *args: object) -> None:
        """Nothing; the counts are asked for."""

    def handle_one_request(self) -> None:
        """A client that has gone is no error."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        """Any method."""
        body = self._body()
        if self.path.startswith(_CONTROL):
            return self._answer(200, json.dumps(self.state.control(self.path)).encode())
        fault = self.state.choose(self.command, self.headers.get("Authorization", ""))
        if fault == "expired":
            return self._error(400, "ExpiredToken")
        if fault == "500":
            return self._error(500, "InternalError")
        if fault == "503":
            return self._error(503, "SlowDown")
        if fault == "slow":
            time.sleep(self.state.chance.uniform(*SLOW_S))
        if fault == "reset before":
            return self._reset()
        connection = http.client.HTTPConnection("127.0.0.1", self.state.behind, timeout=60)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in ("transfer-encoding", "content-length", "expect")
        }
        connection.request(self.command, self.path, body=body, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if fault == "reset after":
            return self._reset()
        self._answer(answer.status, content, answer.getheaders())

    do_PUT = do_POST = do_DELETE = do_HEAD = do_GET

    @property
    def state(self) -> "_State":
        return self.server.state  # pyright: ignore[reportAttributeAccessIssue]

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while n_bytes := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(n_bytes))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(parts)

    def _answer(
        self, status: int, content: bytes, headers: list[tuple[str, str]] | None = None
    ) -> None:
        self.send_response_only(status)
        has_length = False
        for name, value in headers or []:
            is_length = name.lower() == "content-length"
            if name.lower() in ("connection", "transfer-encoding", "keep-alive"):
                continue
            has_length |= is_length
            self.send_header(name, value)
        if not has_length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _error(self, status: int, code: str) -> None:
        now = [("Content-Type", "application/xml"), ("Date", self.date_time_string())]
        self._answer(status, _ERROR.format(code=code).encode(), now)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True


class _State:
    """What the proxy has seen, and what it makes fail."""

    def __init__(self, behind: int, share: float, seed: int) -> None:
        self.behind, self.share, self.chance = behind, share, random.Random(seed)
        self.expired = ""
        self.requests: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self._lock = threading.Lock()

    def choose(self, method: str, authorization: str) -> str:
        """What becomes of a request; nothing in most cases."""
        with self._lock:
            self.requests[method] += 1
            fault = ""
            if self.expired and f"Credential={self.expired}/" in authorization:
                fault = "expired"
            elif self.chance.random() < self.share:
                fault = self.chance.choice(FAULTS)
            if fault:
                self.faults[fault] += 1
            return fault

    def control(self, path: str) -> dict[str, Any]:
        """`/-/expire/KEY`: requests signed with this key are refused from now on; `/-/share/0.1`;
        anything else: the counts.
        """
        what, _, value = path.removeprefix(_CONTROL).partition("/")
        with self._lock:
            if what == "expire":
                self.expired = value
            if what == "share":
                self.share = float(value)
            return {"requests": dict(self.requests), "faults": dict(self.faults)}


def _serve(share: float, seed: int) -> None:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, behind = server.get_host_and_port()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    proxy.daemon_threads = True
    proxy.state = _State(behind, share, seed)  # pyright: ignore[reportAttributeAccessIssue]
    connection = http.client.HTTPConnection("127.0.0.1", behind)
    connection.request("PUT", f"/{NAME}")
    assert connection.getresponse().status == 200
    print(proxy.server_address[1], flush=True)
    # It ends with the process that started it.
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    proxy.serve_forever()


class Bucket:
    """The bucket, while it is entered; it is empty at first."""

    def __init__(self, folder: Path, *, share: float = 0.0, seed: int = 0) -> None:
        """`folder`: where the file with its credentials goes; `share` of requests that fail."""
        self.folder, self.share, self.seed = folder, share, seed
        self.key = "first"

    def __enter__(self) -> "Bucket":
        here = [sys.executable, "-W", "ignore", "-m", "tests.survival.bucket"]
        command = [*here, "--share", str(self.share), "--seed", str(self.seed)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())
        self.use_key("first")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def url(self, run: str) -> str:
        """Of a run in it."""
        return f"s3://{NAME}/{run}"

    @property
    def environment(self) -> dict[str, str]:
        """By which programs find the server and their credentials."""
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_SHARED_CREDENTIALS_FILE": str(self.folder / "credentials"),
            "AWS_CONFIG_FILE": str(self.folder / "no-config"),
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def use_key(self, key: str) -> None:
        """Sign with another key from now on, as after a login."""
        self.key = key
        text = f"[default]\naws_access_key_id = {key}\naws_secret_access_key = secret\n"
        (self.folder / "credentials").write_text(text)

    def expire(self, key: str) -> None:
        """Refuse what is signed with this key from now on."""
        self._control(f"expire/{key}")

    def counts(self) -> dict[str, dict[str, int]]:
        """Requests by method, and faults by kind, so far."""
        return self._control("counts")

    def _control(self, what: str) -> dict[str, dict[str, int]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{_CONTROL}{what}") as answer:
            return json.load(answer)


def wait_until(happened: Callable[[], bool], *, longest_s: float = 120.0) -> None:
    """Wait for something that is looked for a few times a second."""
    end = time.monotonic() + longest_s
    while not happened():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.05)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    _serve(given.share, given.seed)
