"""`atoll status`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from atoll.cli.output import age, duration, escape, print_json, print_line, print_screen, size, table
from atoll.cli.session import Session, common_options, json_option, takes_session
from atoll.cli.watch import WATCH_S, watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from atoll.model.wire import CertificateView, ReplicaView, ServiceView, StatusView

_SPARE = ("since", "route", "p95", "errors", "req/s", "release", "ready")  # what a narrow terminal goes without
_STYLE = {"up": "green", "deploying": "cyan", "degraded": "yellow", "failing": "bold red", "down": "dim"}


@click.command
@click.option("--watch", "watched", is_flag=True, help="Show it anew each second until Ctrl-C.")
@click.option("--replicas", is_flag=True, help="Show every replica.")
@common_options
@json_option
@takes_session
def command(session: Session, watched: bool, replicas: bool) -> None:
    """Show the environment on one screen.

    Rates are of the last minute. With --json it is the API's StatusView; with --watch one a line.

    Example:
      atoll status
      atoll status --watch
      atoll status --json
    """
    if watched:
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
    watch(session, lambda client: client.status(), lambda *drawn: _page(*drawn, replicas=replicas))


def _page(status: StatusView, height: int, trouble: str, *, replicas: bool) -> RenderableType:
    """What fits on a screen: services that are not well come before those that are, and the rest is counted."""
    from msgspec.structs import replace
    from rich.console import Group
    from rich.text import Text

    head = [Text(f"! {trouble}", "bold red")] if trouble else []
    notes = sum(bool(part.problem) for part in status.parts) + len(status.notices)
    notes += sum(bool(service.reason) for service in status.services)
    room = max(1, height - len(head) - notes - 5)  # two lines above the table, its header, the count, one to spare
    if replicas or len(status.services) <= room:
        return Group(*head, screen(status, replicas))
    first = sorted(
        status.services, key=lambda service: (service.state == "up", service.state == "down", -(service.rps or 0.0))
    )
    names = {service.name for service in first[:room]}
    shown = tuple(service for service in status.services if service.name in names)
    states = [service.state for service in first[room:]]
    rest = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    return Group(*head, screen(replace(status, services=shown)), Text(f"and {len(states)} more: {rest}", "dim"))


def screen(status: StatusView, replicas: bool = False) -> RenderableType:
    """The whole status as one rich renderable."""
    from rich.console import Group

    return Group(*_parts(status, replicas))


def _parts(status: StatusView, replicas: bool) -> Iterator[RenderableType]:
    from rich.text import Text

    from atoll.decide.production import local

    gateway = f" at {status.gateway}" if status.gateway else ""
    if status.gateway.startswith("http://") and not local(status.gateway[7:].rpartition(":")[0].strip("[]")):
        gateway += " (unencrypted)"
    yield Text.assemble((status.workspace, "bold"), f" · {status.environment}{gateway}")
    pieces = [f"{part.name} {part.pid}" if part.pid else f"{part.name} -" for part in status.parts]
    yield Text("  ".join(pieces), "dim")
    if status.certificates:
        yield Text("  ".join(_certificate(one, status.wall) for one in status.certificates), "dim")
    if status.backup.made_wall is not None:
        yield Text(f"last backup {age(status.backup.made_wall)} ago", "dim")
    for part in status.parts:
        if part.problem:
            yield Text(f"! {part.name}: {part.problem}", "bold red")
    for notice in status.notices:
        yield Text(f"! {notice}", "yellow")
    if not status.services:
        yield Text("no service was deployed yet: `atoll up`")
        return
    columns = ("service", "release", "state", ">ready", ">req/s", ">errors", ">p95", ">since", "route")
    yield table(columns, (_row(service, status.gateway) for service in _stores_last(status)), spare=_SPARE)
    for service in status.services:
        if service.reason:
            yield Text(
                f"! {service.name}: {service.reason}", _STYLE[service.state] if service.state != "up" else "yellow"
            )
        for sentence in service.failing_jobs:
            yield Text(f"! {service.name}: {sentence}", "yellow")
    if replicas:
        fields = ("replica", "release", "phase", "ready", ">pid", "ports", ">memory", ">restarts", ">since", "")
        yield Text("")
        yield table(fields, (row for service in status.services for row in _replicas(service)))


def _certificate(one: CertificateView, wall: float) -> str:
    """`shop.example.com until 2027-02-25`."""
    name = f"{one.hosts[0] if one.hosts else one.source}{f' +{len(one.hosts) - 1}' if len(one.hosts) > 1 else ''}"
    if one.ends_wall is None:
        return f"{name} has no certificate yet"
    day = time.strftime("%Y-%m-%d", time.gmtime(one.ends_wall))
    return f"{name} {'ended' if one.ends_wall < wall else 'until'} {day}"


def _stores_last(status: StatusView) -> list[ServiceView]:
    return sorted(status.services, key=lambda service: bool(service.store))


def _row(service: ServiceView, gateway: str) -> tuple[str, ...]:
    release = f"{service.release} → {service.candidate}" if service.candidate else service.release or "-"
    by_hand = "*" if service.override is not None else ""
    return (
        f"[bold]{escape(service.name)}[/]",
        release,
        f"[{_STYLE.get(service.state, '')}]{service.state}[/]" if service.state in _STYLE else service.state,
        "-" if _jobs_only(service) else f"{service.ready}/{service.wanted}{by_hand}",
        "-" if service.rps is None else f"{service.rps:.1f}",
        "-" if service.error_pct is None else f"{service.error_pct:.2f}%",
        "-" if service.p95_ms is None else f"{service.p95_ms:.0f} ms",
        age(service.since_wall),
        escape(_route(service, gateway)),
    )


def _jobs_only(service: ServiceView) -> bool:
    return bool(service.jobs) and service.wanted == 0 and service.state == "up"


def _route(service: ServiceView, gateway: str) -> str:
    """Its addresses; of a service that has none and only jobs, those."""
    if service.store:
        return f"store: {service.store}"
    if _jobs_only(service):
        return f"jobs: {', '.join(service.jobs)}"
    return " ".join(url.removeprefix(gateway).removeprefix("https://").removeprefix("http://") for url in service.urls)


def _replicas(service: ServiceView) -> Iterator[tuple[str, ...]]:
    for replica in service.replicas:
        yield (
            escape(replica.id),
            replica.release,
            replica.phase,
            "yes" if replica.ready else "no",
            str(replica.pid or "-"),
            _listens(replica),
            size(replica.memory_bytes),
            str(replica.restarts or ""),
            duration(replica.since_s),
            escape(replica.reason),
        )


def _listens(replica: ReplicaView) -> str:
    """Its ports, after its address where that is its own: `10.201.3.2 http:8080`."""
    ports = " ".join(f"{name}:{number}" for name, number in replica.ports.items())
    return ports if not ports or replica.host == "127.0.0.1" else f"{replica.host} {ports}"
