"""`atoll status`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from atoll.cli.output import age, console, duration, escape, print_json, print_line, print_screen, size, table
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from atoll.model.wire import ServiceView, StatusView

WATCH_S = 1.0
_STYLE = {"up": "green", "deploying": "cyan", "degraded": "yellow", "failing": "bold red", "down": "dim"}


@click.command
@click.option("--watch", is_flag=True, help="Show it anew each second until Ctrl-C.")
@click.option("--replicas", is_flag=True, help="Show every replica.")
@common_options
@json_option
@takes_session
def command(session: Session, watch: bool, replicas: bool) -> None:
    """Show the environment on one screen.

    Rates are of the last minute. With --json it is the API's StatusView; with --watch one a line.

    Example:
      atoll status
      atoll status --watch
      atoll status --json
    """
    if watch:
        _watch(session, replicas)
    elif session.json:
        print_json(session.client.raw("/v1/status"))
    else:
        print_screen(screen(session.client.status(), replicas))


def _watch(session: Session, replicas: bool) -> None:
    if session.json or not sys.stdout.isatty():
        while True:
            if session.json:
                print_line(session.client.raw("/v1/status"))
            else:
                print_screen(screen(session.client.status(), replicas))
            sys.stdout.flush()
            time.sleep(WATCH_S)
    from rich.live import Live

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(session.client.status(), replicas), refresh=True)
            time.sleep(WATCH_S)


def screen(status: StatusView, replicas: bool = False) -> RenderableType:
    """The whole status as one rich renderable."""
    from rich.console import Group

    return Group(*_parts(status, replicas))


def _parts(status: StatusView, replicas: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    gateway = f" at {status.gateway}" if status.gateway else ""
    yield Text.assemble((status.workspace, "bold"), f" · {status.environment}{gateway}")
    pieces = [f"{part.name} {part.pid}" if part.pid else f"{part.name} -" for part in status.parts]
    yield Text("  ".join(pieces), "dim")
    for part in status.parts:
        if part.problem:
            yield Text(f"! {part.name}: {part.problem}", "bold red")
    for notice in status.notices:
        yield Text(f"! {notice}", "yellow")
    if not status.services:
        yield Text("no service was deployed yet: `atoll up`")
        return
    columns = ("service", "release", "state", ">ready", ">req/s", ">errors", ">p95", ">since", "route")
    yield table(columns, (_row(service, status.gateway) for service in status.services))
    for service in status.services:
        if service.reason:
            yield Text(
                f"! {service.name}: {service.reason}", _STYLE[service.state] if service.state != "up" else "yellow"
            )
    if replicas:
        fields = ("replica", "release", "phase", "ready", ">pid", "ports", ">memory", ">restarts", ">since", "")
        yield Text("")
        yield table(fields, (row for service in status.services for row in _replicas(service)))


def _row(service: ServiceView, gateway: str) -> tuple[str, ...]:
    release = f"{service.release} → {service.candidate}" if service.candidate else service.release or "-"
    by_hand = "*" if service.override is not None else ""
    return (
        f"[bold]{escape(service.name)}[/]",
        release,
        f"[{_STYLE.get(service.state, '')}]{service.state}[/]" if service.state in _STYLE else service.state,
        f"{service.ready}/{service.wanted}{by_hand}",
        "-" if service.rps is None else f"{service.rps:.1f}",
        "-" if service.error_pct is None else f"{service.error_pct:.2f}%",
        "-" if service.p95_ms is None else f"{service.p95_ms:.0f} ms",
        age(service.since_wall),
        escape(" ".join(url.removeprefix(gateway).removeprefix("http://") for url in service.urls)),
    )


def _replicas(service: ServiceView) -> Iterator[tuple[str, ...]]:
    for replica in service.replicas:
        yield (
            escape(replica.id),
            replica.release,
            replica.phase,
            "yes" if replica.ready else "no",
            str(replica.pid or "-"),
            " ".join(f"{name}:{number}" for name, number in replica.ports.items()),
            size(replica.memory_bytes),
            str(replica.restarts or ""),
            duration(replica.since_s),
            escape(replica.reason),
        )
