"""Whether a dockerd is one that Atoll can use, from what it says of itself.

The proxy runs on the machine and dials containers at their addresses in Docker's bridges, so dockerd must run here, as root,
in the same network as the proxy. `atoll doctor`, `atoll check` and `atoll up` ask.
"""

import os
import re
import socket
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from atoll.engines.docker.client import Client
from atoll.model.hosted import Unable

OLDEST = (20, 10)  # its API (1.41) has all that is asked for; older ones get no fixes any more
_COPYING = ("vfs", "devicemapper", "fuse-overlayfs")
_BRIDGE = "com.docker.network.bridge.name"


class Here(NamedTuple):
    """What the machine knows of itself."""

    kernel: str  # its release, as `uname -r` says it
    interfaces: Collection[str]


class Looked(NamedTuple):
    """A dockerd, judged."""

    text: str  # what and where it is, in a line
    refusal: Unable | None
    remarks: Sequence[tuple[str, Unable]]


async def look(client: Client, within_s: float) -> Looked:
    """Ask it, and judge. Raises Retryable when it does not answer."""
    async with client.asked("tell of itself", within_s) as docker:
        info = await docker.system.info()
        networks = await docker.networks.list(filters={"driver": ["bridge"]})
    options: Mapping[str, str] = next((each["Options"] for each in networks if each["Name"] == "bridge"), {})
    here = Here(os.uname().release, [name for _, name in socket.if_nameindex()])
    what = (info["ServerVersion"], client.socket, info["Driver"], info["CgroupVersion"])
    return Looked(
        "{} at {}, {}, cgroups v{}".format(*what), refusal(info, options.get(_BRIDGE, ""), here), list(remarks(info))
    )


def refusal(info: Mapping[str, Any], bridge: str, here: Here) -> Unable | None:
    """Why this dockerd cannot be used; None when it can.

    Args:
        info: what `GET /info` answers.
        bridge: the interface of its default network; "" when it has none.
        here: this machine.
    """
    if info.get("OperatingSystem") == "Docker Desktop":
        return _refused("it is Docker Desktop, whose containers run in a virtual machine", _INSTALL)
    if any("rootless" in option for option in info.get("SecurityOptions") or ()):
        return _refused("it is rootless, so that its networks are none of this machine's", _INSTALL)
    if info.get("OSType") != "linux" or info.get("KernelVersion") != here.kernel:
        system = f"{info.get('OperatingSystem', 'another system')}, kernel {info.get('KernelVersion', 'unknown')}"
        return _refused(f"it runs on another machine ({system})", LOCAL)
    if bridge and bridge not in here.interfaces:
        return _refused(f"its bridge {bridge} is none of this machine's: one of the two runs in a container", LOCAL)
    if (version := _version(info)) and version < OLDEST:
        return _refused(f"it is {info['ServerVersion']}", "install Docker 20.10 or newer")
    return None


def remarks(info: Mapping[str, Any]) -> Iterator[tuple[str, Unable]]:
    """What works, but not as well as it could, each after a word on what it is about."""
    if info.get("Driver") in _COPYING:
        fix = "give Docker's data a file system for overlay2 (ext4, xfs), and see `docker info`"
        yield "storage", Unable(what=f"its storage driver {info['Driver']} is slow, and copies whole images", fix=fix)
    if not info.get("IPv4Forwarding", True):
        what = "containers reach nothing outside: ip_forward is off"
        yield "routes", Unable(what=what, fix="sysctl -w net.ipv4.ip_forward=1")
    if not info.get("LiveRestoreEnabled", False):
        fix = '{ "live-restore": true } in /etc/docker/daemon.json, then `systemctl reload docker`'
        yield "restarts", Unable(what="a restart of dockerd stops every container", fix=fix)
    limits = {"MemoryLimit": "memory", "CpuCfsQuota": "cpus", "PidsLimit": "pids"}
    if lacking := [name for field, name in limits.items() if not info.get(field, True)]:
        what = f"the kernel enforces no limit of {', '.join(lacking)}"
        yield "limits", Unable(what=what, fix="see the warnings of `docker info`")


_INSTALL = (
    "install Docker's engine (apt-get install docker.io), and say where its socket is: [environments.NAME.docker]"
)
LOCAL = "run Atoll on the machine where dockerd runs; correct `docker.socket` in atoll.toml, or DOCKER_HOST"


def _refused(why: str, fix: str) -> Unable:
    return Unable(what=f"dockerd cannot be used: {why}", fix=fix, id="docker-unreachable")


def _version(info: Mapping[str, Any]) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)", str(info.get("ServerVersion", "")))
    return tuple(int(number) for number in found.groups()) if found else ()
