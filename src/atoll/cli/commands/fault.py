"""`atoll fault`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import duration, print_json, print_screen, table
from atoll.cli.plans import plan_option, show
from atoll.cli.session import Session, common_options, completing, json_option, takes_session

if TYPE_CHECKING:
    from atoll.model.wire import FaultRequest, FaultView

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


@click.command
@click.argument("service", metavar="[SERVICE]", required=False, shell_complete=completing("known"))
@click.option("--kill", is_flag=True, help="End replicas with SIGKILL.")
@click.option("--pause", is_flag=True, help="Stop replicas with SIGSTOP; they go on when the time is over.")
@click.option("--latency", metavar="TIME", help="Requests wait so much longer: 300ms, 2s.")
@click.option("--abort", metavar="STATUS", type=int, help="Requests are answered with this HTTP status.")
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Of the requests.")
@click.option(
    "--edge",
    metavar="CALLER",
    shell_complete=completing("known"),
    help="Only what this service sends; `gateway` is from outside.",
)
@click.option(
    "--replicas", type=click.IntRange(1, 100), default=1, show_default=True, help="How many to kill or pause."
)
@click.option(
    "--for", "lasts", metavar="TIME", default="30s", show_default=True, help="It ends by itself after so long."
)
@click.option("--clear", is_flag=True, help="End the service's faults now.")
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session,
    service: str | None,
    kill: bool,
    pause: bool,
    latency: str | None,
    abort: int | None,
    percent: int,
    edge: str | None,
    replicas: int,
    lasts: str,
    clear: bool,
    plan: bool,
) -> int:
    """Break something on purpose, for a while.

    Faults are leases: each ends by itself, also when Atoll's daemon was killed meanwhile. Latency and aborts are made by
    the proxy, between a caller and the service; they do not count as the service's own failures. It comes back when the
    proxy has acknowledged the change, or with 1 after some seconds without. Without SERVICE: the faults in force. Outside
    `local` the environment's file must allow it (`faults = true`).

    Example:
      atoll fault orders --latency 300ms --percent 20 --edge web
      atoll fault orders --abort 503 --for 1m
      atoll fault orders --kill
      atoll fault
    """
    given = {"kill": kill, "pause": pause, "latency": latency is not None, "abort": abort is not None}
    kinds = [kind for kind, asked in given.items() if asked]
    _possible(service, kinds, clear, plan)
    if service is None:
        return _list(session, session.client.faults())
    if clear:
        views = session.client.clear(service)
        if late := [view for view in views if view.waits]:
            raise _late(
                f"{service} has its fault still: {late[0].text}", late[0].waits, "it ends when the proxy hears of it"
            )
        return _list(session, views)
    request = _request(kinds[0], latency, abort, percent, edge, replicas, lasts, session)
    if plan:
        return show(session, session.client.plan(request, service))
    view = session.client.inject(service, request)
    if view.waits:
        wait = f"it is written down, and there when the proxy hears of it before its time is over: `atoll fault {service} --clear`"
        raise _late(f"{service} has no fault yet: {view.text}", view.waits, f"{wait} takes it back")
    if session.json:
        print_json(view)
    else:
        lasting = f" for {duration(view.left_s)}" if view.id else ""
        session.say(f"{service}: {view.text}{lasting}")
    return 0


def _late(what: str, why: str, then: str) -> Failed:
    """The proxy has not acknowledged it in time."""
    fix = f"{then}; `atoll doctor` tells what is amiss with it"
    return Failed(what, why, fix, id="proxy-not-acknowledged", kind="NotAcknowledged", exit_code=1)


def _possible(service: str | None, kinds: list[str], clear: bool, plan: bool) -> None:
    """Raises Failed for what cannot be meant: a fault of nobody, none or several at once, one that is ended."""
    given = [f"--{name}" for name in (*kinds, *(["clear"] if clear else []), *(["plan"] if plan else []))]
    if service is None and given:
        what, fix = f"{given[0]} is about no service", "such as `atoll fault orders --kill`"
        raise Failed(what, "a fault is one service's", fix, id="usage")
    if clear and len(given) > 1:
        fix = "`atoll fault` shows them"
        raise Failed(f"{' and '.join(given)} at once", "--clear ends the faults in force, now", fix, id="usage")
    if service is not None and not clear and len(kinds) != 1:
        what = f"{' and '.join(f'--{kind}' for kind in kinds)} at once" if kinds else "no fault was named"
        fix = "one of --kill, --pause, --latency 300ms, --abort 503; run it twice for two"
        raise Failed(what, "each call injects one fault", fix, id="usage")


def _request(
    kind: str,
    latency: str | None,
    abort: int | None,
    percent: int,
    edge: str | None,
    replicas: int,
    lasts: str,
    session: Session,
) -> FaultRequest:
    """The daemon's. Raises Failed."""
    from atoll.cli.drafts import new_key
    from atoll.model.wire import FaultRequest
    from atoll.pipeline.provenance import author

    return FaultRequest(
        kind=kind,  # type: ignore[arg-type]
        seconds=_seconds(lasts, "--for"),
        caller=edge,
        percent=percent,
        latency_s=_seconds(latency, "--latency") if latency else 0.0,
        status=abort or 0,
        most=replicas,
        author=author(session.root),
        key=new_key(),
    )


def _seconds(text: str, option: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m)", text.strip())
    if found is None:
        raise Failed(
            f"{option} '{text}' is no time", "a number and its unit are expected", "such as 300ms, 30s, 2m", id="usage"
        )
    return float(found[1]) * _UNITS[found[2]]


def _state(view: FaultView) -> str:
    """What it does, and whether it does so."""
    return f"{view.text} ({'not yet' if view.left_s else 'still'}: {view.waits})" if view.waits else view.text


def _list(session: Session, views: list[FaultView]) -> int:
    if session.json:
        print_json(views)
    elif not views:
        session.say("no fault is in force")
    else:
        rows = ((view.service, _state(view), duration(view.left_s), view.author.actor) for view in views)
        print_screen(table(("service", "fault", ">left", "by"), rows))
    return 0
