"""`atoll why`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli import receipt, stepping
from atoll.cli.client import why_path
from atoll.cli.output import age, console, print_json
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from rich.console import Console

    from atoll.model.wire import WhyView


@click.command
@service_argument(known=True)
@click.argument("release", metavar="[RELEASE]", required=False, shell_complete=completing("releases"))
@common_options
@json_option
@takes_session
def command(session: Session, service: str, release: str | None) -> None:
    """Explain why a service or a release is as it is.

    Its state, the last rollout and its reason, the last crash with what it printed.

    Example:
      atoll why orders
      atoll why orders r7
    """
    subject = f"{service} {release}" if release else service
    if session.json:
        print_json(session.client.raw(why_path(subject)))
    else:
        _show(session.client.why(subject), console())


def _show(view: WhyView, out: Console) -> None:
    from rich.text import Text

    out.print(Text.assemble((view.subject, "bold"), f" is {view.state}" if view.state else ""))
    for sentence in view.because:
        out.print(Text(f"  {sentence}"))
    receipt_of = view.rollout.receipt if view.rollout else None  # shown below, with its page
    for page in (id for id in view.pages if receipt_of is None or id != receipt_of.reason_id):
        out.print(Text(f"  explain: atoll explain {page}", "dim"))
    if view.fix:
        out.print(Text(f"  fix: {view.fix}", "yellow"))
    if view.rollout is not None:
        out.print(Text("the last rollout:", "dim"))
        receipt.show(view.rollout, out)
        if view.rollout.phase in {"stepping", "live"}:
            out.print(*stepping.parts(view.rollout), sep="\n")
    if view.crash is not None:
        when = f", {age(view.crash.wall)} ago" if view.crash.wall else ""
        out.print(Text.assemble(("the last crash: ", "dim"), f"{view.crash_replica} {view.crash.text}{when}".strip()))
        told = view.rollout is not None and view.rollout.output == view.crash_output
        for line in () if told else view.crash_output.splitlines():
            out.print(Text(f"    {line}"))
