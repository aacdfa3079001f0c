"""Steady open-loop load for the tests: requests leave on schedule, however slow the answers; nothing is tried again.

Failed is: no answer within the deadline, a broken connection, a status of 500 and more.
"""

import http.client
import itertools
import json
import queue
import threading
import time
from collections import Counter
from typing import Self
from urllib.parse import urlsplit

_WORKERS = 16


class Steady:
    """`with Steady(url, paths, rate=80) as load:` every second request is a POST. `failures` says what went wrong."""

    def __init__(self, url: str, paths: tuple[str, ...], rate: float, deadline_s: float = 20.0) -> None:
        at = urlsplit(url)
        self._host, self._port = at.hostname or "127.0.0.1", at.port or 80
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
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._deadline_s)
        while (job := self._due.get()) is not None:
            path, body = job
            try:
                connection.request("POST" if body else "GET", path, body)
                reply = connection.getresponse()
                data = reply.read()
                if reply.status >= 500:
                    self.failures.append(f"{time.strftime('%X')} {path}: {reply.status} {data[:200]!r}")
                elif reply.status == 200:
                    self.versions[json.loads(data)["version"]] += 1
            except (OSError, http.client.HTTPException) as exc:
                self.failures.append(f"{time.strftime('%X')} {path}: {exc!r}")
                connection.close()
        connection.close()
