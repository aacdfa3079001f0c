"""A machine under a real systemd: this one's files below an overlay, in namespaces of its own. It can lose its power.

Needs root, systemd, overlayfs and a cgroup file system of version 2, with or without controllers; `why_not` tells. What is written on it
lies in its folder and nowhere else.
"""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
SYSTEMD = Path("/lib/systemd/systemd")
WITHIN_S = 60.0
COMMAND_S = 240.0


@functools.cache  # it boots one
def why_not() -> str:
    """What keeps a machine from being booted here; "" when nothing does."""
    if os.geteuid() != 0:
        return "only root can boot a machine"
    missing = [tool for tool in ("unshare", "nsenter", "pivot_root", "ip", "systemctl") if shutil.which(tool) is None]
    if missing or not SYSTEMD.exists():
        return f"not installed: {', '.join(missing) or SYSTEMD}"
    if Path(sys.prefix).is_relative_to("/tmp"):
        return "the project lies below /tmp, which each machine has of its own"
    with tempfile.TemporaryDirectory(prefix="atl-") as folder:
        try:
            with Machine(Path(folder)).on():
                return ""
        except (OSError, RuntimeError) as exc:
            return f"systemd does not boot in a container here: {exc}"


def _cgroup2() -> Path:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].startswith("cgroup2 "):
            return Path(line.split()[4])
    raise RuntimeError("no cgroup file system of version 2 is mounted")


class Machine:
    """One machine; `boot` and `cut_power` as often as wanted. `folder` keeps its disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.group = _cgroup2() / f"atoll-test-{folder.name}"
        self.boots = 0
        self._outer: subprocess.Popen[bytes] | None = None
        self.init = 0

    @contextlib.contextmanager
    def on(self) -> Iterator["Machine"]:
        """Booted, and off afterwards."""
        try:
            self.boot()
            yield self
        finally:
            self.cut_power()

    def boot(self) -> None:
        """Until systemd has started what is started at boot. Raises RuntimeError."""
        self.boots += 1
        self.group.mkdir(exist_ok=True)
        spaces = ("--mount", "--pid", "--cgroup", "--uts", "--ipc", "--net", "--fork", "--kill-child")
        into = f"echo $$ > {self.group}/cgroup.procs && exec unshare {' '.join(spaces)} --propagation private"
        with (self.folder / "console").open("ab") as console:
            self._outer = subprocess.Popen(
                ["/bin/sh", "-c", f"{into} {HERE}/boot.sh {self.folder} {uuid.uuid4()}"],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
        deadline = time.monotonic() + WITHIN_S
        state = ""
        while state not in {"running", "degraded"}:
            if time.monotonic() > deadline or self._outer.poll() is not None:
                raise RuntimeError(f"{state}; {(self.folder / 'console').read_text(errors='replace')[-1000:]}")
            time.sleep(0.1)
            self.init = self.init or self._find_init()
            state = self.run("systemctl", "is-system-running", check=False).strip() if self.init else ""

    def _find_init(self) -> int:
        """The first process in there, once it is systemd."""
        assert self._outer is not None
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        return next((int(pid) for pid in children if Path(f"/proc/{pid}/comm").read_text() == "systemd\n"), 0)

    def write(self, path: str, text: str) -> None:
        """A file on it, below folders that are made."""
        self.run("/bin/sh", "-c", f"mkdir -p $(dirname {path}) && cat > {path}", stdin=text)

    def run(self, *argv: str, check: bool = True, env: dict[str, str] | None = None, stdin: str = "") -> str:
        """A command on it; what it printed. Raises AssertionError when it fails and `check`."""
        inside = ["nsenter", "--target", str(self.init), "--all", "--root", "--wd=/", "--", *argv]
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **(env or {})}
        done = subprocess.run(
            inside, env=clean, input=stdin, capture_output=True, text=True, timeout=COMMAND_S, check=False
        )
        assert not check or done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def cut_power(self) -> None:
        """Every process of it is killed at once, with no word; its disk stays."""
        if self._outer is not None:
            with contextlib.suppress(ProcessLookupError):
                if self.init:
                    os.kill(self.init, 9)  # a namespace ends with its first process
                self._outer.kill()
            self._outer.wait()
            self._outer, self.init = None, 0
        deadline = time.monotonic() + 10.0
        for group in sorted(self.group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
            _remove(group, deadline)
        _remove(self.group, deadline)


def _remove(group: Path, deadline: float) -> None:
    while group.is_dir():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                return
            time.sleep(0.05)
