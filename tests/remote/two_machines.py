"""Two machines on one: a network namespace each, a cable between them, and a real sshd on the second one. Needs root.

They share the file system, so paths of the server are of folders of its own, and nothing but SSH may lead there: the client's
ATOLL_HOME, ATOLL_RUN and workspace are not the server's.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

SSHD = Path("/usr/sbin/sshd")
CLIENT, SERVER = "10.99.0.1", "10.99.0.2"
RELAY = Path(__file__).with_name("slow_relay.py")
_WITHIN_S = 20.0


class Machines:
    """`on_client` and `on_server` say how to run a program there; `pull` and `plug` are about the cable."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        tag = f"{os.getpid() % 100_000}"
        self.client, self._server = f"atl-c{tag}", f"atl-s{tag}"
        self.ends = f"atc{tag}", f"ats{tag}"
        self._running: list[subprocess.Popen[bytes]] = []
        self.ssh = f"ssh -F {folder}/ssh_config"

    def make(self) -> None:
        """The other machine, the cable, sshd."""
        _namespace(self._server)
        near, far = self.ends
        ip("link", "add", near, "netns", self.client, "type", "veth", "peer", "name", far, "netns", self._server)
        give_address(self.client, near, CLIENT)
        give_address(self._server, far, SERVER)
        shutil.copy(self.folder / "key.pub", self.folder / "authorized_keys")
        self.start_sshd()

    def make_client(self) -> None:
        """The client's namespace, the keys, and what its ssh is told."""
        _namespace(self.client)
        for key in ("host_key", "key", "strange_key"):
            _run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)])
        self.write_known((self.folder / "host_key.pub").read_text())
        self.write_client_config()

    def write_known(self, host_key: str) -> None:
        """What the client knows of the server's key."""
        (self.folder / "known_hosts").write_text(f"vm1 {host_key}")

    def write_client_config(self, *, key: str = "key", address: str = SERVER, port: int = 22) -> None:
        """What the client's ssh is told, as a person's ~/.ssh/config would."""
        lines = {
            "HostName": address, "Port": port, "User": "root", "HostKeyAlias": "vm1", "IdentitiesOnly": "yes",
            "IdentityFile": self.folder / key, "UserKnownHostsFile": self.folder / "known_hosts", "IdentityAgent": "none",
        }  # fmt: skip
        text = "".join(f"    {name} {value}\n" for name, value in lines.items())
        (self.folder / "ssh_config").write_text(f"Host vm1\n{text}")

    def start_sshd(self, *settings: str) -> None:
        """A daemon of ssh; the sessions that it begins end with it when it is `stop`ped."""
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        lines = [
            *settings,
            f"HostKey {self.folder}/host_key",
            f"AuthorizedKeysFile {self.folder}/authorized_keys",
            "PidFile none", "UsePAM no", "StrictModes no", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            f"ListenAddress {SERVER}",
        ]  # fmt: skip
        config = self.folder / "sshd_config"
        config.write_text("\n".join(lines) + "\n")
        log = self.folder / "sshd.log"
        started = subprocess.Popen([*self.on_server(), str(SSHD), "-D", "-f", str(config), "-E", str(log)])
        self._running.insert(0, started)
        deadline = time.monotonic() + _WITHIN_S
        while not log.exists() or "Server listening" not in log.read_text():
            assert started.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "sshd does not listen"
            time.sleep(0.02)
        log.unlink()

    def restart_sshd(self, *settings: str) -> None:
        """Another one, with settings before the usual ones (of two, ssh takes the first)."""
        self.stop(self._running.pop(0))
        self.start_sshd(*settings)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """End it and the sessions that it has begun."""
        with contextlib.suppress(ProcessLookupError):
            for child in _children(process.pid):
                os.kill(child, signal.SIGKILL)
        process.kill()
        process.wait()

    def slow(self, there_and_back_ms: float) -> None:
        """From now on a new connection takes so long, by a relay on the client (kernels of tests may lack netem)."""
        ready = self.folder / "relay"
        command = [sys.executable, str(RELAY), SERVER, "22", str(there_and_back_ms), str(ready)]
        self._running.append(subprocess.Popen([*self.on_client(), *command]))
        deadline = time.monotonic() + _WITHIN_S
        while not ready.exists():
            assert time.monotonic() < deadline, "the relay does not start"
            time.sleep(0.02)
        self.write_client_config(address="127.0.0.1", port=int(ready.read_text()))

    def on_client(self) -> list[str]:
        return ["ip", "netns", "exec", self.client]

    def on_server(self) -> list[str]:
        return ["ip", "netns", "exec", self._server]

    def pull(self) -> None:
        """The cable: nothing arrives any more, and nobody is told."""
        ip("-n", self._server, "link", "set", self.ends[1], "down")

    def plug(self) -> None:
        ip("-n", self._server, "link", "set", self.ends[1], "up")

    def connections(self, user: str = "") -> list[int]:
        """The pids of ssh's connections of this client; those of one user that the command names."""
        whose = f" -l {user} " if user else " -N "
        return [pid for pid, command in _processes() if f"{self.folder}/ssh_config" in command and whose in command]

    def close(self) -> None:
        for pid in self.connections():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for process in self._running:
            self.stop(process)
        for name in (self.client, self._server):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


Made = TypeVar("Made", bound=Machines)


@contextlib.contextmanager
def machines(folder: Path) -> Iterator[Machines]:
    """Both, for as long as it lasts; skips where they cannot be made."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for network namespaces and sshd")
    if not SSHD.exists() or shutil.which("ssh") is None or shutil.which("ip") is None:
        pytest.skip("needs sshd, ssh and ip (scripts/apt installs them)")
    with standing(Machines(folder)) as made:
        yield made


@contextlib.contextmanager
def standing(made: Made) -> Iterator[Made]:
    """Both, made; skips where not even the first namespace can be: what fails later is a mistake of these tests."""
    try:
        try:
            made.make_client()
        except subprocess.CalledProcessError as exc:
            pytest.skip(f"no network namespaces here: {exc.stderr.strip()}")
        made.make()
        yield made
    finally:
        made.close()


def ip(*words: str) -> None:
    """Raises CalledProcessError."""
    _run(["ip", *words])


def _namespace(name: str) -> None:
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def give_address(namespace: str, end: str, address: str) -> None:
    ip("-n", namespace, "address", "add", f"{address}/24", "dev", end)
    ip("-n", namespace, "link", "set", end, "up")


def _run(command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, env=env, timeout=_WITHIN_S)


def _children(parent: int) -> list[int]:
    """All below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    found, left = list[int](), [parent]
    while left:
        above = left.pop()
        below = [pid for pid, of in parents.items() if of == above]
        found += below
        left += below
    return found


def _processes() -> Iterator[tuple[int, str]]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                yield int(entry.name), (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
