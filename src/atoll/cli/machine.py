"""What `atoll doctor` can check of the machine by itself: Python, tools, disk, memory, the gateway's port, cgroups, root.

Each check is a function that returns one DoctorView; adapters' own checks come through `hooks.local_checks`.
"""

from __future__ import annotations

import errno
import os
import platform
import shutil
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from atoll.decide.production import encryption, leases, tokens
from atoll.model.wire_doctor import DoctorView

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.model.environment import Gateway, WorkspaceSpec

MIN_DISK_BYTES = 2**30  # two small builds and a day of logs
MIN_MEMORY_BYTES = 256 * 2**20  # keeper, daemon and Envoy take about 150 MiB
_STORE_WITHIN_S = 1.0  # on a network where a database is, a connection takes milliseconds
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def checks_of(workspace: WorkspaceSpec | None, *, running: bool) -> Iterator[DoctorView]:
    """All checks; those of ports need a workspace. `running`: the environment is up, so its ports are in use by itself."""
    yield _system()
    yield _python()
    yield _tool("uv", "builds Python services", "pip install uv")
    yield _disk(Path(workspace.root) if workspace else Path.cwd())
    yield _memory()
    if workspace is None or workspace.environment.engine == "process":
        yield _root()
    if workspace is not None:
        yield _leases(workspace)
        if not running:
            yield _gateway(workspace)
        gateway = workspace.environment.gateway
        yield from encryption(str(gateway), gateway.host, tls=gateway.tls is not None)
        yield from tokens(str(workspace.environment.api or ""))
        yield from _stores(workspace)


def _system() -> DoctorView:
    text = f"{platform.system()} {platform.release()} on {platform.machine()}"
    ok = platform.system() == "Linux"
    return DoctorView(check="system", ok=ok, text=text, fix="the process engine needs Linux 5.4 or newer")


def _python() -> DoctorView:
    fix = "install Python 3.11 or newer"
    return DoctorView(check="python", ok=sys.version_info >= (3, 11), text=platform.python_version(), fix=fix)


def _tool(name: str, use: str, fix: str) -> DoctorView:
    beside = shutil.which(name, path=str(Path(sys.executable).parent))
    found = shutil.which(name) or beside
    return DoctorView(check=name, ok=True if found else None, text=found or f"not found; it {use}", fix=fix)


def _disk(folder: Path) -> DoctorView:
    free = shutil.disk_usage(folder).free
    text = f"{free / 2**30:.1f} GiB free"
    return DoctorView(check="disk", ok=free >= MIN_DISK_BYTES, text=text, fix="free at least 1 GiB for builds and logs")


def _memory() -> DoctorView:
    try:
        fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return DoctorView(check="memory", ok=None, text="could not be read from /proc/meminfo")
    fix = "stop something: a deploy starts the new replicas before it stops the old ones"
    return DoctorView(check="memory", ok=free >= MIN_MEMORY_BYTES, text=f"{free / 2**20:.0f} MiB available", fix=fix)


def _root() -> DoctorView:
    if os.geteuid() == 0:
        return DoctorView(check="isolation", ok=True, text="root: services can run under users of their own")
    text = "not root: services run as this user and can read each other's environment"
    return DoctorView(check="isolation", ok=None, text=text, fix="run the environment as root where that matters")


def _leases(workspace: WorkspaceSpec) -> DoctorView:
    try:
        first, last = (int(number) for number in _EPHEMERAL.read_text().split())
    except (OSError, ValueError):
        return leases(workspace.environment.ports, None)
    return leases(workspace.environment.ports, (first, last))


def _gateway(workspace: WorkspaceSpec) -> DoctorView:
    gateway = workspace.environment.gateway
    for place in listeners(gateway):
        if (trouble := gateway_trouble(place)) is not None:
            return DoctorView(check="gateway", ok=False, text=f"{place}: {trouble.why}", fix=trouble.fix)
    return DoctorView(check="gateway", ok=True, text=f"{gateway} is free")


def _stores(workspace: WorkspaceSpec) -> Iterator[DoctorView]:
    """Whether each store whose address is no secret accepts connections; all are asked at once."""
    from concurrent.futures import ThreadPoolExecutor

    from atoll.model.spec import Plain
    from atoll.model.store_url import parse
    from atoll.model.templates import partly

    wanted: dict[tuple[str, int], str] = {}
    for spec in workspace.services.values():
        for store in spec.stores:
            if store.server is None and isinstance(store.url, Plain):
                for host, port in parse(partly(store.url.value, {"service": spec.name}), store.type).hosts:
                    if port.isdigit() and "{" not in host:
                        wanted.setdefault((host.strip("[]"), int(port)), store.name)
    if not wanted:
        return
    with ThreadPoolExecutor(min(len(wanted), 16)) as pool:
        for ((host, number), name), why in zip(wanted.items(), pool.map(_refusal, wanted), strict=True):
            text = f"{host}:{number} {why or 'accepts connections'}"
            fix = "start it, or correct its `url`" if why else ""
            yield DoctorView(check=f"store {name}", ok=not why, text=text, fix=fix)


def _refusal(address: tuple[str, int]) -> str:
    try:
        socket.create_connection(address, timeout=_STORE_WITHIN_S).close()
    except OSError as exc:
        return f"cannot be reached: {exc.strerror or exc}"
    return ""


class Trouble(NamedTuple):
    """Why an address cannot be listened on, and what to do."""

    why: str
    fix: str


def listeners(gateway: Gateway) -> tuple[Gateway, ...]:
    """Every address that it listens on: its own, and that of plain HTTP beside it."""
    from msgspec.structs import replace

    beside = gateway.tls.http if gateway.tls else None
    return (gateway, *([replace(gateway, port=beside)] if beside is not None else ()))


def gateway_trouble(gateway: Gateway) -> Trouble | None:
    """Why nothing can listen there now; None when it is free. Opens it for an instant."""
    from msgspec.structs import replace

    try:
        family, kind, proto, _, address = socket.getaddrinfo(gateway.host, gateway.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        fix = (
            f"as root: sysctl -w net.ipv4.ip_unprivileged_port_start={gateway.port} (a line in /etc/sysctl.d keeps it); or use a "
            "port from 1024 on, and have the firewall lead this one there"
        )
        return Trouble(f"only root may listen on port {gateway.port}", fix)
    except OSError as exc:
        if exc.errno != errno.EADDRINUSE:
            return Trouble(str(exc), "set another `gateway` in atoll.toml")
        other = replace(gateway, port=gateway.port + 1)
        fix = f'stop it, or write another into atoll.toml: gateway = "{other}"'
        return Trouble(_holder(gateway.port), fix)
    return None


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    import psutil

    try:
        pids = {
            one.pid
            for one in psutil.net_connections("tcp")
            if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port and one.pid
        }
        for pid in sorted(pids):
            name = psutil.Process(pid).name()
            whose = "; it may be another workspace's" if name == "envoy" else ""
            return f"'{name}' (pid {pid}) listens there{whose}"
    except psutil.Error:
        pass  # gone meanwhile, or not ours to look at: that somebody has it is known all the same
    return "another program listens there"
