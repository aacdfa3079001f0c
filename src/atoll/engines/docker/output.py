"""What containers printed: dockerd's own log while there is a container, a file in the keeper's format once it is gone.

dockerd gives the time of each line. A line longer than 16 KiB comes in parts, each with a time of its own.
"""

import asyncio
import contextlib
import heapq
import json
import logging
from collections.abc import AsyncIterator
from functools import reduce
from pathlib import Path
from typing import Any, NamedTuple

from atoll.engines import logs
from atoll.engines.docker.client import CALL_S, Client, DockerFailed, DockerRefused, frames
from atoll.engines.docker.container import wall
from atoll.engines.docker.names import KIND, REPLICA, SERVICE, Names
from atoll.keeper.client import places_of, prune_logs
from atoll.model.errors import Retryable
from atoll.model.hosted import LogLine

_log = logging.getLogger(__name__)
_AGAIN_S = 0.5  # between two looks for containers that came, while somebody follows
_LINE_BYTES = 64 * 1024  # as in the keeper's logs: a longer line is split
_ALL = 2**31
_TO_MICROSECONDS = len("2000-01-01T00:00:00.000000")
_WAITING = 1000  # lines that were read and not yet taken


class _Line(NamedTuple):
    stamp: str  # RFC 3339 of a fixed width: sorts by time
    mark: bytes
    text: bytes


class _Told(NamedTuple):
    """How far the output of a container was told: its last line's time, and how many lines are of that microsecond."""

    stamp: str = ""
    lines: int = 0

    @property
    def wall(self) -> float:
        """0 when nothing was told."""
        return wall(self.stamp) if self.stamp else 0.0

    def and_(self, line: _Line) -> "_Told":
        """With one more line. Of two streams that are written at once the later one may come first."""
        same = line.stamp[:_TO_MICROSECONDS] == self.stamp[:_TO_MICROSECONDS]
        return _Told(max(self.stamp, line.stamp), self.lines + 1 if same else 1)


class Source(NamedTuple):
    """A container whose output dockerd has."""

    container: str
    replica: str


async def _lines(pieces: AsyncIterator[tuple[bytes, bytes]]) -> AsyncIterator[_Line]:
    """Lines of a log with times, put together again. An unfinished one comes when its stream goes on or ends."""
    open_: dict[bytes, _Line] = {}
    async for mark, piece in pieces:
        stamp, _, text = piece.partition(b" ")
        begun = open_.pop(mark, None) or _Line(stamp.decode("ascii", "replace"), mark, b"")
        line = begun._replace(text=begun.text + text)
        if text.endswith(b"\n"):
            yield line._replace(text=line.text[:-1])
        elif len(line.text) >= _LINE_BYTES:
            yield line
        else:
            open_[mark] = line
    for line in open_.values():
        yield line


class Output:
    """Logs of one environment's containers. `folder` has a folder of kept files for each service."""

    def __init__(self, client: Client, names: Names, state_dir: Path, run_dir: Path) -> None:
        self._client, self._names = client, names
        self._folder = state_dir / "logs"
        self._places = places_of(state_dir, run_dir)

    # --- reading --------------------------------------------------------------------------------------------------

    async def raw(self, container: str, **params: Any) -> AsyncIterator[_Line]:
        """Lines of one container, by dockerd's parameters. Only with `follow` it may take for ever."""
        asked = {"stdout": "1", "stderr": "1", "timestamps": "1", **{name: str(each) for name, each in params.items()}}
        path, within_s = f"containers/{container}/logs", None if params.get("follow") else CALL_S
        async with self._client.stream("read the output of a container", path, asked, within_s=within_s) as body:
            async for line in _lines(frames(body)):
                yield line

    async def last(self, container: str, count: int) -> list[str]:
        """The last lines of one container that can be read; none when it is gone."""
        return [_text(line) for line in await self._readable(container, tail=count)][-count:]

    async def _readable(self, container: str, **params: Any) -> list[_Line]:
        """Its lines, up to where dockerd cannot read on; none when it is gone."""
        lines: list[_Line] = []
        with contextlib.suppress(DockerRefused, DockerFailed):
            async for line in self.raw(container, **params):
                lines.append(line)  # noqa: PERF401  those before a failure count
        return lines

    async def last_kept(self, replica: str, count: int) -> list[str]:
        """The last lines of one whose container is gone."""
        path = next(self._folder.glob(f"*/{replica}.log"), None)
        if path is None:
            return []
        found = await asyncio.to_thread(logs.newest, path, path.parent.name, count, 0.0)
        return [line.text for line in found]

    async def read(
        self,
        service: str,
        replica: str | None,
        tail: int,
        follow: bool,
        since_wall: float,
        until_wall: float | None,
    ) -> AsyncIterator[LogLine]:
        """See `ports.Host.logs`."""
        sources = await self._sources(service, replica)
        kept = logs.chosen(self._folder / service, replica)
        here = {source.replica for source in sources}
        old = [path for path in kept if path.name.removesuffix(".log") not in here]
        found = [await asyncio.to_thread(logs.newest, path, service, tail, since_wall, until_wall) for path in old]
        ends: dict[Source, _Told] = {}
        for source in sources:
            lines = await self._past(source, tail, since_wall, until_wall)
            told = [_log_line(service, source.replica, line) for line in lines]
            path = self._folder / service / f"{source.replica}.log"
            if not told and path.exists():  # it was removed since it was listed, and its file is written before that
                told = await asyncio.to_thread(logs.newest, path, service, tail, since_wall, until_wall)
            else:
                ends[source] = reduce(_Told.and_, lines, _Told())
            found.append(told)
        merged = list(heapq.merge(*found, key=lambda line: line.wall))
        for line in merged[-tail:] if tail > 0 else ():
            yield line
        if follow:
            async for line in self._follow(service, replica, ends):
                yield line

    async def _past(self, source: Source, tail: int, since_wall: float, until_wall: float | None) -> list[_Line]:
        params: dict[str, Any] = {"tail": max(tail, 1)}
        if since_wall > 0:
            params["since"] = f"{since_wall:.9f}"
        if until_wall is not None:
            params["until"] = f"{until_wall:.9f}"
        return await self._readable(source.container, **params)

    async def _sources(self, service: str, replica: str | None) -> list[Source]:
        """The service's containers, or those of it whose ids are, or begin with, `replica`."""
        filters = {"label": [*self._names.filter["label"], f"{SERVICE}={service}", f"{KIND}=replica"]}
        async with self._client.asked("list containers") as docker:
            found = await docker.containers.list(all="1", filters=json.dumps(filters))
        sources = [Source(each["Id"], each["Labels"][REPLICA]) for each in found if each["State"] != "created"]
        return [source for source in sources if logs.is_chosen(source.replica, replica)]

    # --- following ------------------------------------------------------------------------------------------------

    async def _follow(self, service: str, replica: str | None, ends: dict[Source, _Told]) -> AsyncIterator[LogLine]:
        """New lines of all of them, also of those that come; across an absence of dockerd."""
        queue: asyncio.Queue[LogLine] = asyncio.Queue(_WAITING)
        readers: dict[str, asyncio.Task[None]] = {}
        watching = asyncio.create_task(self._watch(service, replica, ends, queue, readers))
        try:
            while not watching.done() or not queue.empty():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_AGAIN_S):
                        yield await queue.get()
            watching.result()
        finally:
            tasks = [watching, *readers.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(
        self,
        service: str,
        replica: str | None,
        ends: dict[Source, _Told],
        queue: asyncio.Queue[LogLine],
        readers: dict[str, asyncio.Task[None]],
    ) -> None:
        """A reader for each container, also for those that come. What came and went between two looks left its file.

        Those of `ends` are known from before the first look, which dockerd may not answer until they are gone.
        """
        told = {path.name for path in logs.chosen(self._folder / service, replica) if path.exists()}

        def begin(source: Source) -> None:
            told.add(f"{source.replica}.log")
            if source.container not in readers:
                reading = self._copy(service, source, ends.get(source, _Told()), queue)
                readers[source.container] = asyncio.create_task(reading)

        for source in ends:
            begin(source)
        while True:
            files = [path for path in logs.chosen(self._folder / service, replica) if path.name not in told]
            with contextlib.suppress(Retryable):
                for source in await self._sources(service, replica):
                    begin(source)
                for path in files:
                    if path.name not in told and path.exists():
                        told.add(path.name)
                        for line in await asyncio.to_thread(logs.newest, path, service, _ALL, 0.0):
                            await queue.put(line)
            for reader in readers.values():
                if reader.done():
                    reader.result()  # a reader ends with its container; if it failed, so does who follows
            await asyncio.sleep(_AGAIN_S)

    async def _copy(self, service: str, source: Source, told: _Told, queue: asyncio.Queue[LogLine]) -> None:
        """Lines of one container until it has ended; goes on where it was when the connection breaks."""
        while True:
            before = told.stamp
            try:
                running = await self._is_running(source.container)
                async for line in self.raw(source.container, follow=int(running), since=f"{told.wall:.6f}"):
                    if line.stamp > before:
                        told = told.and_(line)
                        await queue.put(_log_line(service, source.replica, line))
            except DockerRefused:  # it was forgotten
                await self._copy_kept(service, source, told, queue)
                return
            except Retryable:
                running = True  # dockerd is away, which says nothing of the container
            if not running:
                return
            await asyncio.sleep(_AGAIN_S)

    async def _copy_kept(self, service: str, source: Source, told: _Told, queue: asyncio.Queue[LogLine]) -> None:
        """The rest of it, of its file."""
        path = self._folder / service / f"{source.replica}.log"
        again = told.lines
        for line in await asyncio.to_thread(logs.newest, path, service, _ALL, told.wall):
            if line.wall > told.wall or again <= 0:
                await queue.put(line)
            else:
                again -= 1

    async def _is_running(self, container: str) -> bool:
        async with self._client.asked("look at a container") as docker:
            info = await docker.containers.container(container).show()
        return bool(info["State"]["Running"])

    # --- keeping --------------------------------------------------------------------------------------------------

    async def keep(self, service: str, source: Source, held: set[str]) -> None:
        """Put what it printed into a file, before it is removed; files beyond those that a process leaves, too, go.

        `held` are replicas whose files stay. On a full disk its output is lost, and no more than that.
        """
        path = self._folder / service / f"{source.replica}.log"
        fresh = path.with_suffix(".new")  # a log of half of it would hide the container's own
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with fresh.open("wb") as file:
                with contextlib.suppress(DockerFailed):  # what is before a torn place is all that can be had
                    async for line in self.raw(source.container):
                        file.write(b"%.6f %s %s\n" % (wall(line.stamp), line.mark, line.text))
            fresh.replace(path)
        except (OSError, DockerRefused) as exc:
            _log.warning("the output of %s is lost: %s", source.replica, exc)
        finally:
            fresh.unlink(missing_ok=True)
        await asyncio.to_thread(prune_logs, self._places, service, held)


def _text(line: _Line) -> str:
    return line.text.rstrip(b"\r").decode("utf-8", "replace")


def _log_line(service: str, replica: str, line: _Line) -> LogLine:
    at = wall(line.stamp)
    return LogLine(
        service=service,
        replica=replica,
        wall=at,
        stream=logs.STREAMS[line.mark],
        text=_text(line),
        cursor=f"{at:.6f}:{replica}",
    )
