"""`atoll install` and `atoll uninstall`: a machine that serves an environment, from boot on, under systemd.

As root, on the machine itself. Everything that is written is listed in the view; a second call writes only what has
changed. With another root folder (an image that is being made) files are written there and nothing is run.
"""

import grp
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from atoll.app import access
from atoll.app.config import read
from atoll.app.serve import STOPS_WITHIN_S
from atoll.app.unit import accounts, proxy_user, unit, variables_file
from atoll.cli.machine import listeners
from atoll.decide.production import local
from atoll.keeper.client import KeeperClient
from atoll.model.access import Access
from atoll.model.environment import Gateway
from atoll.model.errors import Permanent, UserError
from atoll.model.install import Installing, InstallView
from atoll.proxy.sockets import beside
from atoll.workspace.fields_values import ENVIRONMENT_NAME
from atoll.workspace.fields_workspace import WORKSPACE_NAME
from atoll.workspace.places import Places, unit_name

GROUP = "atoll"
_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
_VARIABLES = "# VARIABLE=value, one a line: what services `inherit`, and what the daemon may need (proxies, TZ).\n"
_RUN_S = 240.0  # past what the unit may take to start or to stop


def install(ask: Installing, *, plan: bool) -> InstallView:
    """Write what is missing or has changed, and have it started at boot and now. Raises UserError, Permanent."""
    _require(ask)
    places = Places.served(ask.workspace, ask.environment)
    done = _Machine(ask.root, plan=plan)
    state = done.at(str(places.state))
    _refuse_clash(state, ask)
    name = unit_name(ask.workspace, ask.environment)
    chosen = {variable: os.environ[variable] for variable in ("ATOLL_HOME", "ATOLL_RUN") if os.environ.get(variable)}
    done.write("/etc/sysusers.d/atoll.conf", f"g {GROUP} -\n")
    account = done.write(_accounts_file(ask), accounts(ask.workspace, ask.environment))
    done.write(variables_file(ask.workspace, ask.environment), _VARIABLES, mode=0o600, keep=True)
    changed = done.write(
        f"/etc/systemd/system/{name}.service", unit(ask.workspace, ask.environment, sys.executable, chosen)
    )
    with suppress(FileNotFoundError):  # systemd makes it at boot, too
        where = [f"--root={ask.root}"] if done.elsewhere else []
        done.run("systemd-sysusers", *where, "atoll.conf", Path(_accounts_file(ask)).name, anywhere=True)
    if ask.access is not None or not access.path_of(state).exists():
        wanted = ask.access or Access(admins=(GROUP,))
        done.made(access.path_of(state), lambda: _give_access(places, done, wanted))
    was = _is_active(name) if not done.elsewhere else False
    if not done.elsewhere:
        done.run("systemctl", "daemon-reload")
        done.run("systemctl", "enable", "--quiet", f"{name}.service")
        if ask.start:
            done.run("systemctl", "start", f"{name}.service")
    notes = [
        *_of_python(),
        *_of_writers(),
        *([] if done.elsewhere else _of_groups(ask.access or access.read(state))),
        *([_restart(name)] if was and changed else [_reload(name)] if was and account else []),
        *_ways_in(ask, state),
    ]
    running = not done.elsewhere and not plan and _is_active(name)
    return _view(done, name, places, notes, running=running)


def uninstall(ask: Installing, *, purge: bool, plan: bool) -> InstallView:
    """End it, and take away what `install` wrote; with `purge` also all that the environment keeps. Raises UserError."""
    _require(ask)
    places = Places.served(ask.workspace, ask.environment)
    done = _Machine(ask.root, plan=plan)
    name = unit_name(ask.workspace, ask.environment)
    state = done.at(str(places.state))
    file = done.at(f"/etc/systemd/system/{name}.service")
    if not file.exists() and not state.exists():
        raise UserError(
            f"this machine does not serve '{ask.environment}' of '{ask.workspace}'",
            f"there is neither {file} nor {state}",
            f"it serves: {', '.join(_served(done)) or 'nothing'}",
            id="not-installed",
        )
    if file.exists() and not done.elsewhere:
        done.run("systemctl", "disable", "--now", "--quiet", f"{name}.service")
    done.remove(file)
    if not done.elsewhere:
        done.run("systemctl", "daemon-reload")
        if not plan:  # one that was started by hand
            KeeperClient(places.run).shutdown(STOPS_WITHIN_S)
        for sockets in (places.run, beside(places.run)):
            done.remove(sockets)
    done.remove(done.at(_accounts_file(ask)))
    _remove_account(done, proxy_user(ask.workspace, ask.environment))
    notes = [f"releases, secrets and data are kept in {state}; `--purge` removes them"] if state.exists() else []
    if purge:
        notes = []
        for each in (state, done.at(variables_file(ask.workspace, ask.environment))):
            done.remove(each)
        workspace = done.at(str(places.workspace))
        if not any(path != state for path in state.parent.glob("*")):
            done.remove(workspace)  # its artifacts: no other environment of it is served here
    return _view(done, name, places, notes, running=False)


def _view(done: "_Machine", name: str, places: Places, notes: Sequence[str], *, running: bool) -> InstallView:
    return InstallView(
        unit=f"{name}.service",
        plan=done.plan,
        running=running,
        socket=str(places.daemon_socket),
        state=str(places.state),
        written=tuple(done.written),
        commands=tuple(done.commands),
        notes=tuple(notes),
    )


class _Machine:
    """The machine whose root is `root`: writes and runs, or with `plan` only notes what it would."""

    def __init__(self, root: str, *, plan: bool) -> None:
        self.root, self.plan = Path(root), plan
        self.elsewhere = self.root.resolve() != Path("/")
        self.written: list[str] = []
        self.commands: list[str] = []

    def at(self, path: str) -> Path:
        """Where a path of that machine is here."""
        return self.root / path.lstrip("/")

    def write(self, path: str, text: str, *, mode: int = 0o644, keep: bool = False) -> bool:
        """A file of root's, atomically; False when it says so already, or, with `keep`, when there is one."""
        file = self.at(path)
        if file.exists() and (keep or file.read_text() == text):
            return False

        def make() -> None:
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_name(f".{file.name}.new")
            fresh.write_text(text)
            fresh.chmod(mode)
            fresh.replace(file)

        self.made(file, make)
        return True

    def made(self, file: Path, make: Callable[[], object]) -> None:
        """A file that `make` makes."""
        self.written.append(str(file))
        if not self.plan:
            try:
                make()
            except OSError as exc:
                raise Permanent(f"{file} cannot be written", exc.strerror or str(exc), id="cannot-write") from exc

    def remove(self, path: Path) -> None:
        """A file or a folder; links in it are not followed. Its absence is fine."""
        if not path.is_symlink() and not path.exists():
            return
        self.written.append(str(path))
        if self.plan:
            return
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()

    def run(self, *argv: str, anywhere: bool = False) -> None:
        """A command of the machine's, whose end is awaited. Raises Permanent when it fails."""
        self.commands.append(" ".join(argv))
        if self.plan or (self.elsewhere and not anywhere):
            return
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_RUN_S, check=False)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            log = f"`journalctl -u {argv[-1]}` has more" if argv[0] == "systemctl" else ""
            raise Permanent(f"`{' '.join(argv)}` failed", said, log, id="unit-failed")


def _require(ask: Installing) -> None:
    for name, kind in ((ask.workspace, WORKSPACE_NAME), (ask.environment, ENVIRONMENT_NAME)):
        if not re.fullmatch(kind.pattern, name):
            raise UserError(
                f"'{name}' must {kind.must}",
                "",
                "names are those of atoll.toml: `name`, and of its `environments`",
                id="usage",
            )
    if Path(ask.root).resolve() != Path("/"):
        return
    if os.geteuid() != 0:
        raise UserError(
            "only root can do that",
            "services get users of their own, and systemd a unit",
            "run it with sudo, with the same Atoll: sudo $(command -v atoll) ...",
            id="not-root",
        )
    if not _SYSTEMD.is_dir() or shutil.which("systemctl") is None:
        raise UserError(
            "this machine is not run by systemd",
            f"there is no {_SYSTEMD}",
            "have your service manager run `python -m atoll.app.serve WORKSPACE ENVIRONMENT` (docs/howto/server.md)",
            id="no-systemd",
        )


def _refuse_clash(state: Path, ask: Installing) -> None:
    known = read(state)
    if known is not None and known.workspace != ask.workspace:
        raise UserError(
            f"{state} belongs to the workspace '{known.workspace}'",
            f"'{ask.workspace}' would have the same folders and sockets",
            "give one of them another `name` in its atoll.toml",
            id="served-name-taken",
        )


def _accounts_file(ask: Installing) -> str:
    return f"/etc/sysusers.d/{unit_name(ask.workspace, ask.environment)}.conf"


def _remove_account(done: _Machine, user: str) -> None:
    """Nothing of it runs any more. One that is not there is fine."""
    with suppress(FileNotFoundError):
        if any(line.startswith(f"{user}:") for line in done.at("/etc/passwd").read_text().splitlines()):
            done.run("userdel", *(["--prefix", str(done.root)] if done.elsewhere else []), user, anywhere=True)


def _give_access(places: Places, done: _Machine, wanted: Access) -> None:
    if done.elsewhere:
        done.at(str(places.state)).mkdir(parents=True, exist_ok=True)
    else:
        places.create()
    access.write(done.at(str(places.state)), wanted)


def _is_active(name: str) -> bool:
    argv = ("systemctl", "is-active", "--quiet", f"{name}.service")
    return subprocess.run(argv, check=False, timeout=_RUN_S).returncode == 0


def _served(done: _Machine) -> list[str]:
    files = done.at("/etc/systemd/system").glob("atoll-*.service")
    return sorted(file.stem.removeprefix("atoll-") for file in files)


def _of_groups(given: Access) -> Iterator[str]:
    """A role of a group that is not there is nobody's, until somebody makes it."""
    for group in sorted({*given.readers, *given.deployers, *given.admins}):
        try:
            grp.getgrnam(group)
        except KeyError:
            yield f"this machine has no group '{group}', which has a role: `groupadd {group}`, then `usermod -aG {group} USER`"


def _of_python() -> Iterator[str]:
    """Services that use this Python run under users of their own, who must be able to get there."""
    for folder in Path(sys.prefix).resolve().parents:
        if folder.stat().st_mode & 0o001 == 0:
            yield (
                f"this Atoll lies in {sys.prefix}, and {folder} is closed to other users: install it where all may read, "
                "such as `python3 -m venv /opt/atoll`, then call /opt/atoll/bin/atoll install"
            )
            return


def _of_writers() -> Iterator[str]:
    """The unit runs this Atoll as root: whoever may write to it is root, too."""
    for start in dict.fromkeys(Path(each).resolve() for each in (sys.prefix, sys.executable, __file__)):
        for each in (start, *start.parents):
            there = each.stat()
            if there.st_uid != 0 or (there.st_mode & 0o022 and not there.st_mode & stat.S_ISVTX):
                yield (
                    f"the unit runs this Atoll as root, and others than root may write to {each}: whoever does is root here. "
                    "Install it as root, such as `sudo python3 -m venv /opt/atoll`"
                )
                return


def _reload(name: str) -> str:
    return f"`systemctl reload {name}` brings the proxy under the user that it has now, and fails no request"


def _restart(name: str) -> str:
    return f"the unit has changed: `systemctl restart {name}` brings it into force, and ends services for that moment"


def _ways_in(ask: Installing, state: Path) -> Iterator[str]:
    """What a person has to do next: on the client, and in the firewall."""
    host = socket.gethostname()
    yield f'in atoll.toml: [environments.{ask.environment}] host = "ssh://YOU@{host}", for members of a group with a role'
    known = read(state)
    gateway = known.environment.gateway if known is not None else Gateway()
    if local(gateway.host):
        yield (
            f"the gateway listens on {gateway}, which only this machine reaches: `gateway` of the environment in atoll.toml "
            "says where (0.0.0.0:443, with `tls`)"
        )
        return
    ports = [place.port for place in listeners(gateway) if not local(place.host)]
    yield f"let others through to {' and '.join(str(port) for port in ports)}/tcp only (and to SSH): {_firewall(ports)}"


def _firewall(ports: Sequence[int]) -> str:
    """The machine's own way to say so."""
    if shutil.which("ufw"):
        return "; ".join(f"ufw allow {port}/tcp" for port in ports)
    if shutil.which("firewall-cmd"):
        return "; ".join(
            [*(f"firewall-cmd --permanent --add-port={port}/tcp" for port in ports), "firewall-cmd --reload"]
        )
    listed = ", ".join(str(port) for port in ports)
    return f"nft add rule inet filter input tcp dport {{ {listed} }} accept, in a chain whose policy is drop"
