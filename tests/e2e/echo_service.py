"""A small HTTP service for the end-to-end tests: answers who it is, dies at once on SIGTERM, misbehaves on request.

Environment: PORT, VERSION, START_S (delay before listening), READY_THEN_DIE_S, UPSTREAM (a URL that /call fetches),
FAIL_SHARE (0 to 1, of the requests that answer 500), WAIT_MS (that each request waits, more or less).
"""

import json
import os
import random
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSION = os.environ.get("VERSION", "v1")
FAIL_SHARE, WAIT_MS = float(os.environ.get("FAIL_SHARE", "0")), float(os.environ.get("WAIT_MS", "0"))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path.endswith("/slow"):
            time.sleep(float(query or 1))
        if path.endswith("/held"):
            print("holds a request", flush=True)
            while not Path(query).exists():
                time.sleep(0.05)
        if path.endswith("/call"):
            self.call()
            return
        if path.endswith("/boom"):
            self.answer(500, {"version": VERSION})
            return
        if path.endswith("/healthz") and Path(os.environ.get("SICK_FILE", "/nonexistent")).exists():
            self.answer(503, {"version": VERSION})
            return
        if path.endswith("/healthz"):
            self.answer(200, {"version": VERSION})
            return
        self.work({"version": VERSION, "pid": os.getpid(), "env": os.environ.get("SHOWN", "")})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.work({"version": VERSION, "pid": os.getpid(), "bytes": len(body)})

    def work(self, body: dict[str, object]) -> None:
        """An ordinary request: waits its time, fails its share."""
        if WAIT_MS:
            time.sleep(WAIT_MS / 1000 * random.lognormvariate(0, 0.3))
        self.answer(500 if random.random() < FAIL_SHARE else 200, body)

    def call(self) -> None:
        try:
            with urllib.request.urlopen(os.environ["UPSTREAM"] + "/", timeout=10) as reply:
                self.answer(200, {"version": VERSION, "upstream": json.load(reply)})
        except urllib.error.HTTPError as exc:
            self.answer(502, {"version": VERSION, "upstream_status": exc.code})
        except OSError as exc:
            self.answer(502, {"version": VERSION, "upstream_error": str(exc)})

    def answer(self, status: int, body: dict[str, object]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    print(f"{VERSION} starting", flush=True)
    if "CRASH" in os.environ:
        print("boom: cannot find my configuration", file=sys.stderr, flush=True)
        sys.exit(7)
    time.sleep(float(os.environ.get("START_S", "0")))
    server = Server((os.environ.get("BIND", "127.0.0.1"), int(os.environ["PORT"])), Handler)
    if "READY_THEN_DIE_S" in os.environ:
        threading.Timer(float(os.environ["READY_THEN_DIE_S"]), lambda: os._exit(9)).start()
    server.serve_forever()
