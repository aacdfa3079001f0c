"""The end of every command that began operations: follow them, show their receipts, choose the exit code."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from atoll.cli.session import Session
    from atoll.model.wire import OperationView

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def receipt_options(function: _Command) -> _Command:
    """--detach and --markdown."""
    detach = click.option("--detach", is_flag=True, help="Do not wait for the end.")
    markdown = click.option("--markdown", is_flag=True, help="The receipt as Markdown, for a pull request.")
    return detach(markdown(function))


def finish(session: Session, begun: Sequence[OperationView], *, detach: bool, markdown: bool) -> int:
    """Wait (unless `detach`), show, and return the exit code."""
    from atoll.cli import receipt
    from atoll.cli.output import console, print_json
    from atoll.cli.progress import exit_code, follow

    operations = list(begun) if detach else follow(session, begun)
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
    return 0 if detach else exit_code(operations)
