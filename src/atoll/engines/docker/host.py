"""`ports.Host` for containers: one each, found again by its labels."""

import asyncio
import contextlib
import json
import logging
import os
import secrets
import signal as signals
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import msgspec

from atoll.engines import sockets
from atoll.engines.docker import commands
from atoll.engines.docker.client import Client, DockerFailed, DockerRefused
from atoll.engines.docker.container import (
    Config,
    config,
    is_running,
    never_began,
    short,
)
from atoll.engines.docker.containers import LAG_LOOK_S, LAG_S, STOP_S, Containers
from atoll.engines.docker.foreign import foreign
from atoll.engines.docker.names import ENVIRONMENT, KIND, SERVICE, Names, environment_id
from atoll.engines.docker.networks import Networks
from atoll.engines.docker.output import Output, Source
from atoll.engines.docker.owners import Owners
from atoll.engines.users import Users
from atoll.keeper.client import files, proc
from atoll.model.environment import DockerSpec
from atoll.model.errors import AtollError, Permanent, Retryable
from atoll.model.hosted import Hosted, Listener, LogLine, Unable
from atoll.model.launch import Reach
from atoll.model.spec import ServiceSpec
from atoll.model.state import Exit, Image
from atoll.ports import Launch

_log = logging.getLogger(__name__)

DATA = "/var/lib/atoll/data"  # as containers see it
START_S = 60.0  # overlay mounts of a large image on a slow disk
_EXEC_S, _LOOK_S = 2.0, 0.005  # docker-init becomes the program within milliseconds


class DockerHost:
    """Replicas as containers of the dockerd at `spec.socket`, which runs on this machine.

    Args:
        state_dir: the environment's folder that survives a reboot: kept output, the users of services.
        run_dir: its folder in memory: rendered files.
        spec: what the environment says of Docker.
        users: who chooses a user for each service; by default one that knows of no other environment.
    """

    def __init__(self, state_dir: Path, run_dir: Path, spec: DockerSpec, users: Users | None = None) -> None:
        self._names = Names(environment_id(state_dir))
        self._client = Client(spec.socket)
        self._networks = Networks(self._client, self._names, spec.networks)
        self._owners = Owners(self._client, self._names, users or Users(state_dir.absolute()))
        self._output = Output(self._client, self._names, state_dir.absolute(), run_dir.absolute())
        self._files = f"{run_dir.absolute()}/files"
        self._there = Containers(self._client, self._names, self._output, self._files)

    async def close(self) -> None:
        """Let go of dockerd; all containers go on."""
        await self._client.close()

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:
        """See `ports.Host`. Each has a network of its own, and volumes; files are given to another user."""
        unable = []
        if spec.files and os.geteuid() != 0:
            what = "files are for the user of its containers alone, and only root can give them to another user"
            fix = "run Atoll as root, or let the image have the files and take values from [env]"
            unable.append(Unable(what=what, fix=fix))
        called = spec.image.ref if spec.image else ""
        if image is not None and (misfit := await foreign(self._client, image, called)) is not None:
            unable.append(misfit)
        return unable

    async def reach(self, service: str) -> Reach:
        """See `ports.Host`."""
        return await self._networks.reach(service)

    async def unreach(self, service: str) -> None:
        """See `ports.Host`. What stays is removed by `remove`, at the latest."""
        try:
            left = await self._networks.remove([service])
        except AtollError as exc:
            left = [str(exc)]
        for sentence in left:
            _log.warning("%s: %s", service, sentence)

    def data_base(self) -> str:
        """See `ports.Host`."""
        return DATA

    def files_base(self) -> str:
        """See `ports.Host`. The same on the machine and in the container."""
        return self._files

    # --- starting -------------------------------------------------------------------------------------------------

    async def start(self, launch: Launch) -> Hosted:
        """See `ports.Host`. Returns once the program runs, or with `exit.error` when it cannot be executed.

        Made and started are two steps: one that was only made, by a daemon that was killed, is made anew.
        """
        self._there.busy.add(launch.id)
        try:
            found = await self._there.find(launch.id)
            if found is not None:
                if not never_began(found) or found["State"]["Error"]:
                    return (await self._there.see(found)).hosted
                await self._there.remove(found["Id"])
            return await self._start(launch)
        finally:
            self._there.busy.discard(launch.id)

    async def _start(self, launch: Launch) -> Hosted:
        if launch.image is None:
            return _not_started(launch, f"{launch.service} has no image, and on Docker an image is what runs")
        if (misfit := await foreign(self._client, launch.image, "")) is not None:  # of a backup of another machine
            return _not_started(launch, f"{misfit.what}: {misfit.fix}")
        name = self._names.container(launch.id)
        try:
            owner = await self._owners.of(launch)
            network = await self._networks.attach(launch.service)
            await self._owners.give_volumes(launch, owner)
            if launch.files:
                await asyncio.to_thread(files.write, _with_files(launch), owner.uid)
            async with self._client.asked(f"make {name}") as docker:
                made = await docker.containers.create(config(launch, self._names, network, owner), name=name)
        except OSError as exc:
            return _not_started(launch, f"its files cannot be written: {exc}")
        except DockerRefused as exc:
            if exc.status == 409:  # somebody took the name between two looks
                raise Retryable(str(exc), 1.0, id=exc.id) from exc
            return _not_started(launch, _why_not_made(launch, exc))
        try:
            async with self._client.asked(f"start {name}", START_S):
                await made.start()
        except (DockerRefused, DockerFailed) as exc:
            if _may_pass(exc):
                await self._there.remove(made.id)
                raise Retryable(f"Docker could not start {name}: {exc.said}", 1.0, id=exc.id) from exc
        return (await self._there.see(await self._executed(made.id))).hosted

    async def _executed(self, container: str) -> Config:
        """The container once docker-init has become the program, or has ended without."""
        deadline = asyncio.get_running_loop().time() + _EXEC_S
        while True:
            info = await self._there.inspect(container)
            if info is None:
                raise Retryable("a container was removed while it was being started", 1.0, id="docker-refused")
            pid = info["State"]["Pid"]
            if not is_running(info) or asyncio.get_running_loop().time() > deadline or _has_program(pid):
                return info
            await asyncio.sleep(_LOOK_S)

    # --- looking --------------------------------------------------------------------------------------------------

    async def list(self) -> Sequence[Hosted]:
        """See `ports.Host`. What a killed daemon left half made, or was running to its end, is removed."""
        return await self._there.list()

    def exits(self) -> AsyncIterator[Hosted]:
        """See `ports.Host`. Begins with those that ended already; goes on across absences of dockerd."""
        return self._there.exits()

    # --- ending ---------------------------------------------------------------------------------------------------

    async def signal(self, replica: str, signal: str) -> bool:
        """See `ports.Host`. SIGSTOP and SIGCONT reach what left the group, too: dockerd freezes the whole container.

        Any other signal also wakes it: who is frozen hears nothing, and dockerd wakes it by itself only for SIGKILL and for
        the one signal that its image names.
        """
        number = signals.Signals[signal]
        seen = await self._there.seen_of(replica)
        if seen is None or seen.hosted.exit is not None:
            return False
        if number in {signals.SIGSTOP, signals.SIGCONT}:
            return await self._freeze(seen.container, number is signals.SIGSTOP)
        try:
            async with self._client.asked(f"send {signal} to {replica}") as docker:
                await docker.containers.container(seen.container).kill(signal=number.name)
        except (DockerRefused, DockerFailed):
            info = await self._there.inspect(seen.container)
            if info is not None and is_running(info):
                raise
            return False
        await self._freeze(seen.container, False)
        return True

    async def _freeze(self, container: str, frozen: bool) -> bool:
        """Have it frozen, or not; False when nothing of it runs any more."""
        deadline = asyncio.get_running_loop().time() + LAG_S
        while True:
            info = await self._there.inspect(container)
            if info is None or not is_running(info):
                return False
            if info["State"]["Paused"] == frozen:
                return True
            try:
                async with self._client.asked(f"{'pause' if frozen else 'unpause'} a container") as docker:
                    found = docker.containers.container(container)
                    await (found.pause() if frozen else found.unpause())
                    return True
            except (DockerRefused, DockerFailed):
                # dockerd's word lags behind one that has just ended, or that it is waking by itself.
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(LAG_LOOK_S)

    async def forget(self, replica: str) -> None:
        """See `ports.Host`. Its output is put into a file first."""
        try:
            info = await self._there.find(replica)
        except Permanent:
            return  # somebody else's: it stays
        if info is None:
            await asyncio.to_thread(files.remove, f"{self._files}/{replica}")
            return
        if is_running(info):
            await self._kill(info["Id"])
        if not never_began(info):
            seen = await self._there.see(await self._there.inspect(info["Id"]) or info)
            held = {each.hosted.id for each in self._there.known}
            await self._output.keep(seen.hosted.service, Source(info["Id"], replica), held)
        await self._there.remove(info["Id"])
        await asyncio.to_thread(files.remove, f"{self._files}/{replica}")

    async def _kill(self, container: str) -> None:
        with contextlib.suppress(DockerRefused):  # it ended by itself, or is gone
            async with self._client.asked("end a container", STOP_S) as docker:
                await docker.containers.container(container).kill()
                await docker.containers.container(container).wait()

    async def erase(self, service: str) -> None:
        """See `ports.Host`. By their labels: also what an earlier release wrote to."""
        for one in await self.list():
            if one.service == service:  # one that has ended holds its volumes until it is forgotten
                await self.forget(one.id)
        labels = [f"{ENVIRONMENT}={self._names.environment}", f"{KIND}=volume", f"{SERVICE}={service}"]
        async with self._client.asked(f"remove the volumes of {service}", STOP_S) as docker:
            there = await docker.volumes.list(filters={"label": labels})  # type: ignore[no-untyped-call]
            for each in there["Volumes"] or ():
                await (await docker.volumes.get(each["Name"])).delete()  # type: ignore[no-untyped-call]
        self._owners.forget_volumes()

    async def clear(self) -> Sequence[str]:
        """Remove every container, and the networks; volumes stay. Returns a sentence on each network that somebody else uses.

        For an environment that has ended: what runs although nobody wants it is killed.
        """
        for one in await self.list():
            await self.forget(one.id)
        async with self._client.asked("list containers") as docker:
            left = await docker.containers.list(all="1", filters=json.dumps(self._names.filter))
        for each in left:
            await self._there.remove(each["Id"])
        return await self._networks.remove()

    # --- what it says and uses ------------------------------------------------------------------------------------

    async def listener(self, replica: str, port: int) -> Listener:
        """See `ports.Host`. In the container's own network nobody else can listen."""
        seen = await self._there.seen_of(replica)
        if seen is None or seen.hosted.pid is None or not seen.address:
            return Listener(state="none", text="it is not running")
        return await asyncio.to_thread(sockets.listener_of, port, seen.hosted.pid, seen.address)

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
        return self._output.read(service, replica, tail, follow, since_wall, until_wall)

    async def last_output(self, replica: str, lines: int = 20) -> str:
        """See `ports.Host`."""
        seen = await self._there.seen_of(replica)
        found = await self._output.last(seen.container, lines) if seen else []
        # One that is being removed cannot be read any more, and has its file by then.
        return "\n".join(found or await self._output.last_kept(replica, lines))

    async def run(self, launch: Launch, timeout_s: float) -> tuple[Exit, str]:
        """See `ports.Host`. In the container of a replica that runs; else in one of its own, which is removed again."""
        seen = await self._there.seen_of(launch.id)
        if seen is not None and seen.hosted.exit is None:
            return await commands.inside(self._client, seen.container, launch.command, launch.folder, timeout_s)
        if launch.image is None:
            return _not_started(launch, f"{launch.service} has no image").exit or Exit(), ""
        alone = msgspec.structs.replace(launch, id=f"{launch.id}-{secrets.token_hex(3)}", host="127.0.0.1", ports={})
        self._there.busy.add(alone.id)
        try:
            owner = await self._owners.of(launch)
            network = await self._networks.attach(launch.service)
            await self._owners.give_volumes(launch, owner)
            made = config(alone, self._names, network, owner, "run")
            return await commands.alone(self._client, made, self._names.container(alone.id), timeout_s)
        except DockerRefused as exc:
            return _not_started(launch, _why_not_made(launch, exc)).exit or Exit(), ""
        finally:
            self._there.busy.discard(alone.id)

    async def usage(self) -> Mapping[str, tuple[int, float]]:
        """See `ports.Host`."""
        await self.list()
        pids = {seen.hosted.id: seen.hosted.pid for seen in self._there.known if seen.hosted.exit is None}
        return await asyncio.to_thread(_usage, {id: pid for id, pid in pids.items() if pid})


def _with_files(launch: Launch) -> dict[str, object]:
    return {"files": dict(launch.files), "files_folder": launch.files_folder}


def _has_program(init: int) -> bool:
    """Whether docker-init's child is the program by now: it has another name. One that is gone has ended, as dockerd will say soon."""
    stat = proc.read_stat(init)
    children = [proc.read_stat(child) for child in proc.children(init)]
    return stat is not None and any(child is not None and child.comm != stat.comm for child in children)


def _not_started(launch: Launch, why: str) -> Hosted:
    ended = commands.now(Exit(error=why))
    return Hosted(id=launch.id, pid=None, service=launch.service, release=launch.release, exit=ended)


def _why_not_made(launch: Launch, exc: DockerRefused) -> str:
    assert launch.image is not None
    if exc.status == 404 and "image" in exc.said.lower():
        image = short(launch.image.id)
        return f"the image {image} is not on this machine any more; `atoll deploy {launch.service}` makes it again"
    return str(exc)


def _may_pass(exc: DockerRefused | DockerFailed) -> bool:
    """Whether a failed start may succeed when it is tried again: what runc says of the program and its mounts does not."""
    if isinstance(exc, DockerFailed):
        return "Address already in use" in exc.said or "runtime create failed" not in exc.said
    # Not found: its network, or itself, was removed since it was made.
    return "Address already in use" in exc.said or exc.status == 404


def _usage(pids: Mapping[str, int]) -> dict[str, tuple[int, float]]:
    table = proc.scan()
    trees = {name: [*proc.descendants(pid, table), *filter(None, [table.get(pid)])] for name, pid in pids.items()}
    return {
        name: (sum(stat.rss_bytes for stat in tree), sum(stat.cpu_s for stat in tree)) for name, tree in trees.items()
    }
