"""What the commands need of Docker without a daemon of ours: which dockerd it is, whether it can be used, what is left there.

Imports the client of Docker where it is used: only environments of containers pay for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
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
_CHOOSE = "`docker context ls` lists those that are there, `docker context use NAME` chooses one"
_ELSEWHERE = (
    "run Atoll on the machine where dockerd runs; or name the socket of one that runs here: [environments.NAME.docker] socket, "
    "DOCKER_HOST=unix:///..., `docker context use default`"
)
_FIX = "start it (`systemctl start docker`), or say where it listens: [environments.NAME.docker] socket, or DOCKER_HOST"


def settled(environment: EnvironmentSpec) -> EnvironmentSpec:
    """With the socket that is meant, so that builds, the daemon and `down` mean the same one. Raises UserError."""
    if environment.engine != "docker":
        return environment
    socket = socket_of(environment.docker, os.environ)
    return msgspec.structs.replace(environment, docker=msgspec.structs.replace(environment.docker, socket=socket))


def socket_of(spec: DockerSpec, environ: Mapping[str, str]) -> str:
    """Where dockerd listens: as the environment says, else where the command `docker` of whoever calls would look.

    That is `DOCKER_HOST`, else the context that `DOCKER_CONTEXT` or `docker context use` names, else the usual place. Raises
    UserError for one that is no socket of this machine, and for a context that is not there.
    """
    if spec.socket:
        return spec.socket
    told, by = environ.get("DOCKER_HOST", ""), "DOCKER_HOST"
    if not told and (context := _context(environ)):
        told, by = _endpoint(_configuration(environ), context), f"Docker's context {context}"
    if not told:
        return _USUAL
    if not told.startswith("unix:///"):
        why = f"{by} is {told}, and containers are reached by their addresses on this machine's bridges"
        raise UserError("dockerd must run on this machine", why, _ELSEWHERE, id="docker-unreachable")
    return told.removeprefix("unix://")


def _configuration(environ: Mapping[str, str]) -> Path:
    """The folder of Docker's command line."""
    return Path(environ.get("DOCKER_CONFIG") or Path(environ.get("HOME") or Path.home(), ".docker"))


def _context(environ: Mapping[str, str]) -> str:
    """The name of the context in use; "" is the default one. A file that cannot be read counts for nothing, as for Docker."""
    name: object = environ.get("DOCKER_CONTEXT")
    if not name:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            name = json.loads((_configuration(environ) / "config.json").read_bytes()).get("currentContext")
    return name if isinstance(name, str) and name != "default" else ""


def _endpoint(configuration: Path, context: str) -> str:
    """Where its dockerd is. Raises UserError when there is no such context, or it does not say."""
    # Docker's own layout: https://github.com/docker/cli/blob/master/cli/context/store/doc.go
    file = configuration / "contexts/meta" / hashlib.sha256(context.encode()).hexdigest() / "meta.json"
    try:
        host = json.loads(file.read_bytes())["Endpoints"]["docker"]["Host"]
    except FileNotFoundError:
        raise _unusable(context, f"there is none of that name in {configuration}") from None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise _unusable(context, f"{file} names no dockerd ({exc or type(exc).__name__})") from exc
    return str(host) or f"unix://{_USUAL}"


def _unusable(context: str, why: str) -> UserError:
    return UserError(f"Docker's context {context} cannot be used", why, _CHOOSE, id="docker-unreachable")


def stay(runs: EnvironmentSpec, wanted: EnvironmentSpec) -> None:
    """Raise UserError when an environment that runs would go to another dockerd, and leave its containers behind."""
    if runs.engine == wanted.engine == "docker" and runs.docker.socket != wanted.docker.socket:
        what = f"the environment runs on the dockerd at {runs.docker.socket}"
        why = f"{wanted.docker.socket} is meant now, and its containers would stay behind"
        fix = "`atoll down` first; or stay: name its socket in [environments.NAME.docker], or `docker context use` the former one"
        raise UserError(what, why, fix, id="docker-unreachable")


def require(environment: EnvironmentSpec) -> None:
    """Raise UserError where containers cannot be run, before anything is started."""
    looked = _look(environment)
    if (refused := looked.refusal) is not None:
        raise UserError(refused.what, "", refused.fix, id=refused.id)


def away(environment: EnvironmentSpec) -> str:
    """Why nobody can be asked to end its containers; "" when somebody can, or there are none."""
    if environment.engine == "docker":
        try:
            _look(environment)
        except UserError as exc:
            return exc.what
    return ""


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
    from atoll.engines.docker.names import ENVIRONMENT, environment_id

    async def cleared() -> None:
        host = DockerHost(Path(config.state), Path(config.run), config.environment.docker)
        try:
            async with asyncio.timeout(_CLEAR_S):
                for sentence in await host.clear():
                    say(sentence)
        finally:
            await host.close()

    try:
        _look(config.environment)  # one that hangs is told of sooner
        asyncio.run(cleared())
    except (AtollError, TimeoutError) as exc:
        why = exc.what if isinstance(exc, AtollError) else f"Docker took longer than {_CLEAR_S:g} s"
        label = f"{ENVIRONMENT}={environment_id(Path(config.state))}"
        fix = (
            "see that dockerd runs (`systemctl start docker`), then `atoll down` again: it removes them; "
            f"`docker ps --all --filter label={label}` lists them"
        )
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
