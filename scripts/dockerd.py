#!/usr/bin/env python3
"""A dockerd of one's own for tests, the demo and benchmarks: `dockerd.py COMMAND …` runs it with DOCKER_HOST set.

It is private: its own socket, data, containerd namespace and bridge, so that a Docker that the machine runs for other
purposes is neither used nor touched. `shared()` is one daemon for all processes of a user that ask for it, as the workers
of pytest-xdist do; who leaves last stops it. Whoever was killed holds no lock any more, and the next one clears up after
it. `Dockerd` by itself is for those who stop, kill and break theirs.

Data lies in the user's cache (base images take minutes), all else in a short folder, since unix sockets want that.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bases
import leases

NEEDED = ("dockerd", "docker", "containerd", "runc", "iptables", "ip", "debootstrap")
UP_S = 60.0
DOWN_S = 40.0
SLOTS = 24  # daemons at a time
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class Unavailable(Exception):
    """No dockerd can run here; the text says why."""


def lacking() -> str:
    """Why this machine cannot run a dockerd of ours; empty when it may."""
    if missing := [program for program in NEEDED if not found(program)]:
        return f"{', '.join(missing)} not on this machine (scripts/apt installs it)"
    if os.geteuid():
        return "a dockerd of one's own needs root"
    return ""


def found(program: str) -> str | None:
    """Where a program is, also when a user's PATH lacks the folders for root's."""
    return shutil.which(program, path=PATH)


class Dockerd:
    """One daemon with its data below `data` and all else below `folder` (a short path). Not started by construction.

    `live_restore`: its containers survive its end, as an operator of production would have it.
    """

    def __init__(self, folder: Path, data: Path, slot: int, *, live_restore: bool = True) -> None:
        self.folder, self.data, self.slot, self.live_restore = folder, data, slot, live_restore
        self.socket = folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.bridge = f"atolltest{slot}"
        self.log = folder / "log"

    # ------------------------------------------------------------------------------------------------------------ life

    def start(self) -> None:
        """Start it and wait until it answers; RuntimeError with the end of its log when it does not."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data.mkdir(mode=0o711, parents=True, exist_ok=True)
        (self.folder / "daemon.json").write_text("{}")  # not the machine's
        for file in (self.folder / "pid", self.folder / "exec/containerd/containerd.pid"):
            if not _running(file):  # dockerd takes a dead one's number for a living one's while nobody has reaped it
                file.unlink(missing_ok=True)
        self._make_bridge()
        argv = [
            str(found("dockerd")), f"--host={self.host}", f"--data-root={self.data}",
            f"--exec-root={self.folder}/exec", f"--pidfile={self.folder}/pid", f"--config-file={self.folder}/daemon.json",
            f"--bridge={self.bridge}", f"--default-address-pool=base=10.{210 + self.slot}.0.0/16,size=24",
            # Were a containerd of the machine's used, its other users' containers would be in another namespace.
            f"--containerd-namespace=atoll-test-{self.slot}", f"--containerd-plugins-namespace=atoll-test-plugins-{self.slot}",
            "--userland-proxy=false", "--log-level=warn", "--shutdown-timeout=5",
            *(["--live-restore"] if self.live_restore else []),
        ]  # fmt: skip
        # No Popen: another process may be the one that stops it, and this one may end before.
        pid = os.posix_spawn(
            argv[0], argv, os.environ | {"PATH": PATH}, setsid=True,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                # It outlives whoever started it, and would hold their locks.
                *((os.POSIX_SPAWN_CLOSE, number) for number in _descriptors() if number > 2),
            ],
        )  # fmt: skip
        deadline = time.monotonic() + UP_S
        while not self.answers():
            if os.waitpid(pid, os.WNOHANG)[0] or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"dockerd does not start:\n{self._end_of_log()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it as an operator would; with `live_restore` its containers go on."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """`kill -9`. Its containers go on; its containerd dies with it, by the kernel."""
        self._end(signal.SIGKILL)
        deadline = time.monotonic() + DOWN_S
        while _running(self.folder / "exec/containerd/containerd.pid") and time.monotonic() < deadline:
            time.sleep(0.05)

    def answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                connection.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                return b" 200 " in connection.makefile("rb").readline()
            except OSError:
                return False

    @property
    def pid(self) -> int | None:
        """Its process; None when none runs."""
        try:
            pid = int((self.folder / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        # Else the number is another's by now.
        return pid if f"--pidfile={self.folder}/pid".encode() in command else None

    def _end(self, by: signal.Signals) -> None:
        pid = self.pid
        for number, patience_s in ((by, DOWN_S), (signal.SIGKILL, DOWN_S)):
            if pid is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience_s
            while self.pid is not None and time.monotonic() < deadline:
                time.sleep(0.05)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # a child of ours; somebody else's is reaped by them
            pid = self.pid

    # ------------------------------------------------------------------------------------------------------------- use

    def docker(self, *argv: str, timeout_s: float = 120.0) -> str:
        """`docker ARGV` on this daemon: its standard output, stripped; RuntimeError when it fails."""
        done = subprocess.run(
            ["docker", "--host", self.host, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"`docker {' '.join(argv)}` exited {done.returncode}: {done.stderr.strip()}")
        return done.stdout.strip()

    def base(self, name: str) -> str:
        """The tag of a base image (`bases.BASES` names them), which is made when it is not there yet."""
        with _making() as kept:
            return bases.make(name, self.host, kept)

    def bases(self) -> dict[str, str]:
        """All of them, by the names that `docker.bases` of an environment knows."""
        meant = {name: name for name in bases.BASES if name not in {"runtime", "stores"}} | bases.RUN_IN | bases.SERVERS
        return {name: self.base(base) for name, base in meant.items()}

    def take(self, image: str, giver: Dockerd) -> None:
        """Have an image that another daemon has, under the same tag."""
        with subprocess.Popen(["docker", "--host", giver.host, "save", image], stdout=subprocess.PIPE) as saved:
            try:
                loaded = subprocess.run(
                    ["docker", "--host", self.host, "load", "--quiet"], stdin=saved.stdout, timeout=120, check=False
                )
                saved.communicate(timeout=60)
            finally:
                saved.kill()  # nothing, when it has ended
        if saved.returncode or loaded.returncode:
            raise RuntimeError(f"{image} could not be copied from {giver.host} to {self.host}")

    def empty(self, tag: str, architecture: str, variant: str = "") -> str:
        """The id of an image without a file that is for that processor; `docker import --platform` heeds none."""
        with io.BytesIO() as nothing:
            tarfile.open(fileobj=nothing, mode="w").close()
            layer = nothing.getvalue()
        rootfs = {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]}
        own = {"Labels": {"dev.atoll.test": tag}}  # so that no two tests share one, and what it is called
        platform = {"architecture": architecture, "os": "linux", **({"variant": variant} if variant else {})}
        config = json.dumps({**platform, "config": own, "rootfs": rootfs}).encode()
        manifest = json.dumps([{"Config": "config.json", "RepoTags": [tag], "Layers": ["layer.tar"]}]).encode()
        with tempfile.NamedTemporaryFile(suffix=".tar") as file:
            with tarfile.open(fileobj=file, mode="w") as archive:
                for name, text in (("config.json", config), ("layer.tar", layer), ("manifest.json", manifest)):
                    member = tarfile.TarInfo(name)
                    member.size = len(text)
                    archive.addfile(member, io.BytesIO(text))
            file.flush()
            self.docker("load", "--input", file.name)
        return self.docker("image", "inspect", "--format", "{{.Id}}", tag)

    def sweep(self) -> None:
        """Remove every container, network and volume, and every image that is no base."""
        self._remove("container", "ls --all --quiet", "rm --force --volumes")
        self._remove("network", "ls --quiet --filter type=custom", "rm")
        self._remove("volume", "ls --quiet", "rm --force")
        for image in self._images():
            if not bases.is_kept(image):
                with contextlib.suppress(RuntimeError):  # a parent of one that stays, or gone with a child
                    self.docker("image", "rm", "--force", image["Id"])
        with contextlib.suppress(RuntimeError):
            self.docker("builder", "prune", "--force")

    def _remove(self, kind: str, listing: str, removing: str) -> None:
        if found := self.docker(kind, *listing.split()).split():
            self.docker(kind, *removing.split(), *found)

    def _images(self) -> list[dict[str, Any]]:
        """All of them, asked about at once: killed tests leave hundreds, and one question each would take minutes."""
        listed = self.docker("image", "ls", "--all", "--no-trunc", "--format", "{{.ID}}")
        ids = dict.fromkeys(listed.split())  # children first
        found: list[dict[str, Any]] = json.loads(self.docker("image", "inspect", *ids)) if ids else []
        return found

    # --------------------------------------------------------------------------------------------------------- clearing

    def clear(self) -> None:
        """End what is left of it, whoever started it: its process, containers, mounts and bridge. Its data stays."""
        self.kill()
        deadline = time.monotonic() + DOWN_S
        while (left := self._shims()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        for place in sorted(_mounted_below(self.data, self.folder), reverse=True):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)
        subprocess.run(["ip", "link", "delete", self.bridge], capture_output=True, check=False)
        shutil.rmtree(self.folder / "exec", ignore_errors=True)

    def _shims(self) -> list[int]:
        """The processes of containerd of this daemon, and each container's."""
        mine = f"{self.folder}/exec".encode()
        shims = [pid for pid in _pids() if mine in _read(f"/proc/{pid}/cmdline")]
        inside = [
            pid for pid in _pids() if any(f"PPid:\t{shim}\n".encode() in _read(f"/proc/{pid}/status") for shim in shims)
        ]
        return [pid for pid in (*inside, *shims) if b"State:\tZ" not in _read(f"/proc/{pid}/status")]

    def _make_bridge(self) -> None:
        """A bridge of its own: two daemons on docker0 would give out the same addresses."""
        if self.bridge in (name for _, name in socket.if_nameindex()):
            return
        for argv in (
            ["link", "add", "name", self.bridge, "type", "bridge"],
            ["address", "add", f"172.29.{self.slot}.1/24", "dev", self.bridge],
            ["link", "set", self.bridge, "up"],
        ):
            done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"no bridge for dockerd: `ip {' '.join(argv)}`: {done.stderr.strip()}")

    def _end_of_log(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


# ---------------------------------------------------------------------------------------------------------------- sharing


def cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "atoll-tests" / "docker"


def prepare() -> None:
    """Make what takes longest and needs no daemon, once for all: the little Debian that every base image begins with."""
    if not lacking():
        with _making() as kept, contextlib.suppress(RuntimeError):  # told by whoever needs it
            bases.rootfs(kept)


@contextlib.contextmanager
def _making() -> Iterator[Path]:
    """The cache, while nobody else makes anything for it."""
    cache().mkdir(parents=True, exist_ok=True)
    with leases.held(cache() / "making"):
        yield cache()


@contextlib.contextmanager
def shared(folder: Path = leases.RUN / "shared", data: Path | None = None, slot: int = 0) -> Iterator[Dockerd]:
    """The daemon that all processes on this machine share. Unavailable when none can run here."""
    if why := lacking():
        raise Unavailable(why)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    daemon = Dockerd(folder, data or cache() / "data", slot, live_restore=False)
    with (folder / "users").open("a") as users:
        with leases.held(folder / "gate"):
            try:
                _enter(daemon, users.fileno())
            except RuntimeError as problem:
                raise Unavailable(str(problem)) from problem
        try:
            yield daemon
        finally:
            with leases.held(folder / "gate"):
                # This gives up the lock that we hold, also when another one is held: we leave, either way.
                if leases.taken(users.fileno(), fcntl.LOCK_EX):
                    daemon.sweep()
                    daemon.stop()
                    daemon.clear()


def _enter(daemon: Dockerd, users: int) -> None:
    """Join those who use it. The first one finds what a killed one has left, and starts it anew."""
    first = leases.taken(users, fcntl.LOCK_EX)
    if first:
        daemon.clear()
        try:
            daemon.start()
        except RuntimeError:  # its data was torn in the middle of a write
            daemon.clear()
            shutil.rmtree(daemon.data)
            daemon.start()
        daemon.sweep()
    elif not daemon.answers():
        daemon.start()
    fcntl.flock(users, fcntl.LOCK_SH)


@contextlib.contextmanager
def own(*, live_restore: bool = True) -> Iterator[Dockerd]:
    """A started daemon for one alone, without any image. Nothing of it is left afterwards, in whatever state it is then."""
    if why := lacking():
        raise Unavailable(why)
    with leases.numbered("dockerd", range(1, SLOTS)) as (slot, note):
        if former := note.read_text():  # whoever had this slot was killed
            _dissolve(Dockerd(Path(former), Path(former) / "data", slot))
        with tempfile.TemporaryDirectory(prefix="atd-") as name:
            note.write_text(name)
            daemon = Dockerd(Path(name), Path(name) / "data", slot, live_restore=live_restore)
            try:
                daemon.start()
                yield daemon
            finally:
                _dissolve(daemon)
            note.write_text("")


def _dissolve(daemon: Dockerd) -> None:
    """Remove a daemon with all that it has: its networks are the kernel's, and only it knows which are its own."""
    if daemon.data.exists():
        with contextlib.suppress(RuntimeError):
            if not daemon.answers():
                daemon.clear()
                daemon.start()
            daemon.sweep()
        daemon.stop()
    daemon.clear()
    shutil.rmtree(daemon.folder, ignore_errors=True)
    daemon.folder.mkdir()  # its maker removes it


def _descriptors() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]


def _mounted_below(*folders: Path) -> list[str]:
    places = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [place for place in places if any(Path(place).is_relative_to(folder) for folder in folders)]


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _running(pid_file: Path) -> int | None:
    """The process that wrote this file, while it lives: a zombie has no arguments, and another's name other folders."""
    number = _read(str(pid_file)).decode().strip()
    return int(number) if number and str(pid_file.parent).encode() in _read(f"/proc/{number}/cmdline") else None


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""  # it ended meanwhile


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bases", metavar="VARIABLE", help="make every base image, and name them in it, as JSON")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    try:
        with shared() as daemon:
            told = {"DOCKER_HOST": daemon.host}
            if asked.bases:
                print("making base images, the first time some minutes …", file=sys.stderr, flush=True)
                told[asked.bases] = json.dumps(daemon.bases())
            child = subprocess.Popen(asked.command, env=os.environ | told, start_new_session=True)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda number, _frame: child.send_signal(number))
            return child.wait()
    except Unavailable as problem:
        print(problem, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
