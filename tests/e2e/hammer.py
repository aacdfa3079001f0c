"""Clients that ask without pause, each on a connection that it keeps as long as it is let.

As a program (`hammer.py PORT STOP_FILE METHOD PATH...`) it runs until that file is there and prints what failed, a line each, then
how many did not.
"""

import http.client
import sys
import threading
import time
from pathlib import Path


class Load(threading.Thread):
    """One client."""

    def __init__(self, port: int, method: str, path: str, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.method, self.path, self.stop = port, method, path, stop
        self.done, self.failed = 0, list[str]()

    def run(self) -> None:
        line = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop.is_set():
            try:
                line.request(self.method, self.path, body=b"hello" if self.method == "POST" else None)
                reply = line.getresponse()
                reply.read()
                self.done += 1
                if reply.status != 200:
                    self.failed.append(f"{self.path}: {reply.status}")
            except (OSError, http.client.HTTPException) as exc:
                self.failed.append(f"{self.path}: {exc!r}")
                line.close()
        line.close()


def main() -> None:
    """See the module."""
    port, until, *words = sys.argv[1:]
    stop = threading.Event()
    loads = [Load(int(port), method, path, stop) for method, path in zip(words[::2], words[1::2], strict=True)]
    for each in loads:
        each.start()
    while not Path(until).exists():
        time.sleep(0.05)
    stop.set()
    for each in loads:
        each.join(60)
    print(*(text for each in loads for text in each.failed), sum(each.done for each in loads), sep="\n")


if __name__ == "__main__":
    main()
