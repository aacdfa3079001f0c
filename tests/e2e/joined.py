"""A machine with a real systemd at one end of a cable, and a client at the other: sshd as a service of it, users of its own.

What is written on it lies in its folder and nowhere else, users and units included. It can lose its power; `boot` plugs it in again.
"""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from machine import Machine, why_not
from two_machines import CLIENT, SERVER, SSHD, Machines, give_address, ip, standing

SSHD_UNIT = f"""
[Service]
RuntimeDirectory=sshd
RuntimeDirectoryMode=0755
ExecStart={SSHD} -D -f /etc/ssh/test_config
Restart=always
[Install]
WantedBy=multi-user.target
"""
SSHD_CONFIG = """
HostKey /etc/ssh/test_host_key
AuthorizedKeysFile /etc/ssh/test_keys/%u
UsePAM yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin no
"""


class Joined(Machines):
    """`machine` is the far end."""

    def __init__(self, folder: Path, machine: Machine) -> None:
        super().__init__(folder)
        self.machine = machine

    def make(self) -> None:
        """The machine, with its sshd; the cable to the client, which is there."""
        self.machine.boot()
        self.machine.write("/etc/ssh/test_config", SSHD_CONFIG)
        self.machine.write("/etc/ssh/test_host_key", (self.folder / "host_key").read_text())
        self.machine.run("chmod", "600", "/etc/ssh/test_host_key")
        self.machine.write("/etc/systemd/system/test-sshd.service", SSHD_UNIT)
        self.machine.run("systemctl", "enable", "--now", "--quiet", "test-sshd")
        self.join()

    def join(self) -> None:
        """The cable, as a machine has one again after each boot."""
        near, far = self.ends
        there = str(self.machine.init)
        ip("link", "add", near, "netns", self.client, "type", "veth", "peer", "name", far, "netns", there)
        give_address(self.client, near, CLIENT)
        for words in (("address", "add", f"{SERVER}/24", "dev", far), ("link", "set", far, "up")):
            self.machine.run("ip", *words)

    def boot(self) -> None:
        """The power is cut, and comes back: every process is gone, and what is kept lies on the disk."""
        self.machine.cut_power()
        with contextlib.suppress(subprocess.CalledProcessError):  # it may have ended with the other machine
            ip("-n", self.client, "link", "delete", self.ends[0])
        self.machine.boot()
        self.join()

    def user(
        self, name: str, *groups: str, shell: str = "/bin/bash", files: Mapping[str, str] | None = None, key: str = ""
    ) -> None:
        """A user of the machine whom the client's key lets in; `key` is what stands before it in authorized_keys."""
        run, home = self.machine.run, f"/home/{name}"
        for group in groups:
            run("groupadd", "--force", group)
        run("useradd", "--create-home", "--shell", shell, "--groups", ",".join(groups), name)
        run("usermod", "--password", "*", name)  # no password, and not locked: PAM lets a key in
        for path, text in (files or {}).items():
            self.machine.write(f"{home}/{path}", text)
        run("chown", "-R", f"{name}:", home)
        self.machine.write(f"/etc/ssh/test_keys/{name}", f"{key} {(self.folder / 'key.pub').read_text()}")

    def on_server(self) -> list[str]:
        return ["nsenter", "--target", str(self.machine.init), "--all", "--root", "--wd=/", "--"]

    def pull(self) -> None:
        self.machine.run("ip", "link", "set", self.ends[1], "down")

    def plug(self) -> None:
        self.machine.run("ip", "link", "set", self.ends[1], "up")

    def close(self) -> None:
        super().close()
        self.machine.cut_power()


@contextlib.contextmanager
def joined(folder: Path) -> Iterator[Joined]:
    """Both, for as long as it lasts; skips where they cannot be made."""
    if why := why_not():
        pytest.skip(why)
    if not SSHD.exists() or shutil.which("ssh") is None:
        pytest.skip("needs sshd and ssh (scripts/apt installs them)")
    (folder / "machine").mkdir()
    with standing(Joined(folder, Machine(folder / "machine"))) as made:
        yield made
