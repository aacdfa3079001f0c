"""The life of an environment's processes on this machine: keeper, daemon and proxy, started, awaited and stopped.

`app.hooks` calls it. One at a time starts or stops an environment (`alone`).
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from atoll import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atoll.app.hooks import EnvironmentPlaces
    from atoll.cli.http import Line
    from atoll.model.environment import WorkspaceSpec

    Say = Callable[[str], None]

_API_WITHIN_S = 20.0
_DEAF_AFTER_S = 5.0  # a daemon that runs for so long has its socket
_DRAINED_WITHIN_S = 45.0
_OTHER_WITHIN_S = 120.0  # another `up` or `down` of the same environment
_DAEMON_VARIABLES = (  # what Python, uv-less tools and command probes may need; services get none of it unasked
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH"),
    *("ATOLL_HOME", "ATOLL_RUN"),
)


def ensure_running(places: EnvironmentPlaces, workspace: WorkspaceSpec, say: Say) -> None:
    """Keeper, then daemon and proxy; waits for the API."""
    from atoll.app.checks import daemon_trouble
    from atoll.app.config import Config, read, write
    from atoll.app.containers import require, settled, stay
    from atoll.app.engine import refuse_engine
    from atoll.app.fixtures import Proxy, ensure_both, renew_keeper, running_newer
    from atoll.app.gateway import refuse_gateway
    from atoll.keeper.client import KeeperClient, start_keeper
    from atoll.model.errors import UserError
    from atoll.proxy import command as envoy_command

    at, environment = places.at, settled(workspace.environment)
    if environment.engine == "docker" and not places.keeper_alive():
        require(environment)
    at.create()
    config = Config(
        workspace=workspace.name,
        root=workspace.root,
        state=str(at.state),
        run=str(at.run),
        environment=environment,
    )
    keeper = KeeperClient(at.run)
    with alone(places, say), readable():
        if places.keeper_alive() and (version := running_newer(keeper.status())):
            if (trouble := daemon_trouble(at)) is None or not trouble.gives_up:
                say(_left_alone(version))
                _wait_for_api(places)
                return
            say(f"going back from Atoll {version} to {__version__}: {trouble.text}")
        # Asked first, so that a missing Envoy changes nothing.
        envoy = Proxy(envoy_command(at.state, at.run, workspace.environment.envoy))
        if (known := read(at.state)) is not None:
            refuse_engine(config, known, down=not places.keeper_alive())
            if places.keeper_alive():
                stay(known.environment, environment)
        if not places.keeper_alive():
            say("starting the keeper")
            start_keeper(at.state, at.run)
        renew_keeper(keeper, say)
        before = keeper.status()["fixtures"]
        try:
            refuse_gateway(config, known, serving="proxy" in before)
        except UserError:
            if not before:  # it has nothing to keep
                keeper.shutdown(timeout_s=10.0)
            raise
        changed = write(at.state, config)
        deaf = not places.socket.exists() and before.get("daemon", {}).get("up_s", 0.0) > _DEAF_AFTER_S
        if "daemon" not in before:
            say("starting the proxy and the daemon")
        elif changed:
            say("restarting the daemon: atoll.toml has changed")
            keeper.restart("daemon")
        elif (trouble := daemon_trouble(at)) is not None and trouble.gives_up:
            say("starting the daemon again")
            keeper.restart("daemon")
        elif deaf:
            say("restarting the daemon: somebody removed its socket")
            keeper.restart("daemon")
        ensure_both(keeper, at.state, envoy, _environment(workspace), lambda: _wait_for_api(places), say)


def stop_all(places: EnvironmentPlaces, say: Say) -> None:
    """Every service drained and stopped, then the rest. While dockerd is away, only the rest: it raises UserError then."""
    from atoll.app.config import read
    from atoll.app.containers import away, clear
    from atoll.keeper.client import KeeperClient, start_keeper

    at = places.at
    if not (at.state / "daemon.json").exists():
        return  # it never ran
    with alone(places, say), readable():
        if not places.keeper_alive():
            start_keeper(at.state, at.run)  # it adopts what another keeper left running
        keeper = KeeperClient(at.run)
        left = keeper.status()
        config = read(at.state)
        if config is not None and (why := away(config.environment)):
            say(f"containers cannot be stopped: {why}; ending all else")
        elif "daemon" in left["fixtures"]:  # not after a `down`: nobody would ever answer
            _stop_services(places, say)
        if left["fixtures"] or left["replicas"]:
            say("stopping proxy, daemon and keeper")
        keeper.shutdown(timeout_s=30.0)
        if config is not None and config.environment.engine == "docker":
            clear(config, say)


def _left_alone(version: str) -> str:
    return (
        f"the environment runs Atoll {version} and this is {__version__}: it is left as it is; upgrade this one, or "
        "`atoll down` first and see docs/howto/upgrade.md"
    )


def _environment(workspace: WorkspaceSpec) -> dict[str, str]:
    """What the daemon gets. Always the same from the same machine: a change would restart it for nothing."""
    which = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG")  # images are made there, too
    docker = which if workspace.environment.engine == "docker" else ()
    names = {*_DAEMON_VARIABLES, *docker, *(name for spec in workspace.services.values() for name in spec.inherit)}
    return {name: os.environ[name] for name in sorted(names) if name in os.environ}


@contextmanager
def alone(places: EnvironmentPlaces, say: Say) -> Iterator[None]:
    """One at a time starts or stops an environment: half of each would be neither.

    What its folder does not let it write meanwhile (full, read-only) is raised as UserError.
    """
    import fcntl

    from atoll.model.errors import Conflict

    with _writing(places.at.state), _opened(places.at.state / "life.lock") as lock:
        deadline = time.monotonic() + _OTHER_WITHIN_S
        told = False
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Conflict(
                        "this environment is being started or stopped by another `atoll`",
                        f"it did not end within {_OTHER_WITHIN_S:g} s",
                        "look for it with ps, then try again",
                        id="environment-busy",
                    ) from None
            if not told:
                say("waiting for another `atoll` that starts or stops this environment")
                told = True
            time.sleep(0.1)
        yield


def _opened(lock: Path) -> IO[bytes]:
    try:
        return lock.open("ab")
    except OSError as exc:
        if exc.errno != errno.EROFS or not lock.exists():
            raise
        return lock.open("rb")  # a disk that the kernel made read-only must not keep `down` from ending what runs


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """What the file system says of files below `folder`, for a person."""
    from atoll.pipeline.artifacts import FULL, UNWRITABLE, disk_trouble

    try:
        yield
    except OSError as exc:
        ours = isinstance(exc.filename, (str, Path)) and Path(exc.filename).is_relative_to(folder)
        if exc.errno in FULL or (exc.errno in UNWRITABLE and ours):
            raise disk_trouble(exc, folder) from exc
        raise


@contextmanager
def readable() -> Iterator[None]:
    """The keeper's errors as ours: it imports nothing of Atoll's."""
    from atoll.keeper.client import KeeperError
    from atoll.model.errors import Unreachable

    try:
        yield
    except KeeperError as exc:
        raise Unreachable(exc.what, exc.why, exc.fix, id="keeper-unreachable") from exc


def _line(places: EnvironmentPlaces) -> Line:
    from atoll.cli.http import Line

    return Line(places.socket, places.will_answer, _API_WITHIN_S)


def _wait_for_api(places: EnvironmentPlaces) -> None:
    from atoll.app.checks import daemon_trouble, last_words
    from atoll.cli.http import Silent
    from atoll.model.errors import Unreachable

    try:
        _line(places).request("GET", "/v1/health", answer_s=_API_WITHIN_S)
    except (OSError, Silent) as exc:
        log = places.at.state / "logs" / "daemon.log"
        trouble = daemon_trouble(places.at)
        text = trouble.text if trouble else f"the daemon does not answer ({exc}); it said: {last_words(places.at)}"
        raise Unreachable(text, "", f"its log is {log}", id="daemon-unreachable") from exc


def _stop_services(places: EnvironmentPlaces, say: Say) -> None:
    """Through the daemon, so that requests in flight finish. Without one the replicas are just ended."""
    import json

    from atoll.cli.http import Silent

    line = _line(places)
    try:
        for stores in (False, True):  # whoever still answers requests may need them
            services = json.loads(line.request("GET", "/v1/status").body)["services"]
            mine = {service["name"] for service in services if bool(service["store"]) == stores}
            for service in services:
                if service["name"] in mine and service["state"] != "down":
                    say(f"stopping {service['name']}")
                    line.request("POST", f"/v1/services/{service['name']}/stop", b"{}", key=os.urandom(8).hex())
            deadline = time.monotonic() + _DRAINED_WITHIN_S
            while time.monotonic() < deadline:
                services = json.loads(line.request("GET", "/v1/status").body)["services"]
                if not any(one["replicas"] or one["running_jobs"] for one in services if one["name"] in mine):
                    break
                time.sleep(0.05)
    except (OSError, Silent, ValueError, KeyError) as exc:
        say(f"the daemon does not answer: {exc}; ending the replicas without it")
