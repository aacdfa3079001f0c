"""What dockerd is asked to make of a launch, and what its answers say of a container. Pure: values in, values out."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from atoll.engines.docker.names import RELEASE, REPLICA, SERVICE, Kind, Names
from atoll.model.command import Command
from atoll.model.hosted import Hosted
from atoll.model.launch import Launch
from atoll.model.state import LOOPBACK, Exit

Config = dict[str, Any]

PIDS = 2048  # Podman's default: no server needs as many, and a fork bomb stays in its container
LOG_BYTES, LOG_FILES = 8 * 1024 * 1024, 2  # as much as a process may leave in its files
_PRIVILEGED_PORTS = 1024
_SHARES_PER_WEIGHT = 1024 / 100  # both are what is normal
# runc gives them the mode of the image's folder, so that it is the owner who makes sure that they can be written.
_TMPFS = {
    "/tmp": "rw,exec,nosuid,nodev,mode=1777",  # noqa: S108  of the container; programs unpack libraries there and load them
    "/run": "rw,noexec,nosuid,nodev,mode=755",
}
# docker-init passes signals on to its child alone; with this, to the child's group, as for processes.
_WHOLE_GROUP = "TINI_KILL_PROCESS_GROUP=1"
# A line for the shell waits for its program, and ends as that. Debian's shell stays a program's parent: the signal would end it
# at once, and with it the container, before the program had its grace. These are what `[stop] signal` may be and ends a shell.
_WAITING = "trap 'exit $?' HUP INT QUIT USR1 USR2 TERM; "
_NOT_EXECUTED = re.compile(r"^\[FATAL tini \(\d+\)\] exec (?P<program>.*) failed: (?P<why>.*)$")


class Owner(NamedTuple):
    """Whom a container runs as, by the kernel's numbers: the same inside and outside."""

    uid: int
    gid: int

    def __str__(self) -> str:
        return f"{self.uid}:{self.gid}"


class Volume(NamedTuple):
    """What outlives the container, at a path in it."""

    name: str
    path: str


def volumes(launch: Launch, names: Names) -> Sequence[Volume]:
    """One for each folder that the service writes to."""
    return [Volume(names.volume(launch.service, path), path) for path in launch.writable]


def config(launch: Launch, names: Names, network: str, owner: Owner, kind: Kind = "replica") -> Config:
    """The container of a launch, in `network` (name or id), as `owner`.

    Nobody but us restarts it or judges its health. Its environment has the secrets; nothing else has.
    """
    image, limits = launch.image, launch.limits
    assert image is not None
    labels = names.labels(kind, launch.service, **{REPLICA: launch.id, RELEASE: str(launch.release)})
    env = {**launch.env, **launch.secrets}
    host: Config = {
        "Init": True,
        "AutoRemove": False,
        "RestartPolicy": {"Name": "no"},
        "ReadonlyRootfs": True,
        "Tmpfs": {path: f"{options},uid={owner.uid},gid={owner.gid}" for path, options in _TMPFS.items()},
        "CapDrop": ["ALL"],
        "CapAdd": ["NET_BIND_SERVICE"] if any(n < _PRIVILEGED_PORTS for n in launch.ports.values()) else [],
        "SecurityOpt": ["no-new-privileges:true"],
        "PidsLimit": PIDS if limits.pids is None else limits.pids,
        "LogConfig": {"Type": "json-file", "Config": {"max-size": str(LOG_BYTES), "max-file": str(LOG_FILES)}},
        "NetworkMode": network,
        "Mounts": [*_mounts(launch, names)],
    }
    if limits.memory_bytes is not None:
        host |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}  # equal: no swap on top
    if limits.cpu_weight is not None:
        host["CpuShares"] = min(262_144, max(2, round(limits.cpu_weight * _SHARES_PER_WEIGHT)))
    if limits.cpus is not None:
        host["NanoCpus"] = round(limits.cpus * 1e9)
    if limits.open_files is not None:
        host["Ulimits"] = [{"Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files}]
    made: Config = {
        "Image": image.id,
        "WorkingDir": launch.folder,
        "User": str(owner),
        "Env": [*(f"{name}={value}" for name, value in env.items()), _WHOLE_GROUP],
        "Labels": labels,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host,
    }
    if argv := _argv(launch.command):  # else the image's own
        made |= {"Entrypoint": list(argv), "Cmd": []}
    if launch.host != LOOPBACK:
        made["NetworkingConfig"] = {"EndpointsConfig": {network: {"IPAMConfig": {"IPv4Address": launch.host}}}}
    return made


def _argv(command: Command) -> Sequence[str]:
    """What docker-init executes; nothing is what the image says."""
    if command.shell is None:
        return command.argv
    return Command(shell=_WAITING + command.shell).vector


def _mounts(launch: Launch, names: Names) -> Sequence[Config]:
    mounts: list[Config] = [
        {
            "Type": "volume",
            "Source": volume.name,
            "Target": volume.path,
            "VolumeOptions": {"NoCopy": True},  # that would make it root's again while it is empty
        }
        for volume in volumes(launch, names)
    ]
    if launch.files:
        folder = launch.files_folder
        mounts.append({"Type": "bind", "Source": folder, "Target": folder, "ReadOnly": True})
    return mounts


# --- what dockerd says --------------------------------------------------------------------------------------------


def never_began(info: Config) -> bool:
    """Whether it was made only: whoever made it was killed before the start, or the start failed."""
    return bool(info["State"]["Status"] == "created")


def is_running(info: Config) -> bool:
    """Whether there is something to signal."""
    return bool(info["State"]["Running"])


def wall(text: str) -> float:
    """Seconds since the epoch of one of dockerd's times; nanoseconds are cut off."""
    return datetime.fromisoformat(text).timestamp()


def hosted(info: Config, boot_minus_wall_s: float, error: str = "", notice: str = "") -> Hosted:
    """What an inspected container is for the ports. `error` is why it could not be executed.

    dockerd tells times of the wall clock; with the difference as it is now they are comparable.
    """
    state, labels = info["State"], info["Config"]["Labels"]
    started_s = wall(info["Created"] if never_began(info) else state["StartedAt"]) + boot_minus_wall_s
    return Hosted(
        id=labels[REPLICA],
        pid=state["Pid"] or None,
        service=labels.get(SERVICE, ""),
        release=int(labels.get(RELEASE, "0")),
        started_s=started_s,
        exit=None if state["Running"] else _exit(info, started_s, boot_minus_wall_s, error),
        notice=notice,
    )


def _exit(info: Config, started_s: float, boot_minus_wall_s: float, error: str) -> Exit:
    state = info["State"]
    if never_began(info):
        ended = wall(info["Created"])
        return Exit(error=error or told(state["Error"]), at_s=ended + boot_minus_wall_s, wall=ended)
    ended = wall(state["FinishedAt"])
    at_s = max(started_s, ended + boot_minus_wall_s)  # of one that ended at once dockerd may tell the end first
    if error:
        return Exit(error=error, at_s=at_s, wall=ended)
    made = ended_with(int(state["ExitCode"]))
    # A server that outlived a child's end for want of memory, and was stopped in order, did not run out of it.
    oom = bool(state["OOMKilled"]) and made.code != 0 and made.signal not in {2, 15}
    limit = info["HostConfig"].get("Memory") or None
    return Exit(code=made.code, signal=made.signal, oom=oom, limit_bytes=limit if oom else None, at_s=at_s, wall=ended)


def ended_with(code: int) -> Exit:
    """By Docker's exit code: beyond 128 it is what docker-init, runc and shells make of a signal."""
    return Exit(signal=code - 128) if 128 < code <= 128 + 64 else Exit(code=code)


def may_be_unexecuted(info: Config) -> bool:
    """Whether its end may be docker-init's own, whose last words say why."""
    return not is_running(info) and info["State"]["ExitCode"] in {1, 126, 127}


def complaint(last_line: str, image: str) -> str:
    """Why docker-init could not execute the program, from its last words; "" when these are no such words."""
    found = _NOT_EXECUTED.match(last_line.strip())
    if found is None:
        return ""
    return f"cannot execute {found['program']}: {found['why']} in the image {short(image)} (its program must be part of the image)"


def told(said: str) -> str:
    """What runc said of a failed start, without the chain of those who passed it on."""
    text = said.removesuffix(": unknown")
    return text.rsplit("container process: ", 1)[-1].rsplit("container_linux.go", 1)[-1]


def short(image: str) -> str:
    """An image's name as people recognise it."""
    name, _, digest = image.rpartition("sha256:")
    return f"{name}{digest[:12]}" if digest else image
