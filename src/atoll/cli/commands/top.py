"""`atoll top`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, TypeVar

import click

from atoll.cli.complete import services_to_complete
from atoll.cli.output import escape, print_json, print_line, print_screen, size, table
from atoll.cli.session import Session, common_options, json_option, takes_session
from atoll.cli.watch import WATCH_S, watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from rich.console import RenderableType

    from atoll.cli.client import Client
    from atoll.model.wire_signals import ReplicaRow, SignalRow, SignalsView

_Row = TypeVar("_Row")
_SPARE = (
    "p50",
    "p99",
    "saved",
    "refused",
    "retries/s",
    "ejected",
    "cpu",
    "memory",
    "in flight",
)  # on a narrow terminal
_FAILING_PCT = 1.0  # from here on it is red
_SORTS = ("name", "requests", "failures", "p95", "inflight", "retries")
_COLUMNS = (">req/s", ">failed", ">p50", ">p95", ">p99", ">in flight", ">retries/s", ">saved", ">refused", ">ejected")


@click.command
@click.argument("service", required=False, metavar="[SERVICE]", shell_complete=services_to_complete)
@click.option(
    "--by",
    type=click.Choice(["service", "release", "edge", "replica"]),
    default="service",
    show_default=True,
    help="What a line is.",
)
@click.option(
    "--sort", type=click.Choice(_SORTS), default="name", show_default=True, help="The largest first, or by name."
)
@click.option(
    "--seconds", type=click.IntRange(1, 3600), default=10, show_default=True, help="Over how much of the past."
)
@click.option("--once", is_flag=True, help="Show it once and end.")
@common_options
@json_option
@takes_session
def command(session: Session, service: str | None, by: str, sort: str, seconds: int, once: bool) -> None:
    """Show requests, failures and latencies of now, each second until Ctrl-C.

    Failures are by each service's own definition; `saved` are requests that only a retry saved, `refused` those that a
    breaker refused. A dash was not measured. With --json the API's SignalsView, one a line.

    Example:
      atoll top
      atoll top orders --by edge --sort p95
      atoll top --once --json
    """
    path = f"/v1/signals?seconds={seconds}" + (f"&service={service}" if service else "")
    if session.json:
        while True:
            (print_json if once else print_line)(session.client.raw(path))
            sys.stdout.flush()
            if once:
                return
            time.sleep(WATCH_S)
    cpu = Cpu()

    def fetch(client: Client) -> tuple[SignalsView, dict[str, float]]:
        view = client.signals(path)
        return view, cpu.of(view)

    if once or not sys.stdout.isatty():
        while True:
            print_screen(lines(*fetch(session.client), by, sort))
            sys.stdout.flush()
            if once:
                return
            time.sleep(WATCH_S)

    def page(seen: tuple[SignalsView, dict[str, float]], height: int, trouble: str) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        head = [Text(f"! {trouble}", "bold red")] if trouble else []
        return Group(*head, lines(*seen, by, sort, room=max(1, height - len(head) - 2)))

    watch(session, fetch, page)


class Cpu:
    """CPU in percent of one core, between two views."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._at_s = 0.0

    def of(self, view: SignalsView) -> dict[str, float]:
        """By replica; those that both views have."""
        now = {row.replica: row.cpu_s for row in view.replicas if row.cpu_s is not None}
        passed_s = view.boot_s - self._at_s
        both = now.keys() & self._before.keys() if passed_s > 0 else ()
        found = {replica: max(0.0, 100 * (now[replica] - self._before[replica]) / passed_s) for replica in both}
        self._before, self._at_s = now, view.boot_s
        return found


def lines(view: SignalsView, cpu: dict[str, float], by: str, sort: str, room: int | None = None) -> RenderableType:
    """The table of one kind of line; the first `room` of them."""
    from rich.text import Text

    if not view.edges and not view.replicas:
        return Text("nothing was measured yet: no service has an edge or a route that the proxy knows")
    if by == "replica":
        fields = ("replica", "release", ">req/s", ">failed", ">in flight", ">memory", ">cpu")
        return table(
            fields, (_replica(row, cpu) for row in _sorted(view.replicas, sort, _replica_key)[:room]), spare=_SPARE
        )
    if by == "edge":
        edges = _sorted(view.edges, sort, _key)[:room]
        return table(("edge", *_COLUMNS), ((_edge(row), *_cells(row)) for row in edges), spare=_SPARE)
    rows = view.releases if by == "release" else view.services
    columns = (by, *_COLUMNS, ">memory", ">cpu")
    chosen = _sorted(rows, sort, _key)[:room]
    return table(columns, ((_name(row), *_cells(row), *_used(view, row, cpu)) for row in chosen), spare=_SPARE)


def _sorted(rows: Iterable[_Row], sort: str, key: Callable[[_Row, str], float]) -> list[_Row]:
    """The API has them by name already."""
    return list(rows) if sort == "name" else sorted(rows, key=lambda row: -key(row, sort))


def _key(row: SignalRow, sort: str) -> float:
    values = {
        "requests": row.rps,
        "failures": row.failure_pct,
        "p95": row.p95_ms,
        "inflight": row.inflight,
        "retries": row.retries_per_s,
    }
    return values[sort] or 0.0


def _replica_key(row: ReplicaRow, sort: str) -> float:
    return {"failures": row.failures, "inflight": row.inflight_avg}.get(sort, row.requests) or 0.0


def _name(row: SignalRow) -> str:
    release = f" r{row.release}" if row.release else ""
    return f"[bold]{escape(row.service)}[/]{release}"


def _edge(row: SignalRow) -> str:
    source = f"{escape(row.caller)} r{row.caller_release}" if row.caller else "gateway"
    return f"{source} → {_name(row)}"


def _cells(row: SignalRow) -> tuple[str, ...]:
    return (
        _number(row.rps, ".1f"),
        _failed(row.failure_pct),
        _number(row.p50_ms, ".0f", " ms"),
        _number(row.p95_ms, ".0f", " ms"),
        _number(row.p99_ms, ".0f", " ms"),
        str(row.inflight),
        _number(row.retries_per_s or None, ".1f"),
        str(row.retries_won or ""),
        str(row.overflows or ""),
        str(row.ejected or ""),
    )


def _failed(pct: float | None) -> str:
    style = "bold red" if pct is not None and pct >= _FAILING_PCT else "yellow" if pct else ""
    text = _number(pct, ".2f", "%")
    return f"[{style}]{text}[/]" if style else text


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "-" if value is None else f"{value:{form}}{unit}"


def _used(view: SignalsView, row: SignalRow, cpu: dict[str, float]) -> tuple[str, str]:
    mine = [one for one in view.replicas if one.service == row.service and row.release in {None, one.release}]
    memory = [one.memory_bytes for one in mine if one.memory_bytes is not None]
    shares = [cpu[one.replica] for one in mine if one.replica in cpu]
    return size(sum(memory)) if memory else "", f"{sum(shares):.0f}%" if shares else ""


def _replica(row: ReplicaRow, cpu: dict[str, float]) -> tuple[str, ...]:
    share = 100 * row.failures / row.requests if row.requests else None
    return (
        escape(row.replica),
        f"r{row.release}",
        _number(row.rps, ".1f"),
        _failed(share),
        _number(row.inflight_avg, ".1f"),
        size(row.memory_bytes),
        f"{cpu[row.replica]:.0f}%" if row.replica in cpu else "",
    )
