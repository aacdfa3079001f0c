"""`python -m atoll.app.serve WORKSPACE ENVIRONMENT [--isolate | --wait | --stop | --reload]`: for the service manager of a machine.

Without an option it makes the folders of a served environment ready and **becomes its keeper**, in the foreground and with
the same pid, so that the service manager watches the process that everything else hangs on; a child beside it has the
proxy and the daemon started, and ends. What an earlier keeper left running is adopted: after a crash nothing restarts
but the keeper; after a boot the daemon starts what its store says shall run.

`--isolate`: no service of it may run as root. `--wait` returns when the API answers; `--stop` closes the gateway, waits for what is in
flight there, and ends everything in order; what shall run after the next start stays as it is; `--reload` restarts the daemon, and puts this version of Atoll in the
place of another one while services and their traffic go on. Needs no workspace's files. Exit codes: 0, 1 it failed (the message says why),
2 a mistake in the words; as the keeper, those of `atoll.keeper`.
"""

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import NoReturn

from atoll import __version__
from atoll.app.checks import daemon_trouble
from atoll.app.config import Config, read, write
from atoll.app.draining import empty, reopen
from atoll.app.fixtures import Proxy, ensure_both, needs, renew_keeper, running_newer
from atoll.app.unit import proxy_user
from atoll.cli.http import Line, Silent
from atoll.keeper.client import KeeperClient, KeeperError, is_keeper_up, proc
from atoll.model.environment import EnvironmentSpec
from atoll.model.errors import AtollError, UserError
from atoll.proxy import Sockets, User, runs_as
from atoll.proxy import command as envoy_command
from atoll.workspace.places import Places

ANSWERS_WITHIN_S = 60.0
STOPS_WITHIN_S = 60.0  # past the usual grace of services; the unit's TimeoutStopSec is longer
_KEEPER_WITHIN_S = 10.0
_USAGE = "usage: python -m atoll.app.serve WORKSPACE ENVIRONMENT [--isolate | --wait | --stop | --reload]"
_OF_SYSTEMD = frozenset({  # of one start of a unit: with them the daemon's definition would never be the same twice
    "INVOCATION_ID", "JOURNAL_STREAM", "NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "MAINPID", "MANAGERPID",
    "SYSTEMD_EXEC_PID", "WATCHDOG_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE", "RUNTIME_DIRECTORY", "STATE_DIRECTORY", "CACHE_DIRECTORY", "LOGS_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
})  # fmt: skip


def main() -> int:
    """See the module."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    options = [word for word in sys.argv[1:] if word.startswith("--")]
    acts = {"--wait": _wait, "--stop": _stop, "--reload": _reload}
    if len(words) != 2 or len(options) > 1 or not set(options) <= {*acts, "--isolate"}:
        print(_USAGE, file=sys.stderr)
        return 2
    os.umask(0o077)
    places = Places.served(*words)
    try:
        if act := acts.get(options[0]) if options else None:
            act(places)
        else:
            _serve(places, words[0], isolated=bool(options))
    except (AtollError, KeeperError) as exc:
        print(exc, file=sys.stderr)
        return 1
    return 0


def prepare(places: Places, workspace: str, *, isolated: bool) -> Config:
    """The folders and the daemon's configuration, made where they are missing. Raises UserError."""
    places.create()
    known = read(places.state)
    if known is not None and known.workspace != workspace:
        raise UserError(
            f"{places.state} belongs to the workspace '{known.workspace}'",
            f"'{workspace}' would have the same folders and sockets",
            "give one of them another `name` in its atoll.toml",
            id="served-name-taken",
        )
    config = Config(
        workspace=workspace,
        root=str(places.root),
        state=str(places.state),
        run=str(places.run),
        environment=known.environment if known is not None else EnvironmentSpec(name=places.environment),
        socket=str(places.daemon_socket),
        isolated=isolated,
        served=True,
    )
    write(places.state, config)
    return config


def _serve(places: Places, workspace: str, *, isolated: bool) -> NoReturn:
    config = prepare(places, workspace, isolated=isolated)
    if user := _proxy_user(config):
        Sockets(places.run, user).make()  # a keeper starts at once what it knows, and after a boot there are none
    _retire(places)
    if os.fork() == 0:
        _start_beside(places, config)
    keeper = [sys.executable, "-P", "-m", "atoll.keeper", config.state, config.run, "--foreground"]
    os.execv(sys.executable, keeper)  # noqa: S606  the argument vector as it is, without a shell


def _retire(places: Places) -> None:
    """One that was started by hand makes room; what it keeps goes on, and is adopted. Raises KeeperError."""
    if not is_keeper_up(places.run):
        return
    pid = int(KeeperClient(places.run).status()["pid"])
    start = proc.start_of(pid)
    proc.send(pid, start, signal.SIGTERM)
    deadline = time.monotonic() + _KEEPER_WITHIN_S
    while proc.is_running(pid, start):
        if time.monotonic() > deadline:
            raise KeeperError("another keeper of this environment does not end", f"pid {pid}", "end it by its pid")
        time.sleep(0.02)


def _start_beside(places: Places, config: Config) -> NoReturn:
    """In a child: wait for the keeper that the parent becomes, and have the rest started by it."""
    code = 1
    try:
        deadline = time.monotonic() + _KEEPER_WITHIN_S
        while not is_keeper_up(places.run) and time.monotonic() < deadline:
            time.sleep(0.02)
        _ensure(places, config, os.environ)
        reopen(KeeperClient(places.run))
        code = 0
    except (AtollError, KeeperError) as exc:
        print(exc, file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(code)


def _ensure(places: Places, config: Config, env: Mapping[str, str]) -> None:
    keeper = KeeperClient(places.run)
    proxy, why = _proxy(places, config, keeper)
    kept = {name: text for name, text in env.items() if name not in _OF_SYSTEMD}
    ensure_both(keeper, places.state, proxy, kept, lambda: _wait(places), _say)
    if why:
        _say(f"the proxy runs as root: {why}")


def _proxy(places: Places, config: Config, keeper: KeeperClient) -> tuple[Proxy, str]:
    """With a user of its own; else why it is root's: there is no such user, or that one cannot run it.

    Raises KeeperError when one that has its user would be followed by one of root's.
    """
    user, account = _proxy_user(config), proxy_user(config.workspace, config.environment.name)
    running = (keeper.status()["fixtures"].get("proxy") or {}).get("pid")
    am_root = os.geteuid() == 0
    has_user = am_root and running is not None and runs_as(running) > 0
    argv: Sequence[str] = ()
    why = f"this machine has no user '{account}', which `atoll install` makes" if am_root else ""
    if user is not None:
        argv = envoy_command(places.state, places.run, config.environment.envoy, user)
        closed = user.kept_from(argv[0], *needs(argv, Sockets(places.run, user)))
        why = f"its own user '{account}' may not use {closed}" if closed else ""
    elif not has_user:  # what that one starts with, should it crash, is not for this one
        argv = envoy_command(places.state, places.run, config.environment.envoy)
    if why and has_user:
        raise KeeperError("the proxy that runs is not replaced by one of root's", why, "mend that, then reload")
    return Proxy(argv, user, by_root=bool(why)), why


def _proxy_user(config: Config) -> User | None:
    return User.named(proxy_user(config.workspace, config.environment.name))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _wait(places: Places) -> None:
    line = Line(places.daemon_socket, lambda _: True, ANSWERS_WITHIN_S)
    try:
        line.request("GET", "/v1/health", answer_s=ANSWERS_WITHIN_S)
    except (OSError, Silent) as exc:
        trouble = daemon_trouble(places)
        raise KeeperError("the daemon does not answer", trouble.text if trouble else str(exc)) from exc


def _stop(places: Places) -> None:
    keeper = KeeperClient(places.run)
    try:
        empty(places, keeper, _say)
    except (AtollError, KeeperError) as exc:
        _say(f"requests in flight are not waited for: {exc}")
    keeper.shutdown(STOPS_WITHIN_S)


def _reload(places: Places) -> None:
    """An upgrade, too: keeper and proxy follow when they are of another version. Raises KeeperError."""
    keeper, config = KeeperClient(places.run), read(places.state)
    if config is None:
        raise KeeperError("nothing runs here", f"there is no daemon.json in {places.state}", "start it first")
    status = keeper.status()
    if version := running_newer(status):
        _say(f"going back from Atoll {version} to {__version__}")
    renew_keeper(keeper, _say)
    before = status["fixtures"].get("daemon", {}).get("pid")
    _ensure(places, config, os.environ)
    if keeper.status()["fixtures"]["daemon"]["pid"] != before:
        return  # it is another one already
    keeper.restart("daemon")
    deadline = time.monotonic() + ANSWERS_WITHIN_S
    while keeper.status()["fixtures"]["daemon"]["pid"] in {None, before} and time.monotonic() < deadline:
        time.sleep(0.05)
    _wait(places)


if __name__ == "__main__":
    sys.exit(main())
