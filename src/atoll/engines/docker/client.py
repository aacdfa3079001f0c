"""dockerd, spoken to over its socket: every wait has a deadline, and every failure becomes one of ours here.

The calls are aiodocker's. Streams are read here, since aiodocker's readers of logs and events mix the two outputs of a
container and end silently when the connection breaks.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiodocker
import aiohttp

from atoll.model.errors import AtollError, Retryable

CALL_S = 30.0
CONNECT_S = 5.0
_AGAIN_S = 1.0
_REFUSED_AGAIN_S = 3.0
_UNREACHABLE = 900  # aiodocker's own status, which HTTP does not have
_LINE_BYTES = 1024 * 1024
_OF_DOCKERD = 3  # neither of a container's two streams

Stream = tuple[bytes, bytes]  # b"o" or b"e", and what was written at once


class DockerRefused(Retryable):
    """dockerd understood and said no. `status` is HTTP's, `said` dockerd's own words.

    To be tried again all the same, where nobody knows better: a person may remove what is in the way, and a daemon that
    gave up on its containers would serve nobody.
    """

    def __init__(self, what: str, status: int, said: str) -> None:
        super().__init__(f"Docker did not {what}: {said}", _REFUSED_AGAIN_S, id="docker-refused")
        self.status, self.said = status, said


class DockerFailed(Retryable):
    """dockerd tried and failed, which may pass. `said` are dockerd's own words."""

    def __init__(self, what: str, said: str) -> None:
        full = "no space left on device" in said
        super().__init__(f"Docker could not {what}: {said}", _AGAIN_S, id="disk-full" if full else "docker-refused")
        self.said = said


class Client:
    """One dockerd. Nothing is connected before the first call; a dockerd that went away and came back is found again."""

    def __init__(self, socket: str) -> None:
        self.socket = socket
        self._connector: aiohttp.BaseConnector | None = None
        self._docker: aiodocker.Docker | None = None

    def _ready(self) -> aiodocker.Docker:
        if self._docker is None:
            # No connection is kept: one that a restarted dockerd left behind fails the next request. No limit: each
            # output that somebody follows holds one, and aiohttp's hundred would keep everybody else out.
            self._connector = aiohttp.UnixConnector(self.socket, limit=0, force_close=True)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
            self._docker = aiodocker.Docker("http://localhost", connector=self._connector, timeout=timeout)
        return self._docker

    async def close(self) -> None:
        """Let go of it."""
        if self._docker is not None:
            await self._docker.close()
        if self._connector is not None:
            await self._connector.close()
        self._docker = self._connector = None

    @contextlib.asynccontextmanager
    async def asked(self, what: str, within_s: float = CALL_S) -> AsyncIterator[aiodocker.Docker]:
        """For the calls of one purpose: `what` completes "Docker could not ...". Raises ours only."""
        async with self._translated(what, within_s):
            yield self._ready()

    @contextlib.asynccontextmanager
    async def stream(
        self,
        what: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        body: object = None,
        *,
        within_s: float | None = None,
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """An answer that is read as it comes. Its head has a deadline; what follows has one, too, by `within_s`."""
        async with self._translated(what, CALL_S) as limit:
            docker = self._ready()
            if docker.api_version == "auto":
                await docker.version()
            response = await docker.session.request(
                "GET" if body is None else "POST",
                f"{docker.docker_host}/{docker.api_version}/{path}",
                params={
                    name: value if isinstance(value, str) else json.dumps(value)
                    for name, value in (params or {}).items()
                },
                json=body,
                read_bufsize=_LINE_BYTES,
            )
            async with response:
                if response.status >= 400:
                    said = await response.text()
                    with contextlib.suppress(ValueError, KeyError, TypeError):
                        said = json.loads(said)["message"]
                    raise aiodocker.DockerError(response.status, said)
                limit.reschedule(None if within_s is None else asyncio.get_running_loop().time() + within_s)
                try:
                    yield response.content
                finally:
                    response.close()  # its end will not come: it is not to be waited for

    @contextlib.asynccontextmanager
    async def _translated(self, what: str, within_s: float) -> AsyncIterator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(within_s) as limit:
                yield limit
        except AtollError:
            raise
        except TimeoutError as exc:
            raise Retryable(f"Docker did not {what} within {within_s:g} s", _AGAIN_S, id="docker-unreachable") from exc
        except aiodocker.DockerError as exc:
            if exc.status == _UNREACHABLE:
                raise self._away(what, exc.message) from exc
            if exc.status >= 500:
                raise DockerFailed(what, exc.message) from exc
            raise DockerRefused(what, exc.status, exc.message) from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise self._away(what, str(exc)) from exc
        except ValueError as exc:  # no JSON, or a line without an end
            raise DockerFailed(what, f"its answer cannot be read ({exc})") from exc

    def _away(self, what: str, why: str) -> Retryable:
        """`why` is aiohttp's, which names the socket twice and ends `[Connection refused]]`."""
        if self._docker is not None:
            self._docker.api_version = "auto"  # whoever comes back may be a newer one
        cause = why.rstrip("]").rpartition("[")[2]
        return Retryable(
            f"Docker could not {what}: dockerd does not answer at {self.socket} ({cause})",
            _AGAIN_S,
            id="docker-unreachable",
        )


async def frames(reader: aiohttp.StreamReader) -> AsyncIterator[Stream]:
    """What a container wrote, by Docker's framing: one byte for the stream, four for the length.

    Raises DockerFailed for what dockerd itself says among it: that it cannot read on, since a log was torn by a power cut.
    """
    with contextlib.suppress(asyncio.IncompleteReadError):
        while True:
            head = await reader.readexactly(8)
            piece = await reader.readexactly(int.from_bytes(head[4:8], "big"))
            if head[0] == _OF_DOCKERD:
                raise DockerFailed("read on", piece.decode("utf-8", "replace").strip())
            yield b"e" if head[0] == 2 else b"o", piece


async def documents(reader: aiohttp.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """JSON objects, a line each."""
    while line := await reader.readline():
        with contextlib.suppress(ValueError):  # torn: whoever wrote it went away
            yield json.loads(line)
