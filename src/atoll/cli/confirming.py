"""Ask before what cannot be taken back: whoever types the name knows what it is about."""

import sys

import click

from atoll.cli.failed import Failed


def confirm(name: str, why: str, *, not_done: str, of: str = "environment") -> None:
    """Go on only when the name of the `of` is typed. `why` says what would happen, `not_done` what did not: "nothing was stopped".

    Raises Failed, also where nobody is there to type.
    """
    if not sys.stdin.isatty():
        raise Failed("nobody is there to confirm", why, "add --yes", kind="Refused", exit_code=4, id="not-confirmed")
    its = "its" if of == "environment" else f"the {of}'s"
    if click.prompt(f"{why}; {its} name", err=True) != name:
        raise Failed(not_done, f"that is not the {of}'s name", f"type '{name}', or add --yes", id="not-confirmed")
