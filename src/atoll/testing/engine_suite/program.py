"""The service that the suite runs: it does what its environment and its requests say. Standard library only.

It is copied beside a `service.toml`, or into an image, so any Python from 3.9 on may run it. `argv[1]` says what it is:
`serve` (HTTP and WebSocket), `grpc`, `worker` (no port), or the name of a one-off.

    PORT, HOST      where it listens; with CONFIG (a JSON file) `port` and `version` come from there
    MORE            further numbers where it listens, with spaces between
    VERSION         what it answers with
    START_S         how long it takes until it listens
    CRASH           it says so and ends with this exit code instead
    DIE_AFTER_S     it listens, and ends so long after with exit code 9
    STOP_S          how long it takes to end when told to; without it, it ends at once
    DEAF            it does not end when told to
"""

import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CONFIG = json.loads(Path(os.environ["CONFIG"]).read_text()) if os.environ.get("CONFIG") else {}
VERSION = str(CONFIG.get("version") or os.environ.get("VERSION", ""))
WITHIN_S = 10.0
MIB = 2**20


def answer(path: str, asked: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """What a GET of `.../NAME?...` does: its status, and what is said besides the version."""
    does = DOES.get(path.rpartition("/")[2])
    return does(**asked) if does else (200, {})


def slow(s: str = "1") -> tuple[int, dict[str, Any]]:
    """Answers after a while."""
    time.sleep(float(s))
    return 200, {}


def env(name: str) -> tuple[int, dict[str, Any]]:
    """One of its variables; null when it has none of that name."""
    return 200, {"value": os.environ.get(name)}


def argv() -> tuple[int, dict[str, Any]]:
    """The words that it was started with."""
    return 200, {"argv": sys.argv[1:]}


def config() -> tuple[int, dict[str, Any]]:
    """The whole of its file."""
    return 200, {"config": CONFIG}


def call(name: str, path: str = "/x") -> tuple[int, dict[str, Any]]:
    """Fetches from the URL in a variable."""
    try:
        with urllib.request.urlopen(os.environ[name] + path, timeout=WITHIN_S) as reply:
            return 200, {"status": reply.status, "body": json.load(reply)}
    except urllib.error.HTTPError as exc:
        return 200, {"status": exc.code, "body": exc.read().decode()}
    except OSError as exc:
        return 200, {"status": 0, "body": repr(exc)}


def dial(host: str, port: str) -> tuple[int, dict[str, Any]]:
    """Says HTTP to an address; what came back, or why nothing did."""
    try:
        with socket.create_connection((host, int(port)), timeout=2) as line:
            line.settimeout(2)
            line.sendall(b"GET /x HTTP/1.0\r\nHost: x\r\n\r\n")
            return 200, {"came": line.recv(4096).decode()}
    except OSError as exc:
        return 200, {"came": "", "why": repr(exc)}


def say(text: str) -> tuple[int, dict[str, Any]]:
    """Prints a line to each of its streams."""
    print(text, flush=True)
    print(text, file=sys.stderr, flush=True)
    return 200, {}


def read(path: str) -> tuple[int, dict[str, Any]]:
    """A file's text; null when there is none."""
    file = Path(os.path.expandvars(path))
    return 200, {"text": file.read_text() if file.exists() else None}


def write(path: str, text: str) -> tuple[int, dict[str, Any]]:
    """Writes a file, and says why when it may not."""
    try:
        Path(os.path.expandvars(path)).write_text(text)
    except OSError as exc:
        return 200, {"why": repr(exc)}
    return 200, {"why": ""}


def eat(mib: str) -> tuple[int, dict[str, Any]]:
    """Takes so much memory, and touches it."""
    held = [b"x" * MIB for _ in range(int(mib))]
    return 200, {"held": len(held)}


def spin(s: str, workers: str = "2") -> tuple[int, dict[str, Any]]:
    """Burns the CPU with some processes; the CPU seconds that they got."""
    before = os.times()
    until = time.monotonic() + float(s)
    for _ in range(int(workers)):
        if os.fork() == 0:
            while time.monotonic() < until:
                pass
            os._exit(0)
    for _ in range(int(workers)):
        os.wait()
    after = os.times()
    return 200, {"cpu_s": after.children_user + after.children_system - before.children_user - before.children_system}


def fork(most: str) -> tuple[int, dict[str, Any]]:
    """Starts processes that wait, ends them again; how many it could have at once, up to `most`."""
    children = []
    try:
        for _ in range(int(most)):
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            children.append(pid)
    except OSError:
        pass
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return 200, {"children": len(children)}


def files(most: str) -> tuple[int, dict[str, Any]]:
    """Opens files; how many it could have at once, up to `most`."""
    opened: list[int] = []
    try:
        while len(opened) < int(most):
            opened.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    for each in opened:
        os.close(each)
    return 200, {"opened": len(opened)}


DOES = {each.__name__: each for each in (slow, env, argv, config, call, dial, say, read, write, eat, spin, fork, files)}


class Handler(BaseHTTPRequestHandler):
    """HTTP, and WebSocket's upgrade (after which it echoes bytes: frames are the business of its callers)."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.echo()
            return
        at = urlsplit(self.path)
        status, said = answer(at.path, {name: values[0] for name, values in parse_qs(at.query).items()})
        self.reply(status, said)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.reply(200, {"bytes": len(body)})

    def echo(self) -> None:
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(VERSION.encode() + b":" + data)

    def reply(self, status: int, said: dict[str, Any]) -> None:
        data = json.dumps({"version": VERSION, **said}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    """HTTP for many at once."""

    daemon_threads = True
    request_queue_size = 256


PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
DATA, HEADERS, SETTINGS, PING, WINDOW = 0, 1, 4, 6, 8  # kinds of frames, RFC 9113 6
END_STREAM, END_HEADERS, ACK = 1, 4, 1


class Grpc(StreamRequestHandler):
    """Just enough of HTTP/2 and gRPC for small messages: `VERSION:request` is the answer, SERVING that of an empty request.

    So headers need not be decoded: what was called does not matter. Status 200 is entry 8 of HPACK's static table.
    """

    disable_nagle_algorithm = True

    def handle(self) -> None:
        self.rfile.read(PREFACE)
        self.frame(SETTINGS, 0, 0)
        requests: dict[int, bytes] = {}
        while head := self.rfile.read(9):
            size, kind, flags, stream = (
                int.from_bytes(head[:3], "big"),
                head[3],
                head[4],
                struct.unpack(">I", head[5:])[0],
            )
            body = self.rfile.read(size)
            if kind in {SETTINGS, PING} and not flags & ACK:
                self.frame(kind, ACK, 0, body if kind == PING else b"")
            elif kind == DATA:
                requests[stream] = requests.get(stream, b"") + body
                if size:
                    self.frame(WINDOW, 0, 0, struct.pack(">I", size))
                if flags & END_STREAM:
                    self.reply(stream, requests.pop(stream)[5:])

    def reply(self, stream: int, request: bytes) -> None:
        message = VERSION.encode() + b":" + request if request else b"\x08\x01"  # HealthCheckResponse: SERVING
        begin = b"\x88" + literal("content-type", "application/grpc")
        self.frame(HEADERS, END_HEADERS, stream, begin)
        self.frame(DATA, 0, stream, b"\0" + struct.pack(">I", len(message)) + message)
        self.frame(HEADERS, END_HEADERS | END_STREAM, stream, literal("grpc-status", "0"))

    def frame(self, kind: int, flags: int, stream: int, body: bytes = b"") -> None:
        self.wfile.write(len(body).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + body)


def literal(name: str, value: str) -> bytes:
    """A header as HPACK writes one that is in no table (RFC 7541 6.2.2)."""
    return b"\0" + bytes((len(name),)) + name.encode() + bytes((len(value),)) + value.encode()


class GrpcServer(ThreadingTCPServer):
    """gRPC for many at once."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


def stop(*_: object) -> None:
    """What the stop signal leads to."""
    print("told to stop", flush=True)
    if "DEAF" not in os.environ:
        time.sleep(float(os.environ.get("STOP_S", "0")))
        print("stopped", flush=True)
        os._exit(0)


def main() -> None:
    """Be what the first argument says."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "serve"
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
    print(f"{VERSION} starting", flush=True)
    if "CRASH" in os.environ:
        print("cannot find my configuration", file=sys.stderr, flush=True)
        sys.exit(int(os.environ["CRASH"]))
    time.sleep(float(os.environ.get("START_S", "0")))
    where = os.environ.get("HOST") or "127.0.0.1", int(CONFIG.get("port") or os.environ.get("PORT", "0"))
    for number in os.environ.get("MORE", "").split():
        threading.Thread(target=Server((where[0], int(number)), Handler).serve_forever, daemon=True).start()
    if kind == "serve":
        server = Server(where, Handler)
        if "DIE_AFTER_S" in os.environ:
            threading.Timer(float(os.environ["DIE_AFTER_S"]), lambda: os._exit(9)).start()
        server.serve_forever()
    elif kind == "grpc":
        GrpcServer(where, Grpc).serve_forever()
    elif kind == "worker":
        while True:
            print(f"{VERSION} works", flush=True)
            time.sleep(0.1)
    else:
        print(f"{VERSION} {' '.join(sys.argv[1:])}", flush=True)
        sys.exit(4 if "fail" in sys.argv else 0)


if __name__ == "__main__":
    main()
