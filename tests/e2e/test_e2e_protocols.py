"""Every protocol through the gateway and over edges, while services are replaced under it."""

import json
import socket
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from lab import HERE, Lab

from atoll.testing.steady import Steady

_STOP = 'stop = { drain = "2s", grace = "2s" }\nrollout.bake = "0s"\n'


def _service(lab: Lab, name: str, kind: str, text: str = "", *, version: str = "v1", health: str = "tcp") -> None:
    """Write one that speaks `kind`, see streams_service.py."""
    folder = lab.root / name
    folder.mkdir(exist_ok=True)
    (folder / "streams_service.py").write_text((HERE / "streams_service.py").read_text())
    run = f'run = ["{sys.executable}", "streams_service.py", "{kind}"]\n'
    health = f'health = {{ ready = "{health}", stable_for = "300ms", start_budget = "30s" }}\n'
    lab.service(name, run + health + _STOP + text, route=None, env={"VERSION": version})


def _variable(lab: Lab, service: str, name: str) -> str:
    """A variable as the service's replica has it."""
    [pid] = lab.pids(service)
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(pair.partition("=")[2] for pair in pairs if pair.startswith(f"{name}="))


def _sse(lab: Lab, lines: list[str]) -> None:
    request = urllib.request.Request(f"{lab.url}/web/sse", headers={"accept": "text/event-stream"})
    with urllib.request.urlopen(request, timeout=30) as reply:
        lines.extend(line.decode().strip() for line in reply if line.strip())


def _websocket(lab: Lab) -> socket.socket:
    line = socket.create_connection(("127.0.0.1", lab.gateway_port), timeout=30)
    line.sendall(
        b"GET /web/ws HTTP/1.1\r\nHost: lab\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Key: eHh4eHh4eHh4eHh4eHh4eA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert b"101 " in line.recv(4096)
    return line


def _rest(line: socket.socket) -> bytes:
    """What comes until the other side ends it, in whatever way."""
    try:
        return line.recv(100)
    except ConnectionError:
        return b""


def test_streams_outlive_the_time_out_and_end_with_the_old_release(lab: Lab) -> None:
    web = 'route = { path = "/web", timeout = "1s" }'
    _service(lab, "web", "http", web)
    lab.atoll("up")
    lines: list[str] = []
    sse = threading.Thread(target=_sse, args=(lab, lines))
    sse.start()
    line = _websocket(lab)
    lab.until(lambda: len(lines) > 15)  # a line takes 100 ms: past the time-out of ordinary requests
    line.sendall(b"ping")
    assert line.recv(100) == b"v1:ping"
    _service(lab, "web", "http", web, version="v2")
    with Steady(lab.url, ("/web/a",), rate=20) as load:
        lab.atoll("deploy", "web")
    assert load.failures == []
    sse.join(timeout=30)
    assert not sse.is_alive()
    assert set(lines) == {"data: v1"}
    assert _rest(line) == b""
    with _websocket(lab) as fresh:
        fresh.sendall(b"ping")
        assert fresh.recv(100) == b"v2:ping"
    line.close()


def test_large_bodies_pass_and_made_up_headers_do_not(lab: Lab) -> None:
    _service(lab, "web", "http", 'route = "/web"')
    lab.atoll("up")
    body = b"x" * (16 * 2**20)
    with urllib.request.urlopen(urllib.request.Request(f"{lab.url}/web/p", data=body), timeout=60) as reply:
        assert json.load(reply)["bytes"] == len(body)
    claims = {"x-envoy-upstream-rq-timeout-ms": "1", "x-envoy-retry-on": "5xx", "x-atoll-caller": "orders"}
    with urllib.request.urlopen(urllib.request.Request(f"{lab.url}/web/", headers=claims), timeout=30) as reply:
        came = json.load(reply)["headers"]
    assert not set(claims) & set(came)


def test_an_optional_callee_may_come_later_and_an_external_one_is_reached(lab: Lab) -> None:
    class Outside(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "7")
            self.end_headers()
            self.wfile.write(b"outside")

        def log_message(self, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Outside) as outside:
        threading.Thread(target=outside.serve_forever, daemon=True).start()
        optional = '[calls.later]\noptional = true\nenv = { UPSTREAM = "{url}" }\n'
        external = f'[calls.bank]\nurl = "http://127.0.0.1:{outside.server_port}"\nenv = {{ UPSTREAM = "{{url}}" }}\n'
        _service(lab, "web", "http", f'route = "/web"\n{optional}')
        _service(lab, "shop", "http", f'route = "/shop"\n{external}')
        lab.atoll("up")
        assert lab.get("/shop/call")["body"] == "outside"
        absent = lab.get("/web/call")
        assert absent["status"] == 503
        assert "later" in absent["body"]
        [before] = lab.pids("web")
        _service(lab, "later", "http")
        lab.atoll("up", "later")
        lab.until(lambda: lab.get("/web/call")["status"] == 200)
        assert lab.pids("web") == [before]
        outside.shutdown()


def test_grpc_and_tcp_are_replaced_without_a_failed_call(lab: Lab) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    pytest.importorskip("grpc_health", reason="grpcio-health-checking is not installed")

    def write(version: str) -> None:
        _service(lab, "echo", "grpc", 'port = "grpc"\nroute = "/demo.Echo"', version=version, health="grpc")
        _service(lab, "line", "tcp", 'port = "tcp"', version=version)

    write("v1")
    edges = '[calls.echo]\nenv = { ECHO = "{address}" }\n[calls.line]\nenv = { LINE = "{address}" }\n'
    _service(lab, "web", "http", edges)
    lab.atoll("up")
    host, _, port = _variable(lab, "web", "LINE").rpartition(":")
    stop, seen, failed = threading.Event(), [], []

    def call() -> None:
        at = (f"127.0.0.1:{lab.gateway_port}", _variable(lab, "web", "ECHO"))
        channels = [grpc.insecure_channel(target) for target in at]
        while not stop.wait(0.02):
            for channel in channels:
                try:
                    seen.append(channel.unary_unary("/demo.Echo/Say")(b"x", timeout=20))
                except grpc.RpcError as exc:
                    failed.append(repr(exc))
        for channel in channels:
            channel.close()

    load = threading.Thread(target=call)
    load.start()
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(b"one\n")
        assert line.recv(100) == b"v1:one\n"
        write("v2")
        lab.atoll("deploy", "echo", "line")
        assert _rest(line) == b""  # a connection has no end of its own: the drain deadline is its end
    lab.until(lambda: b"v2:x" in seen)
    stop.set()
    load.join(timeout=60)
    assert failed == []
    assert set(seen) == {b"v1:x", b"v2:x"}
    with socket.create_connection((host, int(port)), timeout=30) as line:
        line.sendall(b"two\n")
        assert line.recv(100) == b"v2:two\n"
