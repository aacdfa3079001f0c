"""What the commands need of Docker without a daemon of ours: which dockerd it is, whether it can be used, what is left there.

Imports the client of Docker where it is used: only environments of containers pay for it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from atoll.model.environment import DockerSpec, EnvironmentSpec
from atoll.model.errors import AtollError, Problem, Retryable, UserError
from atoll.model.wire_doctor import DoctorView

if TYPE_CHECKING:
    from atoll.app.config import Config
    from atoll.engines.docker.machine import Looked
    from atoll.model.hosted import Unable
    from atoll.workspace.places import Places

_USUAL = "/var/run/docker.sock"
_ASK_S = 5.0
_CLEAR_S = 60.0
_FIX = "start it (`systemctl start docker`), or say where it listens: [environments.NAME.docker] socket, or DOCKER_HOST"


def settled(environment: EnvironmentSpec) -> EnvironmentSpec:
    """With the socket that is meant, so that builds, the daemon and `down` mean the same one. Raises UserError."""
    if environment.engine != "docker":
        return environment
    socket = socket_of(environment.docker, os.environ)
    return msgspec.structs.replace(environment, docker=msgspec.structs.replace(environment.docker, socket=socket))


def socket_of(spec: DockerSpec, environ: Mapping[str, str]) -> str:
    """Where dockerd listens: as the environment says, else as Docker's own variable does, else the usual place.

    Raises UserError for a DOCKER_HOST that is no socket of this machine.
    """
    told = environ.get("DOCKER_HOST", "")
    if spec.socket or not told:
        return spec.socket or _USUAL
    if not told.startswith("unix:///"):
        why = f"DOCKER_HOST is {told}, and containers are reached by their addresses on this machine's bridges"
        raise UserError("dockerd must run on this machine", why, _FIX, id="docker-unreachable")
    return told.removeprefix("unix://")


def require(environment: EnvironmentSpec) -> None:
    """Raise UserError where containers cannot be run, before anything is started."""
    looked = _look(environment)
    if (refused := looked.refusal) is not None:
        raise UserError(refused.what, "", refused.fix, id=refused.id)


def troubles(environment: EnvironmentSpec, file: str) -> Iterator[Problem]:
    """The same as a warning about `file`: the workspace may run elsewhere."""
    try:
        require(environment)
    except UserError as exc:
        what = f"{exc.what}{f': {exc.why}' if exc.why else ''}"
        yield Problem(file=file, field="engine", what=what, fix=exc.fix, id=exc.id, level="warning")


def checks(environment: EnvironmentSpec, places: Places | None) -> Iterator[DoctorView]:
    """Each check of `atoll doctor`; without `places` nothing is tried."""
    try:
        looked = _look(environment)
    except UserError as exc:
        yield DoctorView(check="docker", ok=False, text=f"{exc.what}{f': {exc.why}' if exc.why else ''}", fix=exc.fix)
        return
    if (refused := looked.refusal) is not None:
        yield DoctorView(check="docker", ok=False, text=refused.what, fix=refused.fix)
        return
    yield DoctorView(check="docker", ok=True, text=looked.text)
    for about, remark in looked.remarks:
        yield DoctorView(check=f"docker {about}", ok=None, text=remark.what, fix=remark.fix)
    if places is not None:
        yield from _calls(environment, places)


def _calls(environment: EnvironmentSpec, places: Places) -> Iterator[DoctorView]:
    """Whether containers reach what they may, and nothing else, by trying it."""
    from atoll.engines.docker.client import Client
    from atoll.engines.docker.names import environment_id
    from atoll.engines.docker.trial import trial

    async def tried() -> Sequence[Unable]:
        docker = settled(environment).docker
        client = Client(docker.socket)
        try:
            return await trial(client, environment_id(places.state), docker.networks, environment.ports)
        finally:
            await client.close()

    try:
        found = asyncio.run(tried())
    except AtollError as exc:
        yield DoctorView(check="calls", ok=None, text=f"could not be tried: {exc.what}", fix=exc.fix)
        return
    for unable in found:
        yield DoctorView(check="calls", ok=False, text=unable.what, fix=unable.fix)
    if not found:
        text = "containers reach the services that they call, and no others (tried)"
        yield DoctorView(check="calls", ok=True, text=text)


def clear(config: Config, say: Callable[[str], None]) -> None:
    """Remove the containers and networks that are left of an environment that has ended; its volumes stay.

    Raises UserError when some may be left: they run on, and serve nobody.
    """
    from atoll.engines.docker import DockerHost

    async def cleared() -> None:
        host = DockerHost(Path(config.state), Path(config.run), config.environment.docker)
        try:
            async with asyncio.timeout(_CLEAR_S):
                for sentence in await host.clear():
                    say(sentence)
        finally:
            await host.close()

    try:
        asyncio.run(cleared())
    except (AtollError, TimeoutError) as exc:
        why = exc.what if isinstance(exc, AtollError) else f"Docker took longer than {_CLEAR_S:g} s"
        fix = "see that dockerd runs (`systemctl start docker`), then `atoll down` again: it removes them"
        what = "all else is down, but the environment's containers and networks may be left"
        raise UserError(what, why, fix, id="docker-unreachable") from exc


def _look(environment: EnvironmentSpec) -> Looked:
    """What dockerd says of itself. Raises UserError when it says nothing."""
    from atoll.engines.docker.client import Client
    from atoll.engines.docker.machine import look

    async def looked() -> Looked:
        client = Client(settled(environment).docker.socket)
        try:
            return await look(client, _ASK_S)
        finally:
            await client.close()

    try:
        return asyncio.run(looked())
    except Retryable as exc:
        raise UserError(str(exc), "", _FIX, id=exc.id) from exc
