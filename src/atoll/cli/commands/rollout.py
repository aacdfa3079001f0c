"""`atoll rollout show | pause | resume | promote | abort | keep | retry`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.failed import Failed
from atoll.cli.output import print_json, print_screen
from atoll.cli.plans import plan_option
from atoll.cli.plans import show as show_plans
from atoll.cli.session import Session, common_options, json_option, service_argument, takes_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


@click.group
def command() -> None:
    """See and steer the rollout of a service that is under way.

    A deploy moves its traffic by steps that its numbers must earn. A person may hold it, let it go on, or end it; each
    word is written into the ledger.

    Example:
      atoll rollout show orders
      atoll rollout pause orders
      atoll rollout promote orders
    """


@command.command("show")
@service_argument(known=True)
@common_options
@json_option
@takes_session
def show(session: Session, service: str) -> None:
    """Show the newest rollout: its steps, and the candidate against the stable release.

    With --json it is the API's OperationView.

    Example:
      atoll rollout show orders
    """
    from rich.console import Group
    from rich.text import Text

    from atoll.cli import stepping
    from atoll.cli.progress import title

    view = session.client.why(service).rollout
    if view is None:
        raise Failed(
            f"{service} was never rolled out", "there is nothing to show", f"`atoll deploy {service}`", id="no-rollout"
        )
    if session.json:
        print_json(view)
        return
    text = f": {view.text}" if view.text else ""
    print_screen(Group(Text.assemble((title(view), "bold"), f" is {view.phase}{text}"), *stepping.parts(view)))


def _word(name: str, says: str, more: str, example: str) -> None:
    """One command of the group that says `name` to the rollout."""

    def say(session: Session, service: str, plan: bool) -> int:
        from atoll.cli.drafts import new_key
        from atoll.model.wire import SteerRequest
        from atoll.pipeline.provenance import author

        request = SteerRequest(word=name, author=author(session.root), key=new_key())  # type: ignore[arg-type]
        if plan:
            return show_plans(session, session.client.plan(request, service))
        view = session.client.steer(service, request)
        if session.json:
            print_json(view)
        else:
            state = (view.stepping.waits if view.stepping else "") or view.text or view.phase
            session.say(f"{service} {view.release}: {state}")
            for warning in view.warnings:
                session.warn(warning)
        return 0

    say.__doc__ = f"{says}\n\n{more}\n\nExample:\n  {example}\n"
    made: Callable[..., Any] = service_argument(known=True)(
        plan_option(common_options(json_option(takes_session(say))))
    )
    command.command(name)(made)


_word(
    "pause",
    "Give it no more traffic than it has now.",
    "A candidate that turns out bad is undone all the same. Its step's deadline begins anew with `resume`.",
    "atoll rollout pause orders",
)
_word(
    "resume",
    "Go on: after a pause, past a step that wants a person's word, or with a new deadline where nothing was decided.",
    "With --json it is the API's OperationView.",
    "atoll rollout resume orders",
)
_word(
    "promote",
    "Give it all of the traffic now, whatever its numbers say.",
    "Its replicas are started and ready first. It is still watched through its bake: while a failing verdict counts down"
    " it is also kept, otherwise a verdict that fails then undoes it.",
    "atoll rollout promote orders",
)
_word(
    "abort",
    "Go back to the stable release now.",
    "Comes back when the proxy has acknowledged that the candidate gets nothing more; its replicas are stopped after that."
    " Before all of the traffic is on the candidate `atoll rollback` does the same.",
    "atoll rollout abort orders",
)
_word(
    "keep",
    "Keep the candidate although its verdict fails.",
    "Crashes and lost readiness still undo it. It also stops the countdown of `[rollout] countdown`.",
    "atoll rollout keep orders",
)
_word(
    "retry",
    "Roll out the release again that was undone last.",
    "The same artifact, configuration and secret versions, judged from the beginning.",
    "atoll rollout retry orders",
)
