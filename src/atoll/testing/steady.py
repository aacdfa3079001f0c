"""Steady open-loop load: requests leave on schedule, however slow the answers; nothing is tried again.

Failed is: no answer within the deadline, a broken connection, a status of 500 and more.
"""

import http.client
import itertools
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, Self
from urllib.parse import urlsplit

_WORKERS = 16


class Reply(NamedTuple):
    """An answer: `body` is its JSON, or under `text` what is none."""

    status: int
    body: dict[str, Any]

    @property
    def version(self) -> str:
        """What the program calls itself; "" when somebody else answered."""
        return str(self.body.get("version", ""))


class Send(Protocol):
    """Send one request and wait for its answer; a POST when there is a body. Raises OSError or HTTPException."""

    def __call__(self, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Reply: ...

    def close(self) -> None: ...


class Connection:
    """`Send` over one connection at a time, kept from request to request; of one thread."""

    def __init__(self, url: str, deadline_s: float = 20.0) -> None:
        at = urlsplit(url)
        self._line = http.client.HTTPConnection(at.hostname or "127.0.0.1", at.port or 80, timeout=deadline_s)

    def __call__(self, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Reply:
        """See `Send`. After a failure the next request has a connection of its own."""
        try:
            self._line.request("POST" if body else "GET", path, body, dict(headers))
            reply = self._line.getresponse()
            data = reply.read()
        except (OSError, http.client.HTTPException):
            self._line.close()
            raise
        try:
            said = json.loads(data)
        except ValueError:
            said = None
        return Reply(reply.status, said if isinstance(said, dict) else {"text": data.decode(errors="replace")})

    def close(self) -> None:
        """Let go of the connection."""
        self._line.close()


class Steady:
    """`with Steady(url, paths, rate=80) as load:` every second request is a POST. `failures` says what went wrong."""

    def __init__(
        self,
        url: str,
        paths: tuple[str, ...],
        rate: float,
        deadline_s: float = 20.0,
        connect: Callable[[], Send] | None = None,
    ) -> None:
        """`rate` is in requests a second; `connect` gives each thread its way to send, else HTTP to `url`."""
        self._connect = connect or (lambda: Connection(url, deadline_s))
        self._paths, self._rate, self._deadline_s = itertools.cycle(paths), rate, deadline_s
        self._due: queue.Queue[tuple[str, bytes | None] | None] = queue.Queue()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_WORKERS)]
        self._clock = threading.Thread(target=self._schedule, daemon=True)
        self.sent = 0
        self.failures: list[str] = []
        self.versions: Counter[str] = Counter()

    def __enter__(self) -> Self:
        for thread in (*self._threads, self._clock):
            thread.start()
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.5)
        self._stop.set()
        self._clock.join(timeout=10)
        for thread in self._threads:
            thread.join(timeout=self._deadline_s + 10)

    def _schedule(self) -> None:
        start = time.monotonic()
        for n in itertools.count():
            wait = start + n / self._rate - time.monotonic()
            if self._stop.wait(max(0.0, wait)):
                break
            self._due.put((next(self._paths), b"x" * 100 if n % 2 else None))
            self.sent += 1
        for _ in self._threads:
            self._due.put(None)

    def _work(self) -> None:
        send = self._connect()
        while (job := self._due.get()) is not None:
            path, body = job
            try:
                reply = send(path, body)
                if reply.status >= 500:
                    self.failures.append(f"{time.strftime('%X')} {path}: {reply.status} {str(reply.body)[:200]}")
                elif reply.status == 200:
                    self.versions[reply.version] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(f"{time.strftime('%X')} {path}: {exc!r}")
        send.close()
