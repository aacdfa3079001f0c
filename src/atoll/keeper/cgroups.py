"""Control groups, v1 and v2, where they may be written: limits, a way to find every process of a replica, out of memory.

Used by shims (one group per replica) and by the keeper (to clean up after a shim's death). Where no group can be made,
the shim watches memory itself. Groups lie below the caller's own group (v1) or beside it (v2, where a group with
processes cannot have limited children), in a folder named after the environment.
"""

import functools
import os
import signal
import time
import zlib
from contextlib import suppress
from typing import NamedTuple

from atoll.keeper import proc


class Hierarchy(NamedTuple):
    """Where groups of one controller set can be made: `base` is a folder that may not exist yet."""

    version: int
    controllers: frozenset[str]
    base: str


def _mounts() -> list[tuple[int, frozenset[str], str, str]]:
    """(version, controllers, mount point, root of the mount) of each control group file system."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
        for line in file:
            left, _, right = line.partition(" - ")
            before, after = left.split(), right.split()
            if after[0] == "cgroup2":
                found.append((2, frozenset[str](), before[4], before[3]))
            elif after[0] == "cgroup":
                found.append((1, frozenset(after[2].split(",")), before[4], before[3]))
    return found


def _own_paths() -> dict[str, str]:
    """Controller ("" is v2) -> this process's group."""
    paths = {}
    with open("/proc/self/cgroup", encoding="utf-8", errors="replace") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for controller in controllers.split(","):
                paths[controller] = path
    return paths


@functools.cache
def hierarchies(environment: str) -> list[Hierarchy]:
    """Where this environment's groups go, the memory controller's first. Empty when /proc says nothing.

    Asked once by the keeper; its forked shims know it already.
    """
    name = f"atoll-{zlib.crc32(environment.encode()):08x}"
    found: list[Hierarchy] = []
    try:
        mounts, own = _mounts(), _own_paths()
    except OSError:
        return found
    for version, controllers, mount, root in mounts:
        wanted = frozenset({"memory", "cpu"} & controllers) if version == 1 else frozenset({"memory", "cpu"})
        if not wanted:
            continue
        path = own.get(min(wanted) if version == 1 else "")
        if path is None:
            continue
        path = os.path.relpath(path, root) if path.startswith(root) else path.lstrip("/")
        folder = os.path.normpath(os.path.join(mount, path))
        if version == 2 and folder != os.path.normpath(mount):
            folder = os.path.dirname(folder)
        found.append(Hierarchy(version, wanted, os.path.join(folder, name)))
    found.sort(key=lambda hierarchy: (hierarchy.version, "memory" not in hierarchy.controllers))
    return found


def _write(path: str, value: str) -> bool:
    """Set one file of a group; False when it is missing or may not be written."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(fd, value.encode())
    except OSError:
        return False
    finally:
        os.close(fd)
    return True


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


class Group:
    """One replica's groups, one folder per hierarchy."""

    def __init__(self, folders: list[str], limits_memory: bool = False) -> None:
        self.folders = folders
        self.limits_memory = limits_memory  # else somebody has to watch

    @classmethod
    def create(cls, environment: str, name: str, memory_bytes: int | None, cpu_weight: int | None) -> "Group":
        """Groups called `name` in each hierarchy that may be written; none at all is fine."""
        group = cls([])
        for hierarchy in hierarchies(environment):
            folder = os.path.join(hierarchy.base, name)
            try:
                os.makedirs(hierarchy.base, exist_ok=True)
                if hierarchy.version == 2:
                    enable(hierarchy.base)
                os.makedirs(folder, exist_ok=True)
            except OSError:
                continue
            group.folders.append(folder)
            group.limit(folder, hierarchy, memory_bytes, cpu_weight)
        return group

    def limit(self, folder: str, hierarchy: Hierarchy, memory_bytes: int | None, cpu_weight: int | None) -> None:
        """Set the limits in one folder. cpu_weight is v2's scale, 1 to 10000; v1 has 1024 where v2 has 100."""
        if hierarchy.version == 2:
            if memory_bytes is not None and _write(f"{folder}/memory.max", str(memory_bytes)):
                _write(f"{folder}/memory.swap.max", "0")
                _write(f"{folder}/memory.oom.group", "1")
                self.limits_memory = True
            if cpu_weight is not None:
                _write(f"{folder}/cpu.weight", str(cpu_weight))
            return
        if memory_bytes is not None and "memory" in hierarchy.controllers:
            self.limits_memory = _write(f"{folder}/memory.limit_in_bytes", str(memory_bytes))
            _write(f"{folder}/memory.memsw.limit_in_bytes", str(memory_bytes))
        if cpu_weight is not None and "cpu" in hierarchy.controllers:
            _write(f"{folder}/cpu.shares", str(max(2, min(262144, cpu_weight * 1024 // 100))))

    def join(self, pid: int) -> None:
        """Put a process that has not begun its work into all of them; where that fails, the folder is given up."""
        for folder in list(self.folders):
            if not _write(f"{folder}/cgroup.procs", str(pid)):
                self.folders.remove(folder)
                self.limits_memory = self.limits_memory and any(
                    os.path.exists(f"{kept}/memory.max") or os.path.exists(f"{kept}/memory.limit_in_bytes")
                    for kept in self.folders
                )
                with suppress(OSError):
                    os.rmdir(folder)

    def oom_kills(self) -> int:
        """How often the kernel killed something in it for want of memory."""
        count = 0
        for folder in self.folders:
            for line in (_read(f"{folder}/memory.events") + _read(f"{folder}/memory.oom_control")).splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill" and value.isdigit():
                    count += int(value)
        return count

    def pids(self) -> set[int]:
        """All processes in it, zombies included."""
        return {int(pid) for folder in self.folders for pid in _read(f"{folder}/cgroup.procs").split()}

    def kill(self) -> int:
        """SIGKILL to all in it; returns how many there were. Membership is what identifies them."""
        count = 0
        for folder in self.folders:
            _write(f"{folder}/cgroup.kill", "1")
        for pid in self.pids():
            stat = proc.read_stat(pid)
            if stat is not None and stat.state not in "ZX" and pid in self.pids():
                count += proc.send(pid, stat.start, signal.SIGKILL)
        return count

    def remove(self, patience_s: float = 0.5) -> bool:
        """Remove the empty folders; the kernel needs a moment after the last process. False when one stays."""
        deadline = time.monotonic() + patience_s
        for folder in self.folders:
            while True:
                try:
                    os.rmdir(folder)
                except FileNotFoundError:
                    break
                except OSError:
                    if time.monotonic() > deadline:
                        return False
                    time.sleep(0.005)
                    continue
                break
        return True


def enable(base: str) -> None:
    """Give the children of a v2 group the memory and cpu controllers, as far as its parents have them."""
    for folder in (os.path.dirname(base), base):
        have = _read(f"{folder}/cgroup.subtree_control").split()
        for controller in _read(f"{folder}/cgroup.controllers").split():
            if controller in {"memory", "cpu"} and controller not in have:
                _write(f"{folder}/cgroup.subtree_control", f"+{controller}")


def sweep(environment: str, bases: set[str], keep: set[str]) -> None:
    """Remove the empty groups of this environment whose names are not in `keep`, and their folder when it is empty.

    `bases` are folders beside the current ones: those of a keeper that ran in another session, in another group.
    """
    for base in bases | {hierarchy.base for hierarchy in hierarchies(environment)}:
        with suppress(OSError):
            for name in os.listdir(base):
                if name not in keep and os.path.isdir(f"{base}/{name}"):
                    with suppress(OSError):
                        os.rmdir(f"{base}/{name}")
        if not keep:
            with suppress(OSError):
                os.rmdir(base)
