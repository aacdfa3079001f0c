"""`atoll doctor`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed, taken_over
from atoll.cli.output import escape, print_json, print_screen, table
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire_doctor import DoctorView

_MARK = {True: "[green]ok[/]", False: "[bold red]bad[/]", None: "[yellow]note[/]"}


@click.command
@common_options
@json_option
@takes_session
def command(session: Session) -> int:
    """Check this machine and the environment.

    Works without a workspace and without a daemon; with them it checks more. Where people do not develop (`dev` of the
    environment) it also says what is not fit for production: listeners that go past the gateway, limits, room, clock,
    encryption; each with its fix. Ends with 1 when a check is bad.

    Example:
      atoll doctor
    """
    import msgspec

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
