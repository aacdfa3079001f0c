"""The end of every command that began operations: follow them, show their receipts, choose the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from atoll.cli.session import Session
    from atoll.model.wire_operations import OperationView

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def receipt_options(function: _Command) -> _Command:
    """--detach and --markdown."""
    detach = click.option("--detach", is_flag=True, help="Do not wait for the end.")
    markdown = click.option("--markdown", is_flag=True, help="The receipt as Markdown, for a pull request.")
    return detach(markdown(function))


def finish(
    session: Session,
    begun: Sequence[OperationView],
    *,
    detach: bool,
    markdown: bool,
    until: str = "live",
    back: bool = False,
) -> int:
    """Wait (unless `detach`), show, and return the exit code. `until` "certified" waits for the end of the bake, and for a
    release of which nothing could be measured ends with the code of the undecided. With `back` the way back was asked for:
    a deploy that ends undone has done as it was told.
    """
    from atoll.cli import receipt
    from atoll.cli.output import console, print_json
    from atoll.cli.progress import UNDECIDED, exit_code, follow

    operations = list(begun) if detach else follow(session, begun, until)
    if session.json:
        print_json(operations)
    elif markdown:
        for operation in operations:
            click.echo(session.here(receipt.markdown(operation)))
    else:
        out = console()
        for operation in operations:
            if operation.ended:
                receipt.show(operation, out, session.here)
            else:
                out.print(f"{operation.service} {operation.release}: begun; `atoll status` shows it", markup=False)
    if detach or (back and all(one.phase == "undone" and one.kind != "rollback" for one in operations)):
        return 0
    unmeasured = [one for one in operations if one.phase == "certified" and one.stepping and not one.measured]
    for operation in unmeasured if until == "certified" else ():
        session.warn(f"{operation.service} {operation.release} is certified, but too little was measured to judge it")
    return exit_code(operations) or (UNDECIDED if until == "certified" and unmeasured else 0)
