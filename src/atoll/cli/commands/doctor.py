"""`atoll doctor`."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import click

from atoll.cli.backups import served_option
from atoll.cli.failed import Failed, taken_over
from atoll.cli.output import escape, print_json, print_screen, table
from atoll.cli.session import Session, common_options, json_option, takes_session
from atoll.workspace.places import unit_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from atoll.cli.hooks import Places
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire_doctor import DoctorView

_MARK = {True: "[green]ok[/]", False: "[bold red]bad[/]", None: "[yellow]note[/]"}


@click.command
@served_option
@common_options
@json_option
@takes_session
def command(session: Session) -> int:
    """Check this machine and the environment.

    Works without a workspace and without a daemon; with them it checks more. Where people do not develop (`dev` of the
    environment) it also says what is not fit for production: listeners that go past the gateway, limits, room, clock,
    encryption; each with its fix. Ends with 1 when a check is bad.

    On a machine that serves environments, where there is no workspace, it asks all of them, or those of --served and --env.

    Example:
      atoll doctor
      atoll doctor --served shop --env production
    """
    import msgspec

    if served := _served(session):
        here, there = list(_of_machine(session)), list(_of_served(session, served))
    else:
        here, there = list(_checks(session)), list(_of_daemon(session))
    # What both know, the daemon knows better: it is where the services are.
    known = {check.check for check in there if check.check != "daemon"}
    checks = [*(check for check in here if check.check not in known), *there]
    if session.json:
        print_json([msgspec.structs.replace(check, fix="") if check.ok else check for check in checks])
    else:
        rows = []
        for check in checks:
            fix = f"; fix: {escape(check.fix)}" if check.fix and check.ok is not True else ""
            rows.append((_MARK[check.ok], check.check, escape(check.text) + fix))
        print_screen(table(("", "check", ""), rows, fold=True))
    return 1 if any(check.ok is False for check in checks) else 0


def _served(session: Session) -> Mapping[tuple[str, str], Places]:
    """The environments that are meant where no files say which. Raises Failed when there is none of the name that was given."""
    if not session.served:
        try:
            _ = session.root
        except Failed:
            pass
        else:
            return {}
    every: Mapping[tuple[str, str], Places] = session.hooks.served_here()
    named = session.environment if session.environment != "local" else ""  # which no machine serves
    found = {
        (workspace, environment): places
        for (workspace, environment), places in every.items()
        if session.served in {"", workspace} and named in {"", environment}
    }
    if session.served and not found:
        what = f"this machine serves no environment of '{session.served}'" + (f" called '{named}'" if named else "")
        known = ", ".join(f"{workspace} {environment}" for workspace, environment in every)
        raise Failed(what, f"it serves: {known or 'nothing'}", "name one of those", id="not-installed")
    return found


def _of_machine(session: Session) -> Iterator[DoctorView]:
    from atoll.cli.machine import checks_of

    yield from checks_of(None, running=True)
    yield from session.hooks.local_checks(None, None)


def _of_served(session: Session, served: Mapping[tuple[str, str], Places]) -> Iterator[DoctorView]:
    """Each by its daemon's word. With several a check's name begins with whose it is."""
    import msgspec

    from atoll.model.wire_doctor import DoctorView

    for (workspace, environment), places in served.items():
        name = f"{workspace} {environment}"
        options = f"--served {workspace if workspace.isalnum() else repr(workspace)} --env {environment}"
        try:
            found = session.client_of(places).doctor()
        except Failed as exc:
            ok = None if exc.kind == "Forbidden" else False  # it may be well, and is not for everybody
            fix = (
                exc.fix
                if ok is None
                else f"`systemctl status {unit_name(workspace, environment)}` shows whether its unit runs"
            )
            found = [DoctorView(check="daemon", ok=ok, text=f"{exc.what}: {exc.why}", fix=fix)]
        else:
            yield DoctorView(check="served", ok=True, text=f"{name}, by its daemon")
        for check in found:
            fix = re.sub(r"\batoll (backup|restore) ", rf"atoll \1 {options} ", check.fix)
            fix = f"`systemctl reload {unit_name(workspace, environment)}`" if fix == "atoll up" else fix
            label = check.check if len(served) == 1 else f"{name}: {check.check}"
            yield msgspec.structs.replace(check, check=label, fix=fix)


def _checks(session: Session) -> Iterator[DoctorView]:
    from atoll.cli.machine import checks_of
    from atoll.model.wire_doctor import DoctorView

    workspace: WorkspaceSpec | None = None
    places = None
    try:
        places = session.places
        workspace = session.load()
        yield DoctorView(check="workspace", ok=True, text=f"{workspace.name} at {session.root}")
    except Exception as exc:
        failed = taken_over(exc)
        if failed is None:
            raise
        yield DoctorView(check="workspace", ok=None if places is None else False, text=failed.what, fix=failed.fix)
    if places is not None and places.machine:
        yield _connection(session)  # what this machine has is no matter of that one
        return
    yield from checks_of(workspace, running=places is not None and places.keeper_alive())
    yield from session.hooks.local_checks(places, workspace)


def _of_daemon(session: Session) -> Iterator[DoctorView]:
    from atoll.model.wire_doctor import DoctorView

    try:
        places = session.places
    except Failed:
        places = None
    if places is not None and places.machine:
        try:
            yield from session.client.doctor()
        except Failed as exc:
            if _connection(session).ok:  # else it was told as the connection's
                yield DoctorView(check="daemon", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)
        return
    if places is None or not places.keeper_alive():
        yield DoctorView(check="daemon", ok=None, text="not running here", fix="`atoll up` starts it")
        return
    try:
        yield from session.client.doctor()
    except Failed as exc:
        yield DoctorView(check="daemon", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)


def _connection(session: Session) -> DoctorView:
    """Of another machine: the way there and back."""
    from atoll.model.wire_doctor import DoctorView

    try:
        session.client.raw("/v1/health")  # the way itself
        begun = time.monotonic()
        session.client.raw("/v1/health")
    except Failed as exc:
        return DoctorView(check="connection", ok=False, text=f"{exc.what}: {exc.why}", fix=exc.fix)
    took_ms = (time.monotonic() - begun) * 1000
    return DoctorView(check="connection", ok=True, text=f"{session.places.machine}, {took_ms:.0f} ms there and back")
