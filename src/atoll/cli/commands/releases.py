"""`atoll releases`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import click

from atoll.cli.output import age, duration, escape, print_json, print_screen, table
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from atoll.model.wire import ReleaseView

_STYLE = {"current": "bold green", "candidate": "cyan", "failed": "red", "past": "dim"}


@click.command
@service_argument(known=True)
@common_options
@json_option
@takes_session
def command(session: Session, service: str) -> None:
    """Show a service's releases, newest first.

    Example:
      atoll releases orders
    """
    if session.json:
        print_json(session.client.raw(f"/v1/services/{quote(service, safe='')}/releases"))
        return
    columns = ("release", "state", ">made", "by", "commit", "artifact", ">deploy", ">failed", "")
    print_screen(table(columns, (_row(release) for release in session.client.releases(service))))


def _row(release: ReleaseView) -> tuple[str, ...]:
    receipt, author = release.receipt, release.author
    style = _STYLE.get(release.state)
    return (
        f"[bold]{release.release}[/]",
        f"[{style}]{release.state}[/]" if style else release.state,
        f"{age(release.created_wall)} ago" if release.created_wall else "",
        escape(author.actor),
        author.commit[:10] + ("+" if author.dirty else ""),
        release.artifact[:10],
        duration(receipt.seconds.get("total", 0.0)) if receipt else "",
        f"{receipt.failed}/{receipt.requests}" if receipt else "",
        escape((receipt.reason if receipt else "") or release.note),
    )
