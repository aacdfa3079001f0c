"""Which containers an environment has, by their labels; what became of each is remembered, and its end is told once.

`DockerHost` starts and ends them. dockerd's word is the truth; what is kept here is made anew from it by the next daemon.
"""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from atoll.engines.docker import commands
from atoll.engines.docker.client import Client, DockerRefused, documents
from atoll.engines.docker.container import (
    Config,
    complaint,
    ended_with,
    hosted,
    is_running,
    may_be_unexecuted,
    never_began,
)
from atoll.engines.docker.names import ENVIRONMENT, KIND, REPLICA, Names
from atoll.engines.docker.output import Output
from atoll.keeper.client import files
from atoll.model.errors import Permanent, Retryable
from atoll.model.hosted import Hosted

_log = logging.getLogger(__name__)

STOP_S = 30.0  # from SIGKILL to its end, which waits for a process in the kernel
LAG_S, LAG_LOOK_S = 2.0, 0.02  # for how long dockerd's word may lag behind what happened
_AGAIN_S = 0.5  # before the stream of ends is opened again
_ENDED = {"created", "exited", "dead", "removing"}


class Seen(NamedTuple):
    """A container as it was seen last."""

    container: str  # dockerd's id
    hosted: Hosted
    address: str


class Containers:
    """Those of one environment, as they were seen last.

    Args:
        files: the folder of rendered files: those of a replica that ended are removed.
    """

    def __init__(self, client: Client, names: Names, output: Output, files: str) -> None:
        self._client, self._names, self._output, self._files = client, names, output, files
        self.busy: set[str] = set()  # ids that are being started, or run: not to be swept
        self._seen: dict[str, Seen] = {}  # by dockerd's id
        self._swept = False

    @property
    def known(self) -> Collection[Seen]:
        """All of them, as of the last look."""
        return self._seen.values()

    async def inspect(self, container: str) -> Config | None:
        """By name or id; None when there is none."""
        try:
            async with self._client.asked("look at a container") as docker:
                return await docker.containers.container(container).show()
        except DockerRefused as exc:
            if exc.status == 404:
                return None
            raise

    async def find(self, replica: str) -> Config | None:
        """The replica's container. Raises Permanent when its name is that of somebody else's."""
        name = self._names.container(replica)
        info = await self.inspect(name)
        if info is None:
            return None
        labels = info["Config"]["Labels"] or {}
        if labels.get(ENVIRONMENT) != self._names.environment or labels.get(REPLICA) != replica:
            raise Permanent(
                f"there is a container {name} already",
                "it has not the labels of this environment, so it is somebody else's",
                f"rename or remove it: `docker rm {name}`",
                id="docker-refused",
            )
        return info

    async def see(self, info: Config) -> Seen:
        """Take what dockerd says of a container; the files of one that ended are gone then."""
        known = self._seen.get(info["Id"])
        if known is not None and known.hosted.exit is not None and not is_running(info):
            return known
        error = ""
        if may_be_unexecuted(info) and not never_began(info):
            last = await self._output.last(info["Id"], 1)
            error = complaint(last[0], info["Config"]["Image"]) if last else ""
        made = hosted(info, commands.boot_minus_wall_s(), error)
        if known is not None:  # the clock may have been set since
            at_s = max(known.hosted.started_s, made.exit.at_s) if made.exit else 0.0
            ended = msgspec.structs.replace(made.exit, at_s=at_s) if made.exit else None
            made = msgspec.structs.replace(made, started_s=known.hosted.started_s, exit=ended)
        if made.exit is not None:
            await asyncio.to_thread(files.remove, f"{self._files}/{made.id}")
        addresses = [each["IPAddress"] for each in info["NetworkSettings"]["Networks"].values() if each["IPAddress"]]
        self._seen[info["Id"]] = Seen(info["Id"], made, addresses[0] if addresses else "")
        return self._seen[info["Id"]]

    async def list(self) -> Sequence[Hosted]:
        """See `ports.Host`. What a killed daemon left half made, or was running to its end, is removed."""
        async with self._client.asked("list containers") as docker:
            there = await docker.containers.list(all="1", filters=json.dumps(self._names.filter))
        found: list[Hosted] = []
        for each in there:
            replica = each["Labels"].get(REPLICA, "")
            kind = each["Labels"].get(KIND, "")
            if replica in self.busy and (each["State"] == "created" or kind != "replica"):
                continue
            if kind != "replica":
                if kind == "run" or (kind == "probe" and not self._swept and not self.busy):
                    await self.remove(each["Id"])
                continue
            known = self._seen.get(each["Id"])
            ended = each["State"] in _ENDED
            if known is None or ended != (known.hosted.exit is not None):
                known = await self._look(each["Id"])
            if known is not None:
                found.append(known.hosted)
        if not self._swept:  # files of those that ended while no daemon was there
            self._swept = True
            await asyncio.to_thread(_sweep, self._files, {each.id for each in found if each.exit is None} | self.busy)
        ids = {each["Id"] for each in there}
        self._seen = {id: seen for id, seen in self._seen.items() if id in ids}
        return found

    async def _look(self, container: str) -> Seen | None:
        info = await self.inspect(container)
        if info is None or info["State"]["Status"] == "removing":
            return None
        if never_began(info) and not info["State"]["Error"]:
            await self.remove(container)
            return None
        return await self.see(info)

    async def seen_of(self, replica: str) -> Seen | None:
        """The replica's container, known or looked for."""
        known = next((seen for seen in self._seen.values() if seen.hosted.id == replica), None)
        if known is not None:
            return known
        try:
            info = await self.find(replica)
        except Permanent:  # somebody else's
            return None
        return None if info is None or never_began(info) else await self.see(info)

    async def exits(self) -> AsyncIterator[Hosted]:
        """See `ports.Host`. Begins with those that ended already; goes on across absences of dockerd."""
        told: set[str] = set()
        absent = ""
        asked = {**self._names.filter, "type": ["container"], "event": ["die"]}
        while True:
            try:
                async with self._client.stream("tell of ends", "events", {"filters": asked}) as body:
                    ended, absent = self._ended(await self.list()), ""
                    told &= {seen.container for seen in ended}
                    for seen in ended:
                        if seen.container not in told:
                            told.add(seen.container)
                            yield seen.hosted
                    async for event in documents(body):
                        if event["Actor"]["Attributes"].get(KIND) != "replica" or event["Actor"]["ID"] in told:
                            continue
                        told &= self._seen.keys()  # those that are gone end no more
                        end = await self._end_of(event["Actor"])
                        if end is not None:
                            told.add(event["Actor"]["ID"])
                            yield end
            except Retryable as exc:
                if str(exc) != absent:  # once an absence, which may last a night
                    absent = str(exc)
                    _log.warning("ends of containers are not told: %s", exc)
            await asyncio.sleep(_AGAIN_S)

    def _ended(self, listed: Sequence[Hosted]) -> Sequence[Seen]:
        ids = {each.id for each in listed}
        return [seen for seen in self._seen.values() if seen.hosted.id in ids and seen.hosted.exit is not None]

    async def _end_of(self, actor: Config) -> Hosted | None:
        """A container whose end was told; None when it is not to be seen yet: then the next list has it."""
        deadline = asyncio.get_running_loop().time() + LAG_S
        while asyncio.get_running_loop().time() < deadline:
            info = await self.inspect(actor["ID"])
            if info is None:  # somebody removed it by force; the event is all that is left
                known, ended = self._seen.pop(actor["ID"], None), ended_with(int(actor["Attributes"]["exitCode"]))
                return known and msgspec.structs.replace(known.hosted, pid=None, exit=commands.now(ended))
            if not is_running(info):
                return (await self.see(info)).hosted
            await asyncio.sleep(LAG_LOOK_S)
        return None

    async def remove(self, container: str) -> None:
        """With its anonymous volumes. One that is gone, or is being removed, is fine."""
        try:
            async with self._client.asked("remove a container", STOP_S) as docker:
                await docker.containers.container(container).delete(force=True, v=True)
        except DockerRefused as exc:
            if exc.status not in {404, 409}:
                raise
        self._seen.pop(container, None)


def _sweep(folder: str, keep: set[str]) -> None:
    """Remove the rendered files of all but `keep`."""
    with contextlib.suppress(FileNotFoundError):
        for path in Path(folder).iterdir():
            if path.name not in keep:
                files.remove(str(path))
