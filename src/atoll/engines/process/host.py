"""`ports.Host` for plain processes: translates launches for the keeper and its records for Atoll."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

from atoll.engines import logs, sockets
from atoll.engines.process.link import KeeperLink
from atoll.engines.users import NOT_ROOT, Users
from atoll.keeper.client import Message, files, places_of, proc, try_network
from atoll.model.errors import Permanent, Retryable
from atoll.model.hosted import Hosted, Listener, LogLine, Unable
from atoll.model.launch import Network, Reach
from atoll.model.spec import ServiceSpec
from atoll.model.state import Exit, Image
from atoll.ports import Launch

START_S = 45.0  # exec from a slow disk
CALL_S = 30.0
RECONNECT_S = 0.2


def without_network(spec: ServiceSpec, why: str) -> Unable:
    """A service with a port of its own, and why it cannot have a network for it."""
    port = next(port for port in spec.ports if port.number is not None)
    what = f"ports.{port.name}.number needs a network of its own for each replica, which cannot be had here: {why}"
    fix = f"install pasta (the package passt), or let the program listen on {{port}} and take `number = {port.number}` out"
    return Unable(what=what, fix=fix)


def not_writable(folder: str) -> Unable:
    """A folder that whoever runs this cannot give to a service."""
    user = os.geteuid()
    what = f"writable names {folder}, which user {user} can neither make nor write to"
    return Unable(what=what, fix=f"sudo install -d -o {user} {folder}, or use {{data}}")


def not_limited(spec: ServiceSpec) -> Sequence[Unable]:
    """Limits that only containers have: the kernel counts CPU time and processes by group, and those may not be ours."""
    asked = {"cpus": spec.limits.cpus, "pids": spec.limits.pids}
    helps = {"cpus": "limits.cpu_weight is a share when the CPU is short", "pids": "take it out"}
    return [
        Unable(what=f"limits.{name} is not enforced on processes", fix=f'use engine = "docker", or {helps[name]}')
        for name, value in asked.items()
        if value is not None
    ]


def _may_be_had(folder: str) -> bool:
    """Whether the folder is there and may be written to, or can be made."""
    path = Path(folder)
    there = next(each for each in (path, *path.parents) if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def hosted(record: Message) -> Hosted:
    """A keeper's record as the port wants it."""
    ended = record.get("exit")
    return Hosted(
        id=record["id"],
        pid=record.get("pid"),
        service=record.get("service") or "",
        release=record.get("release") or 0,
        started_s=record.get("started_s", 0.0),
        exit=msgspec.convert(ended, Exit) if ended else None,
        notice=record.get("notice", ""),
    )


class ProcessHost:
    """Replicas as processes of this machine. Starts the environment's keeper when there is none.

    Args:
        state_dir: the keeper's folder that survives a reboot (logs, journals).
        run_dir: the keeper's folder for sockets.
        drop_privileges: as root, give each service a user of its own; False runs all as this user.
        isolated: refuse to start what cannot run as its own user; else it runs as root, with a notice.
        revives: start a keeper that was killed; False where a service manager does.
        users: who chooses a user for each service; by default one that knows of no other environment.
    """

    def __init__(
        self,
        state_dir: Path,
        run_dir: Path,
        *,
        drop_privileges: bool = True,
        isolated: bool = False,
        revives: bool = True,
        users: Users | None = None,
    ) -> None:
        self._state_dir = state_dir.absolute()
        self._places = places_of(state_dir, run_dir)
        self._link = KeeperLink(self._state_dir, run_dir.absolute(), revives=revives)
        self._drop, self._isolated = drop_privileges, isolated
        self._has_networks = False
        self._users = users or Users(self._state_dir)
        self._records: dict[str, Message] = {}

    async def close(self) -> None:
        """Let go of the keeper; all replicas go on."""
        await self._link.close()

    def _message(self, launch: Launch) -> Message:
        message: Message = {
            "id": launch.id,
            "service": launch.service,
            "release": launch.release,
            "argv": list(launch.command.vector),
            "folder": launch.folder,
            "env": {**launch.env, **launch.secrets},
            "memory_bytes": launch.limits.memory_bytes,
            "cpu_weight": launch.limits.cpu_weight,
            "open_files": launch.limits.open_files,
            "grace_s": launch.grace_s,
            "writable": list(launch.writable),
            "network": None if launch.network is None else _network(launch.network),
            "files": dict(launch.files),
            "files_folder": launch.files_folder,
        }
        if self._drop and os.geteuid() == 0:
            message["isolated"] = self._isolated
            # Where a machine serves, who names a folder is not whose folder it is.
            as_owner = launch.in_place and not self._isolated
            message["uid"] = _owner(launch.folder) if as_owner else self._users.uid(launch.service)
        elif self._drop:
            message["notice"] = NOT_ROOT
        if launch.files_hold_secrets and not files.in_memory(launch.files_folder):
            message["notice"] = f"its files with secrets lie on a disk while it runs: {launch.files_folder}"
        return message

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:  # noqa: ARG002  none here has one
        """See `ports.Host`. A network that could be had once is taken to be there."""
        unable = [not_writable(folder) for folder in spec.writable if not _may_be_had(folder)]
        unable += not_limited(spec)
        if spec.own_network and not self._has_networks:
            why = await asyncio.to_thread(try_network)
            self._has_networks = not why
            unable += [without_network(spec, why)] if why else []
        return unable

    async def reach(self, service: str) -> Reach:  # noqa: ARG002  the same for all
        """See `ports.Host`. All share the loopback, where the kernel does not tell one caller from another."""
        return Reach()

    async def unreach(self, service: str) -> None:
        """Nothing was made."""

    def data_base(self) -> str:
        """See `ports.Host`."""
        return f"{self._state_dir}/data"

    def files_base(self) -> str:
        """See `ports.Host`."""
        return files.base(self._places)

    async def start(self, launch: Launch) -> Hosted:
        """See `ports.Host`. Returns once the program runs, or with `exit.error` when it cannot be executed."""
        answer = await self._link.call("start", START_S, launch=self._message(launch))
        self._records[launch.id] = answer["replica"]
        return hosted(answer["replica"])

    async def signal(self, replica: str, signal: str) -> bool:
        """See `ports.Host`. SIGKILL reaches the whole tree, also what left the group."""
        answer = await self._link.call("signal", CALL_S, again=False, id=replica, signal=signal)
        return bool(answer["sent"])

    async def forget(self, replica: str) -> None:
        """See `ports.Host`. Returns when nothing of it is left."""
        await self._link.call("forget", START_S, id=replica)
        self._records.pop(replica, None)

    async def erase(self, service: str) -> None:
        """See `ports.Host`. Folders outside Atoll's own (`writable`) are somebody's, and stay."""
        folder = Path(self.data_base()) / service
        try:
            await asyncio.to_thread(shutil.rmtree, folder)
        except FileNotFoundError:
            pass
        except OSError as exc:
            raise Permanent(
                f"the data of {service} cannot be removed: {exc}", f"remove {folder}", id="folder-unusable"
            ) from exc

    async def list(self) -> Sequence[Hosted]:
        """See `ports.Host`."""
        answer = await self._link.call("list", CALL_S)
        self._records = {record["id"]: record for record in answer["replicas"]}
        return [hosted(record) for record in answer["replicas"]]

    async def exits(self) -> AsyncIterator[Hosted]:
        """See `ports.Host`. Begins with those that ended already; goes on across restarts of the keeper."""
        told: set[tuple[str, float]] = set()
        while True:
            try:
                reader, writer = await self._link.connect()
            except Retryable as exc:
                await asyncio.sleep(exc.after_s)
                continue
            try:
                writer.write(b'{"n":1,"op":"watch"}\n')
                while line := await reader.readline():
                    message: Message = json.loads(line)
                    records = message.get("replicas") or ([message["replica"]] if "replica" in message else [])
                    if "replicas" in message:
                        here = {(record["id"], record["started_s"]) for record in records}
                        told &= here
                    for record in records:
                        key = (record["id"], record["started_s"])
                        if record["exit"] is not None and key not in told:
                            told.add(key)
                            yield hosted(record)
            except (OSError, ValueError):
                pass  # the keeper went away in the middle of a line; what it did not say is told after reconnecting
            finally:
                writer.close()
            await asyncio.sleep(RECONNECT_S)

    async def _record(self, replica: str) -> Message | None:
        if replica not in self._records:
            await self.list()
        return self._records.get(replica)

    async def listener(self, replica: str, port: int) -> Listener:
        """See `ports.Host`."""
        record = await self._record(replica)
        if record is None:
            return await asyncio.to_thread(sockets.listener, port, -1, None)
        network: Message | None = record.get("network")
        if network is not None and not proc.is_running(network["pid"], network["start"]):
            await self.list()  # it was started again, maybe
            network = self._records.get(replica, record)["network"]
        if network is not None:
            return await asyncio.to_thread(sockets.listener_inside, port, network, record["shim"], record["pid"])
        return await asyncio.to_thread(sockets.listener, port, record["shim"], record["pid"])

    def logs(
        self,
        service: str,
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """See `ports.Host`."""
        return logs.read(self._state_dir / "logs" / service, service, replica, tail, follow, since_wall, until_wall)

    async def last_output(self, replica: str, lines: int = 20) -> str:
        """See `ports.Host`."""
        path = next((self._state_dir / "logs").glob(f"*/{replica}.log"), None)
        if path is None:
            return ""
        found = await asyncio.to_thread(logs.newest, path, path.parent.name, lines, 0.0)
        return "\n".join(line.text for line in found)

    async def run(self, launch: Launch, timeout_s: float) -> tuple[Exit, str]:
        """See `ports.Host`. Over its time it is killed with all its children, and `exit.error` says so."""
        answer = await self._link.call(
            "run", timeout_s + CALL_S, again=False, launch=self._message(launch), timeout_s=timeout_s
        )
        return msgspec.convert(answer["replica"]["exit"], Exit), str(answer["output"])

    async def usage(self) -> Mapping[str, tuple[int, float]]:
        """See `ports.Host`."""
        await self.list()
        shims = {name: int(record["shim"]) for name, record in self._records.items() if record["exit"] is None}
        return await asyncio.to_thread(_usage, shims)


def _network(network: Network) -> Message:
    return {"inward": [list(pair) for pair in network.inward.items()], "outward": list(network.outward)}


def _usage(shims: Mapping[str, int]) -> dict[str, tuple[int, float]]:
    table = proc.scan()
    trees = {name: proc.descendants(shim, table) for name, shim in shims.items()}
    return {
        name: (sum(stat.rss_bytes for stat in tree), sum(stat.cpu_s for stat in tree)) for name, tree in trees.items()
    }


def _owner(folder: str) -> int | None:
    """The user of a work tree; None, which is this process' own, where nobody can tell."""
    try:
        return Path(folder).stat().st_uid
    except OSError:
        return None  # it went: the start will say so
