"""TLS at the gateway, as clients see it: real Envoy, Python's and curl's TLS, and Pebble as the authority where Go can make it."""

import contextlib
import datetime as dt
import http.client
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.e2e.lab import Lab

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
PEBBLE = "github.com/letsencrypt/pebble/v2/cmd/pebble@v2.10.3"


class Root(NamedTuple):
    """An authority made here."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls) -> "Root":
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test Root")])
        builder = _builder(name, name, key.public_key(), 30.0)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return cls(key, builder.sign(key, hashes.SHA256()))

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def pair(self, *hosts: str, days: float = 90.0) -> tuple[str, str]:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
        builder = _builder(name, self.certificate.subject, key.public_key(), days).add_extension(names, critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return made.public_bytes(serialization.Encoding.PEM).decode(), private.decode()


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: float):  # type: ignore[no-untyped-def]
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    return builder.not_valid_before(now - dt.timedelta(hours=1)).not_valid_after(now + dt.timedelta(days=days))


def put(folder: Path, name: str, pair: tuple[str, str]) -> None:
    """Both files, replaced atomically."""
    for end, text in zip(("crt", "key"), pair, strict=True):
        draft = folder / f"{name}.{end}.new"
        draft.write_text(text)
        draft.replace(folder / f"{name}.{end}")


def context(root: str) -> ssl.SSLContext:
    made = ssl.create_default_context(cadata=root)
    made.set_alpn_protocols(["http/1.1"])
    return made


def shake(port: int, host: str, trust: ssl.SSLContext, at: str = "127.0.0.1") -> tuple[str, ssl.SSLSocket]:
    """A handshake; the serial number that was shown, and the connection."""
    raw = socket.create_connection((at, port), timeout=20)
    wrapped = trust.wrap_socket(raw, server_hostname=host)
    return str((wrapped.getpeercert() or {})["serialNumber"]), wrapped


def serial(port: int, host: str, trust: ssl.SSLContext, at: str = "127.0.0.1") -> str:
    number, wrapped = shake(port, host, trust, at)
    wrapped.close()
    return number


def expected(pair: tuple[str, str]) -> str:
    return f"{x509.load_pem_x509_certificate(pair[0].encode()).serial_number:X}".zfill(2)


def same(one: str, other: str) -> bool:
    return int(one, 16) == int(other, 16)


def gateway(lab: Lab, tls: str, host: str = "127.0.0.1") -> int:
    """Write the gateway with TLS; the port of plain HTTP."""
    plain = lab.gateway_port + 490
    low = lab.gateway_port + 1
    text = f'name = "lab"\nports = [{low}, {low + 400}]\n[gateway]\nhost = "{host}"\nport = {lab.gateway_port}\n'
    (lab.root / "atoll.toml").write_text(f"{text}[gateway.tls]\nhttp = {plain}\n{tls}\n")
    return plain


def told(lab: Lab, kind: str) -> list[str]:
    lines = lab.atoll("events", "--json").splitlines()
    return [event["message"] for event in map(json.loads, lines) if event["kind"] == kind]


class Load(threading.Thread):
    """Requests over kept connections, each renewed after some; counts what failed."""

    def __init__(self, port: int, trust: ssl.SSLContext) -> None:
        super().__init__(daemon=True)
        self.port, self.trust, self.ends = port, trust, threading.Event()
        self.sent = 0
        self.failed: list[str] = []

    def run(self) -> None:
        while not self.ends.is_set():
            try:
                connection = http.client.HTTPSConnection("localhost", self.port, timeout=20, context=self.trust)
                for _ in range(50):
                    connection.request("GET", "/web", headers={"host": "a.test"})
                    reply = connection.getresponse()
                    reply.read()
                    self.sent += 1
                    if reply.status != 200:
                        self.failed.append(str(reply.status))
                connection.close()
            except (OSError, http.client.HTTPException) as exc:
                self.failed.append(repr(exc))


def test_certificates_are_replaced_under_load_and_a_broken_one_changes_nothing(lab: Lab) -> None:
    root, folder = Root.make(), lab.root / "tls"
    folder.mkdir()
    first, other = root.pair("a.test", "localhost"), root.pair("b.test")
    put(folder, "a", first)
    put(folder, "b", other)
    pairs = ", ".join(f'{{ cert = "tls/{name}.crt", key = "tls/{name}.key" }}' for name in "ab")
    plain = gateway(lab, f"certificates = [{pairs}]\nhsts = true")
    lab.service("web")
    lab.atoll("up")
    port, trust = lab.gateway_port, context(root.pem)

    # Each host gets its own, others the first; old versions of TLS get nothing.
    assert same(serial(port, "a.test", trust), expected(first))
    assert same(serial(port, "b.test", trust), expected(other))
    with pytest.raises(ssl.SSLCertVerificationError):
        serial(port, "c.test", trust)
    # HTTP/2 by ALPN, HSTS, and the way from plain HTTP, with path and method.
    (lab.root / "root.pem").write_text(root.pem)
    curl = ["curl", "-sS", "-i", "--max-time", "20", "--cacert", str(lab.root / "root.pem")]
    curl += ["--resolve", f"a.test:{port}:127.0.0.1", "--resolve", f"a.test:{plain}:127.0.0.1"]
    old = [*curl, "--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0", f"https://a.test:{port}/web"]
    assert "alert protocol version" in subprocess.run(old, capture_output=True, text=True, check=False).stderr
    head = subprocess.run([*curl, f"https://a.test:{port}/web"], capture_output=True, text=True, check=True).stdout
    assert head.startswith("HTTP/2 200"), head
    assert "strict-transport-security: max-age=31536000" in head.lower()
    moved = subprocess.run(
        [*curl, "-d", "x", f"http://a.test:{plain}/web?x=1"], capture_output=True, text=True, check=True
    )
    assert " 308 " in moved.stdout.splitlines()[0], moved.stdout
    assert f"location: https://a.test:{port}/web?x=1" in moved.stdout.lower()

    # A new one while requests are on their way: none fails, and a connection that was open goes on.
    load = [Load(port, trust) for _ in range(4)]
    _, kept = shake(port, "a.test", trust)
    for thread in load:
        thread.start()
    try:
        for _ in range(3):
            fresh = root.pair("a.test", "localhost")
            put(folder, "a", fresh)
            number = expected(fresh)
            lab.until(lambda: same(serial(port, "a.test", trust), number))  # noqa: B023  called here only
        good = serial(port, "a.test", trust)

        # A key of another certificate: told with file and reason, and nothing changes, not even for a new daemon and Envoy.
        (folder / "a.key").write_text(root.pair("a.test")[1])
        lab.until(lambda: told(lab, "certificate.refused"))
        assert "tls/a.key: is not the key of" in told(lab, "certificate.refused")[0]
        assert same(serial(port, "a.test", trust), good)
        assert any("a.key" in notice for notice in lab.status()["notices"])
    finally:
        for thread in load:
            thread.ends.set()
        for thread in load:
            thread.join(30)
    assert not [each for thread in load for each in thread.failed]
    assert sum(thread.sent for thread in load) > 200
    kept.sendall(b"GET /web HTTP/1.1\r\nhost: a.test\r\n\r\n")
    assert kept.recv(12) == b"HTTP/1.1 200"
    kept.close()
    os.kill(lab.pid("daemon"), 9)
    os.kill(lab.until(lambda: lab.pid("proxy")), 9)
    lab.until(lambda: same(serial(port, "a.test", trust), good))

    # Mended, by the way in which certbot and Kubernetes do it: a link that is moved to another folder.
    (lab.root / "next").mkdir()
    final = root.pair("a.test", "localhost", days=10.0)
    put(lab.root / "next", "a", final)
    put(lab.root / "next", "b", other)
    folder.rename(lab.root / "past")
    folder.symlink_to("next")
    lab.until(lambda: same(serial(port, "a.test", trust), expected(final)))
    lab.until(lambda: not lab.status()["certificates"][0]["problem"])
    assert lab.status()["certificates"][0]["hosts"] == ["a.test", "localhost"]

    # No key anywhere that people look.
    secret = final[1].splitlines()[1]
    shown = lab.atoll("status", "--json") + lab.atoll("events", "--json") + lab.run("doctor", "--json").stdout
    logs = "".join(path.read_text(errors="replace") for path in lab.home.rglob("*.log"))
    assert secret not in shown + logs
    for path in lab.home.rglob("tls/*"):
        assert secret.encode() not in path.read_bytes()
        assert not path.stat().st_mode & 0o077


def test_a_pair_that_was_never_good_is_refused_before_anything_starts(lab: Lab) -> None:
    (lab.root / "tls").mkdir()
    put(lab.root / "tls", "a", ("nonsense", Root.make().pair("a.test")[1]))
    gateway(lab, 'certificates = { cert = "tls/a.crt", key = "tls/a.key" }')
    lab.service("web")
    done = lab.run("up")
    assert done.returncode != 0
    assert "error[certificate-unusable]" in done.stderr
    assert "tls/a.crt" in done.stderr


@pytest.fixture(scope="session")
def pebble() -> Path:
    """Let's Encrypt's test server, made once."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not Path(go).exists():
        pytest.skip("Go, which builds Pebble, is not on this machine")
    home = Path("~/.cache/atoll-tests/pebble").expanduser()
    if not (home / "pebble").exists():
        env = {**os.environ, "GOBIN": str(home)}
        done = subprocess.run(
            [go, "install", PEBBLE], env=env, capture_output=True, text=True, timeout=170, check=False
        )
        if done.returncode:
            pytest.skip(f"Pebble cannot be built: {done.stderr[-200:]}")
    return home / "pebble"


def _answer(query: bytes, address: str) -> bytes:
    end = query.index(b"\0", 12) + 5
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed, kind = socket.inet_pton(family, address), b"\0\x1c" if ":" in address else b"\0\x01"
    found = query[end - 4 : end - 2] == kind
    record = b"\xc0\x0c" + kind + b"\0\x01\0\0\0\x01" + len(packed).to_bytes(2, "big") + packed if found else b""
    reply = query[:2] + b"\x85\x80\0\x01" + (b"\0\x01" if found else b"\0\0") + b"\0\0\0\0" + query[12:end] + record
    return len(reply).to_bytes(2, "big") + reply


@contextlib.contextmanager
def dns(port: int, address: str) -> Iterator[None]:
    """Every name is `address`, and has none of the other kind."""
    server = socket.create_server(("127.0.0.1", port))  # Pebble asks by TCP

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = server.accept()
                with connection, connection.makefile("rb") as asked, contextlib.suppress(ValueError, OSError):
                    while length := asked.read(2):
                        connection.sendall(_answer(asked.read(int.from_bytes(length, "big")), address))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)  # else the thread holds the port in its `accept`
        thread.join(20)
        server.close()


class Pebble:
    """The authority of one test; its certificates are good for 20 s, so that they are renewed while the test looks."""

    def __init__(self, lab: Lab, program: Path) -> None:
        self.listen, self.manage, self.names = (lab.gateway_port + 480 + n for n in range(3))
        self.root, self.folder = Root.make(), lab.root
        put(lab.root, "pebble", self.root.pair("localhost"))
        (lab.root / "root.pem").write_text(self.root.pem)
        config = {
            "listenAddress": f"127.0.0.1:{self.listen}",
            "managementListenAddress": f"127.0.0.1:{self.manage}",
            "certificate": str(lab.root / "pebble.crt"),
            "privateKey": str(lab.root / "pebble.key"),
            "httpPort": lab.gateway_port + 490,
            "tlsPort": lab.gateway_port,
            "profiles": {"default": {"description": "short", "validityPeriod": 20}},
        }
        (lab.root / "pebble.json").write_text(json.dumps({"pebble": config}))
        self.argv = [str(program), "-config", str(lab.root / "pebble.json"), "-dnsserver", f"127.0.0.1:{self.names}"]
        directory = f'directory = "https://localhost:{self.listen}/dir", ca = "root.pem"'
        self.acme = f'acme = {{ hosts = ["a.test"], agree = true, {directory} }}'

    @contextlib.contextmanager
    def running(self, address: str = "127.0.0.1") -> Iterator[None]:
        """While it runs, every host is at `address`."""
        env = {**os.environ, "PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "30"}
        with dns(self.names, address), (self.folder / "pebble.log").open("wb") as log:
            server = subprocess.Popen(self.argv, env=env, stdout=log, stderr=log)
            try:
                yield
            finally:
                server.terminate()
                server.wait(20)

    def trust(self) -> ssl.SSLContext:
        """Its own authorities, made at its start."""
        loose = ssl.create_default_context(cadata=self.root.pem)
        with contextlib.closing(http.client.HTTPSConnection("localhost", self.manage, timeout=20, context=loose)) as it:
            it.request("GET", "/roots/0")
            return ssl.create_default_context(cadata=it.getresponse().read().decode())


def test_an_authority_gives_certificates_and_renews_them(lab: Lab, pebble: Path) -> None:
    authority = Pebble(lab, pebble)
    plain = gateway(lab, authority.acme)
    lab.service("web")
    lab.atoll("up")
    # The authority is away: told, and the gateway serves all the same, with what no client believes.
    lab.until(lambda: told(lab, "certificate.failed"))
    assert "cannot be reached" in told(lab, "certificate.failed")[0]
    untrusted = ssl.create_default_context()
    with pytest.raises(ssl.SSLCertVerificationError):
        serial(lab.gateway_port, "a.test", untrusted)
    # The wait of two minutes is kept in a file; without it the next daemon asks at once.
    (attempts,) = lab.home.rglob("tls/attempts.json")
    with authority.running():
        attempts.unlink()
        os.kill(lab.pid("daemon"), 9)
        lab.until(lambda: told(lab, "certificate.obtained"))
        trust = lab.until(authority.trust)
        first = lab.until(lambda: serial(lab.gateway_port, "a.test", trust))
        lab.until(lambda: told(lab, "certificate.renewed"))
        lab.until(lambda: not same(serial(lab.gateway_port, "a.test", trust), first))
        with contextlib.closing(http.client.HTTPSConnection("localhost", lab.gateway_port, context=_loose())) as it:
            it.request("GET", "/web")
            assert it.getresponse().status == 200
        # The challenge is answered no longer; that path is the services' again.
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", plain)) as it:
            it.request("GET", "/.well-known/acme-challenge/x", headers={"host": "a.test"})
            assert it.getresponse().status == 308
        assert lab.status()["certificates"][0]["source"] == "acme"


@pytest.mark.parametrize("host", ["::1", "::"])
def test_a_gateway_on_ipv6_gets_its_certificate_over_ipv6(lab: Lab, pebble: Path, host: str) -> None:
    if not _ipv6():
        pytest.skip("this machine has no ::1")
    authority = Pebble(lab, pebble)
    gateway(lab, authority.acme, host)
    lab.service("web")
    with authority.running("::1"):
        lab.until(authority.trust)
        lab.atoll("up")
        lab.until(lambda: told(lab, "certificate.obtained"))
        lab.until(lambda: serial(lab.gateway_port, "a.test", authority.trust(), "::1"))
        lab.until(lambda: told(lab, "certificate.renewed"))


def _ipv6() -> bool:
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_a_gateway_begins_to_speak_tls_moves_and_ceases_again_with_each_up(lab: Lab) -> None:
    root, folder = Root.make(), lab.root / "tls"
    folder.mkdir()
    put(folder, "a", pair := root.pair("a.test", "localhost"))
    lab.service("web")
    lab.atoll("up")
    assert lab.get("/web")
    pairs = 'certificates = { cert = "tls/a.crt", key = "tls/a.key" }'
    plain, trust, first, was = (
        gateway(lab, pairs),
        context(root.pem),
        lab.gateway_port,
        (lab.root / "atoll.toml").read_text(),
    )
    lab.atoll("up")
    lab.until(lambda: same(serial(first, "a.test", trust), expected(pair)))
    # To another port, which a stranger has: refused, and everything is as it was.
    moved = was.replace(f"port = {first}", f"port = {first + 495}")
    with socket.create_server(("127.0.0.1", first + 495)):
        (lab.root / "atoll.toml").write_text(moved)
        assert "listens there" in lab.run("up").stderr
        assert same(serial(first, "a.test", trust), expected(pair))
    lab.atoll("up")
    lab.until(lambda: same(serial(first + 495, "a.test", trust), expected(pair)))
    lab.until(lambda: _nobody_at(first))
    # TLS 1.3 alone, and nothing at plain HTTP.
    (lab.root / "atoll.toml").write_text(moved.replace(f"http = {plain}", 'minimum = "1.3"'))
    lab.atoll("up")
    old = context(root.pem)
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    lab.until(lambda: _fails(first + 495, old))
    lab.until(lambda: _nobody_at(plain))
    assert same(serial(first + 495, "a.test", trust), expected(pair))
    # And back.
    (lab.root / "atoll.toml").write_text(was.split("[gateway]")[0] + f'gateway = "127.0.0.1:{first}"\n')
    lab.atoll("up")
    lab.until(lambda: lab.get("/web"))
    lab.until(lambda: _nobody_at(first + 495))
    assert lab.status()["certificates"] == []


def _nobody_at(port: int) -> bool:
    with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=20):
        return False
    return True


def _fails(port: int, trust: ssl.SSLContext) -> bool:
    with contextlib.suppress(ssl.SSLError):
        return not serial(port, "a.test", trust)
    return True


def test_the_end_of_a_certificate_is_told_before_and_when_it_is_there(lab: Lab) -> None:
    root, folder = Root.make(), lab.root / "tls"
    folder.mkdir()
    put(folder, "a", root.pair("a.test"))
    gateway(lab, 'certificates = { cert = "tls/a.crt", key = "tls/a.key" }')
    lab.service("web")
    lab.atoll("up")
    put(folder, "a", root.pair("a.test", days=12.0 / 86_400))  # it began an hour ago: its last quarter has begun
    lab.until(lambda: told(lab, "certificate.expiring"))
    assert told(lab, "certificate.expiring")[0].startswith("the certificate of a.test (tls/a.crt) ends in ")
    lab.until(lambda: told(lab, "certificate.expired"))
    assert len(told(lab, "certificate.expiring")) == 1
    found = [
        check for check in json.loads(lab.run("doctor", "--json").stdout) if check["check"] == "certificate a.test"
    ]
    assert [(check["ok"], check["text"].startswith("ended ")) for check in found] == [(False, True)]


def _loose() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made
