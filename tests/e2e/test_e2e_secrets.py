"""Where the value of a secret is while an environment lives with it: in the replica that asked for it, and nowhere else."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import Lab

from atoll.workspace.places import Places

SECRET = "hunter2-Zq9vX-correct-horse"
FORMS = (SECRET.encode(), base64.b64encode(SECRET.encode()), SECRET.encode().hex().encode())
LOOKS = (
    ("status",), ("check",), ("secret", "list"), ("events",), ("releases", "orders"), ("why", "orders"), ("why", "orders", "r1"),
    ("logs",), ("doctor",), ("graph",), ("access",), ("jobs",), ("deploy", "orders", "--plan"), ("up", "--plan"), ("eject", "--plan"),
    ("secret", "set", "db", "--plan"),
)  # fmt: skip


class Watch:
    """Looks at the argv and environment of every process of the machine, again and again, while it is entered."""

    def __init__(self, values: list[bytes]) -> None:
        self.values = values
        self.seen: set[tuple[str, str]] = set()  # where, and the command line
        self.holders = 0  # looks at a replica that had it in its environment, as it should
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):  # gone, or somebody else's
                    environ, argv = (process / "environ").read_bytes(), (process / "cmdline").read_bytes()
                    command = argv.replace(b"\0", b" ").decode(errors="replace")
                    if any(value in argv for value in self.values):
                        self.seen.add(("argv", command))
                    if any(value in environ for value in self.values):
                        if b"echo_service.py" in argv:
                            self.holders += 1
                        else:
                            self.seen.add(("environ", command))
            self._over.wait(0.005)


def files_with(values: tuple[bytes, ...], folder: Path) -> Iterator[str]:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():
            text = file.read_bytes()
            yield from (str(file) for value in values if value in text)


def api(lab: Lab, request: bytes) -> bytes:
    """Bytes to the daemon's socket, and what comes back until it closes."""
    with pytest.MonkeyPatch.context() as patch, socket.socket(socket.AF_UNIX) as line:
        patch.setenv("ATOLL_HOME", lab.env["ATOLL_HOME"])
        patch.setenv("ATOLL_RUN", lab.env["ATOLL_RUN"])
        line.settimeout(30)
        line.connect(str(Places(lab.root, "local").daemon_socket))
        line.sendall(request)
        answer = b""
        while part := line.recv(65536):
            answer += part
        return answer


def put(body: str) -> bytes:
    head = f"PUT /v1/secrets/db HTTP/1.1\r\nHost: atoll\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def test_a_secret_is_nowhere_but_in_its_replica(lab: Lab) -> None:
    """Set, deployed, restarted, looked at in every way, asked for wrongly, run beside, and backed up."""
    lab.service("orders")
    with (lab.root / "orders" / "service.toml").open("a") as file:
        file.write('DB = { secret = "db" }\n')
    said: list[str] = []
    with Watch(list(FORMS)) as watch:
        lab.atoll("up", code=2)
        said.append(lab.atoll("secret", "set", "db", "--json", stdin=SECRET))
        for command in (("deploy", "orders"), ("restart", "orders")):
            done = lab.run(*command, "--json")
            assert done.returncode == 0, done.stderr
            said += [done.stdout, done.stderr]
        said.append(lab.atoll("exec", "orders", "--json", "--", "true"))
        said.append(lab.atoll("backup", str(lab.home / "all.backup"), "--json"))
        lab.until(lambda: watch.holders)
        for look in LOOKS:
            done = lab.run(*look, "--json")
            said += [done.stdout, done.stderr]
        for wrong in (f'{{"value": "{SECRET}', f'{{"value": ["{SECRET}"]}}', f'{{"value": "{SECRET}", "author": 1}}'):
            answer = api(lab, put(wrong))
            assert b"400 Bad Request" in answer
            said.append(answer.decode())
    assert watch.looks > 10
    assert watch.seen == set()
    assert [text for text in said if SECRET in text] == []
    assert sorted({*files_with(FORMS, lab.home), *files_with(FORMS, lab.home.parent / "run")}) == []
    who = {
        event["kind"]: event["author"]["actor"] for event in map(json.loads, lab.atoll("events", "--json").splitlines())
    }
    assert who["secret.set"] == who["exec.begun"] == who["rollout.started"] != ""


def test_a_token_is_nowhere_once_it_was_told(lab: Lab) -> None:
    """It reads over TCP, and at rest there is only its digest."""
    port = lab.gateway_port + 499
    with (lab.root / "atoll.toml").open("a") as file:
        file.write(f'api = "127.0.0.1:{port}"\n')
    lab.service("orders")
    lab.atoll("up")
    token = lab.atoll("access", "token", "grafana").strip()
    assert lab.run("access", "token", "grafana").returncode == 5
    with Watch([token.encode()]) as watch:
        assert "200 OK" in lab.until(lambda: over_tcp(port, f"Authorization: Bearer {token}"))
        assert "401 Unauthorized" in over_tcp(port, f"Authorization: Bearer {token}x")
        said = [lab.atoll(*look, "--json") for look in (("access",), ("status",), ("events",), ("logs",))]
    assert watch.seen == set()
    assert [text for text in said if token in text] == []
    assert sorted(files_with((token.encode(),), lab.home)) == []
    lab.atoll("access", "revoke", "grafana")
    assert "401 Unauthorized" in over_tcp(port, f"Authorization: Bearer {token}")


def over_tcp(port: int, *headers: str) -> str:
    with socket.create_connection(("127.0.0.1", port), 10) as line:
        fields = ("GET /v1/status HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close", *headers, "", "")
        line.sendall("\r\n".join(fields).encode())
        answer = b""
        while part := line.recv(65536):
            answer += part
        return answer.decode()
