"""An environment that a real systemd runs, upgraded by pip on its machine, and its people with clients of other versions.

Their ssh is real, and so is the sshd: it speaks over the pipe of a ProxyCommand, so that the machine needs no cable.
"""

import base64
import contextlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from far import LOAD
from machine import Machine

HERE = Path(__file__).parent
NAME, UNIT, PORT = "shop", "atoll-shop-production", 18080
PYTHON = "/usr/bin/python3"  # which every user may run
ATOLL = "/opt/atoll"
SSHD_CONFIG = """
HostKey /etc/ssh/test_host_key
AuthorizedKeysFile /etc/ssh/test_keys
StrictModes no
UsePAM no
PasswordAuthentication no
"""
WORKSPACE = f"""
name = "{NAME}"
[environments.production]
host = "ssh://vm1"
gateway = "127.0.0.1:{PORT}"
ports = "18100-18400"
"""


class Unit:
    """`atoll` is typed outside, by a program that is named; `machine` is where the unit is."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        self.folder, self.machine = folder, machine
        self.root = folder / "ws"
        (self.root / "orders").mkdir(parents=True)
        (self.root / "atoll.toml").write_text(WORKSPACE)
        (self.root / "orders" / "echo_service.py").write_text((HERE / "echo_service.py").read_text())
        self.env = {name: text for name, text in os.environ.items() if not name.startswith(("ATOLL", "PYTHONPATH"))}
        self.env |= {
            "ATOLL_HOME": f"{folder}/home", "ATOLL_RUN": f"{folder}/run", "ATOLL_ENV": "production", "NO_COLOR": "1",
            "ATOLL_SSH": f"ssh -F {folder}/ssh_config",
        }  # fmt: skip

    def service(self, version: str, more: str = "") -> None:
        (self.root / "orders" / "service.toml").write_text(
            f'run = ["{PYTHON}", "-S", "echo_service.py"]\nroute = "/orders"\nrollout = "blue-green"\n'
            f'health = {{ ready = "/healthz", stable_for = "300ms", start_budget = "20s" }}\n{more}\n'
            f'[env]\nVERSION = "{version}"\n'
        )

    def let_in(self) -> None:
        """Keys on both sides, and what the client's ssh is told."""
        for key in ("key", "host_key"):
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / key)]
            subprocess.run(made, check=True, timeout=30)
        self.machine.write("/etc/ssh/test_config", SSHD_CONFIG)
        self.machine.write("/etc/ssh/test_host_key", (self.folder / "host_key").read_text())
        self.machine.write("/etc/ssh/test_keys", (self.folder / "key.pub").read_text())
        self.machine.run("chmod", "600", "/etc/ssh/test_host_key")
        self.machine.run("mkdir", "-p", "/run/sshd")
        (self.folder / "known_hosts").write_text(f"vm1 {(self.folder / 'host_key.pub').read_text()}")
        enter = f"nsenter --target {self.machine.init} --all --root --wd=/ -- /usr/sbin/sshd -i -f /etc/ssh/test_config"
        lines = {
            "ProxyCommand": enter, "User": "root", "HostKeyAlias": "vm1", "IdentitiesOnly": "yes", "IdentityAgent": "none",
            "IdentityFile": self.folder / "key", "UserKnownHostsFile": self.folder / "known_hosts",
        }  # fmt: skip
        text = "".join(f"    {name} {value}\n" for name, value in lines.items())
        (self.folder / "ssh_config").write_text(f"Host vm1\n{text}")

    def pip(self, wheel: Path) -> None:
        """`pip install -U` on the machine, into an environment that has its dependencies from this one's."""
        packages = f"{ATOLL}/lib/python3.{sys.version_info.minor}/site-packages"
        self.machine.run("/bin/sh", "-c", f"[ -e {ATOLL} ] || {sys.executable} -m venv --without-pip {ATOLL}")
        self.machine.write(f"{packages}/dependencies.pth", sysconfig.get_path("purelib") + "\n")
        there = f"/srv/{wheel.name}"
        self.machine.write(f"{there}.base64", base64.b64encode(wheel.read_bytes()).decode())
        self.machine.run("/bin/sh", "-c", f"base64 -d {there}.base64 > {there}")
        pip = [sys.executable, "-m", "pip", "--python", f"{ATOLL}/bin/python", "install", "--quiet", "--no-deps"]
        self.machine.run("/bin/sh", "-c", 'cd / && exec "$@"', "sh", *pip, "--upgrade", there)

    def there(self, *words: str) -> str:
        """`atoll WORDS`, typed by root on the machine."""
        return self.machine.run(f"{ATOLL}/bin/atoll", *words, env={"NO_COLOR": "1"})

    def run(self, program: list[str], *words: str) -> "subprocess.CompletedProcess[str]":
        """`atoll WORDS` of that client, over ssh."""
        return subprocess.run(
            [*program, *words], cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=120, check=False,
        )  # fmt: skip

    def parts(self, program: list[str]) -> dict[str, Any]:
        """What runs, with the daemon's version, as that client sees it."""
        done = self.run(program, "status", "--json")
        assert done.returncode == 0, done.stderr
        status = json.loads(done.stdout)
        pids = {one["name"]: one["pid"] for one in status["parts"]}
        return {"version": status["version"], **pids}

    @contextlib.contextmanager
    def load(self) -> Iterator[dict[str, int]]:
        """Requests one after the other on the machine; what was answered how often, when the block has ended."""
        seen: dict[str, int] = {}
        self.machine.write("/srv/load.py", LOAD)
        words = [
            "nsenter",
            "--target",
            str(self.machine.init),
            "--all",
            "--root",
            "--wd=/",
            "--",
            PYTHON,
            "/srv/load.py",
            f"http://127.0.0.1:{PORT}/orders/",
        ]
        loader = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            yield seen
        finally:
            out, _ = loader.communicate("\n", timeout=60)
            seen.update(json.loads(out))

    def close(self) -> None:
        """End ssh's connection, which would outlive the machine."""
        subprocess.run(
            [*self.env["ATOLL_SSH"].split(), "-O", "exit", "vm1"], capture_output=True, timeout=30, check=False
        )
