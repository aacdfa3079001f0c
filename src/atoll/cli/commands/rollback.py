"""`atoll rollback`."""

from __future__ import annotations

import click

from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.plans import plan_option, show
from atoll.cli.results import finish, receipt_options
from atoll.cli.session import Session, common_options, completing, json_option, service_argument, takes_session


@click.command
@service_argument(known=True)
@click.option(
    "--to",
    metavar="RELEASE",
    shell_complete=completing("releases"),
    help="Which release, such as r7. Default: the one before.",
)
@click.option("--force", is_flag=True, help="Also over a change that earlier code may not work with.")
@receipt_options
@plan_option
@common_options
@json_option
@takes_session
def command(
    session: Session, service: str, to: str | None, force: bool, detach: bool, markdown: bool, plan: bool
) -> int:
    """Go back to an earlier release.

    While a rollout is under way, that is what ends, and the stable release stays. Artifact, configuration, policy and
    contracts go back together; secrets stay at their newest version. While the previous release is warm it is a change
    of weights only. What ran before a release (`rollout.before`) is not taken back: unless that said that it is
    backward compatible, going back over it is refused without --force.

    Example:
      atoll rollback orders
      atoll rollback orders --to r5 --plan
    """
    from atoll.model.wire import RollbackRequest
    from atoll.pipeline.provenance import author

    request = RollbackRequest(
        to=None if to is None else number(to), force=force, author=author(session.root), key=new_key()
    )
    if plan:
        return show(session, session.client.plan(request, service))
    return finish(session, [session.client.rollback(service, request)], detach=detach, markdown=markdown, back=True)


def number(release: str) -> int:
    """7, of `r7` or `7`. Raises Failed."""
    digits = release.removeprefix("r")
    if not digits.isdigit():
        raise Failed(
            f"'{release}' is no release", "releases are named r1, r2, ...", "see `atoll releases SERVICE`", id="usage"
        )
    return int(digits)
