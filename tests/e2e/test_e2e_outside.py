"""What a service reaches beyond the workspace: callees by TLS, gRPC and TCP, stores, services of other repositories."""

import datetime as dt
import json
import os
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lab import Lab

_PEM = serialization.Encoding.PEM


def _signed(name: str, issuer: Any = None) -> tuple[Any, Any]:
    """A certificate and its key: an authority's own, or one of `localhost` by an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    by, signing = (issuer[0].subject, issuer[1]) if issuer else (subject, key)
    made = x509.CertificateBuilder(by, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
    made = made.add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    return made.sign(signing, hashes.SHA256()), key


def _pem(key: Any) -> bytes:
    return bytes(key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))


class Outside:
    """A TLS server of `localhost` whose certificate is by an authority of its own."""

    def __init__(self, folder: Path) -> None:
        authority = _signed("authority")
        leaf, key = _signed("localhost", authority)
        self.ca = authority[0].public_bytes(_PEM)
        self.chain, self.key = leaf.public_bytes(_PEM), _pem(key)
        (folder / "chain.pem").write_bytes(self.chain)
        (folder / "key.pem").write_bytes(self.key)
        self.seen: list[tuple[str, str]] = []  # (path, host)
        self.names: list[str | None] = []

    @contextmanager
    def serving(self, folder: Path) -> Iterator[int]:
        outside = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outside.seen.append((self.path, self.headers["host"]))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: object) -> None:
                pass

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "chain.pem", folder / "key.pem")
        context.sni_callback = lambda _socket, name, _context: self.names.append(name)
        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            server.socket = context.wrap_socket(server.socket, server_side=True)
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield server.server_port
            server.shutdown()


def _variables(lab: Lab, service: str) -> dict[str, str]:
    """As the service's replica has them."""
    [pid] = lab.pids(service)
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.partition("=")[::2] for pair in pairs if pair)


def test_a_callee_outside_is_reached_by_tls_with_an_authority_of_its_own(lab: Lab, tmp_path: Path) -> None:
    outside = Outside(tmp_path)
    with outside.serving(tmp_path) as port:
        call = f'[calls.bank]\nurl = "https://localhost:{port}/v1"\nenv = {{ UPSTREAM = "{{url}}" }}\n'
        lab.service("web", f'{call}ca = "bank.pem"\n')
        (lab.root / "web" / "bank.pem").write_bytes(outside.ca)
        lab.service("doubt", call)  # trusts the machine's authorities only
        lab.atoll("up")
        assert lab.get("/web/call") == {"version": "v1", "upstream": {}}
        assert outside.seen == [("/v1/", f"localhost:{port}")]
        assert set(outside.names) == {"localhost"}
        with pytest.raises(OSError, match="502"):
            lab.get("/doubt/call")
        assert len(outside.seen) == 1


def test_a_callee_outside_may_speak_grpc_by_tls(lab: Lab, tmp_path: Path) -> None:
    grpc = pytest.importorskip("grpc", reason="grpcio is not installed")
    outside = Outside(tmp_path)
    say = grpc.unary_unary_rpc_method_handler(lambda request, _: request.upper())
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Echo", {"Say": say}),))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(outside.key, outside.chain)]))
    server.start()
    lab.service("web", f'[calls.echo]\nurl = "grpcs://localhost:{port}"\nenv = "ECHO"\nca = "echo.pem"\n')
    (lab.root / "web" / "echo.pem").write_bytes(outside.ca)
    lab.atoll("up")
    with grpc.insecure_channel(_variables(lab, "web")["ECHO"]) as channel:
        assert channel.unary_unary("/demo.Echo/Say")(b"hello", timeout=30, wait_for_ready=True) == b"HELLO"
    server.stop(0).wait(10)


def test_a_callee_outside_may_speak_tcp(lab: Lab) -> None:
    class Echo(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(self.request.recv(100)[::-1])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        lab.service("web", f'[calls.line]\nurl = "tcp://127.0.0.1:{server.server_address[1]}"\nenv = "LINE"\n')
        lab.atoll("up")
        host, _, port = _variables(lab, "web")["LINE"].rpartition(":")
        with socket.create_connection((host, int(port)), timeout=30) as line:
            line.sendall(b"abc")
            assert line.recv(100) == b"cba"
        server.shutdown()


def test_a_store_is_told_in_parts_and_what_is_secret_of_it_stays_so(lab: Lab) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        closed = gone.getsockname()[1]
    env = '{ DB = "{url}", PGHOST = "{host}", PGPASSWORD = "{password}" }'
    store = f'[stores.db]\nurl = {{ secret = "db" }}\ntype = "postgres"\nenv = {env}\n'
    crash = f'[stores.cache]\nurl = "redis://127.0.0.1:{closed}/0"\nenv = "CACHE"\n'
    lab.service("orders", store + crash)
    lab.atoll("check")
    url = f"postgres://lovelace:hunter2%21@127.0.0.1:{closed}/orders"
    assert "atoll secret set db" in lab.run("up").stderr
    lab.atoll("secret", "set", "db", stdin=url)
    lab.atoll("up")
    got = _variables(lab, "orders")
    assert (got["DB"], got["PGHOST"], got["PGPASSWORD"]) == (url, "127.0.0.1", "hunter2!")
    assert got["CACHE"] == f"redis://127.0.0.1:{closed}/0"
    lab.service("orders", store + crash, env={"CRASH": "1"})
    lab.run("deploy", "orders")
    why = lab.atoll("why", "orders")
    assert f"its store cache at 127.0.0.1:{closed} refuses connections" in why
    assert "its store db refuses connections" in why
    told = why + lab.atoll("graph", "--json") + lab.atoll("graph", "--format", "mermaid")
    told += "".join(
        lab.run(*argv).stdout for argv in (["events", "--json"], ["releases", "orders", "--json"], ["doctor"])
    )
    assert "hunter2" not in told
    assert "lovelace" not in told
    assert not any("hunter2" in line for line in lab.processes())
    stored = [path for path in lab.home.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    assert stored == []


def _git(folder: Path, *argv: str) -> str:
    env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=ada", "-c", "user.email=ada@example.com")
    return subprocess.run(["git", *who, *argv], cwd=folder, env=env, check=True, capture_output=True, text=True).stdout


def test_services_of_two_repositories_run_together_each_from_its_own_commit(lab: Lab) -> None:
    billing = lab.root.parent / "billing"
    lab.service("web", 'calls.invoices = "UPSTREAM"')
    lab.service("invoices")
    billing.mkdir()
    (lab.root / "invoices").rename(billing / "invoices")
    top = lab.root / "atoll.toml"
    top.write_text(f'{top.read_text()}roots = ["../billing"]\n')
    commits = {}
    for name, folder in (("web", lab.root), ("invoices", billing)):
        _git(folder, "init", "-q")
        _git(folder, "add", "-A")
        _git(folder, "commit", "-qm", name)
        commits[name] = _git(folder, "rev-parse", "HEAD").strip()
    lab.atoll("up")
    assert lab.get("/web/call")["upstream"]["version"] == "v1"
    for name, commit in commits.items():
        [release] = lab.json("releases", name)
        assert (release["author"]["commit"], release["author"]["dirty"]) == (commit, False)
    moved = billing.rename(lab.root.parent / "moved")
    assert "../billing" in lab.run("check").stdout
    top.write_text(top.read_text().replace("../billing", str(moved)))
    [unchanged] = json.loads(lab.atoll("deploy", "invoices", "--json"))
    assert unchanged["phase"] == "unchanged", "where a repository lies is no change"
    source = moved / "invoices" / "echo_service.py"
    source.write_text(f"{source.read_text()}\n")
    lab.atoll("deploy", "invoices")
    assert lab.json("releases", "invoices")[0]["author"]["dirty"] is True
    lab.atoll("eject", "--to", str(lab.root.parent / "out"))
    assert 'context: "../moved/invoices"' in (lab.root.parent / "out" / "compose.yaml").read_text()
