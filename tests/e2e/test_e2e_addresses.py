"""Addresses in two variables: every kind of callee is reached (or refused at once) at the host and port it was told."""

import http.server
import json
import sys
import threading
from collections.abc import Iterator

import pytest
from lab import HERE, Lab

PROBE = """
import json, os, socket
def talk(name, say):
    with socket.create_connection((os.environ[name + "_HOST"], int(os.environ[name + "_PORT"])), 5) as line:
        line.settimeout(10)
        line.sendall(say)
        answer = b""
        while chunk := line.recv(65536):
            answer += chunk
            if answer.endswith(b"\\n") and b"HTTP" not in answer:
                break
        return answer.decode()
get = b"GET /x HTTP/1.1\\r\\nhost: here\\r\\nconnection: close\\r\\n\\r\\n"
print(json.dumps({
    "web": talk("WEB", get), "outside": talk("OUTSIDE", get), "absent": talk("ABSENT", get),
    "line": talk("LINE", b"hello\\n"), "outside_line": talk("OUTSIDE_LINE", get), "absent_line": talk("ABSENT_LINE", b""),
    "silent": os.environ.get("MAIL", ""),
}))
"""
CALLER = """
[calls]
web = { env = { WEB_HOST = "{host}", WEB_PORT = "{port}" } }
line = { env = { LINE_HOST = "{host}", LINE_PORT = "{port}" } }
absent = { env = { ABSENT_HOST = "{host}", ABSENT_PORT = "{port}" }, optional = true }
db = { env = { ABSENT_LINE_HOST = "{host}", ABSENT_LINE_PORT = "{port}" }, optional = true, protocol = "tcp" }
outside = { env = { OUTSIDE_HOST = "{host}", OUTSIDE_PORT = "{port}" }, url = "http://127.0.0.1:%d" }
outside-line = { env = { OUTSIDE_LINE_HOST = "{host}", OUTSIDE_LINE_PORT = "{port}" }, url = "tcp://127.0.0.1:%d" }
"""


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(f"outside, asked as {self.headers['host']}".encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def outside() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_host_and_port_apart_lead_to_every_kind_of_callee(lab: Lab, outside: int) -> None:
    lab.service("web")
    lab.service(
        "line",
        f'run = ["{sys.executable}", "-S", "streams_service.py", "tcp"]\nport = "tcp"\nhealth = "tcp"',
        route=None,
    )
    (lab.root / "line" / "streams_service.py").write_text((HERE / "streams_service.py").read_text())
    lab.service("caller", CALLER % (outside, outside))
    lab.atoll("up")
    asked = json.loads(lab.atoll("exec", "caller", "--", sys.executable, "-c", PROBE))
    assert asked["web"].startswith("HTTP/1.1 200")
    assert asked["outside"].startswith("HTTP/1.1 200")
    assert f"asked as 127.0.0.1:{outside}" in asked["outside"]
    assert asked["absent"].startswith("HTTP/1.1 503")
    assert "hello" in asked["line"]
    assert asked["outside_line"].endswith("\r\n\r\noutside, asked as here")
    assert asked["absent_line"] == "", "closed at once: a client that waits for a greeting must not hang"
