"""An environment is there and runs with what the files say of it, before something is deployed into it: `up`, `deploy`.

Here its processes are started. Another machine's service manager has started them; what is told there is what the
environment's table says, since that machine has no atoll.toml.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from atoll.cli.conversation import UNKNOWN_ADDRESS
from atoll.cli.drafts import new_key
from atoll.cli.failed import UNREACHABLE, Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec

_WITHIN_S = 30.0  # a daemon starts within two or three, on a busy machine
_LOOK_S = 0.1
_FORBIDDEN = "not-allowed"


def ensure_running(session: Session, workspace: WorkspaceSpec) -> None:
    """Started here; on another machine told what the files say, where that is something else."""
    if session.places.machine:
        settle(session, workspace)
    else:
        session.hooks.ensure_running(session.places, workspace, session.say)


def refuse(session: Session, workspace: WorkspaceSpec) -> None:
    """For a plan: raise what `ensure_running` would, and start nothing."""
    if session.places.machine:
        announce(session, workspace)
    else:
        session.hooks.refuse(session.places, workspace)


def settle(session: Session, workspace: WorkspaceSpec) -> None:
    """Have another machine's environment run as the files say. Who may not tell it is warned, and goes on. Nothing here.

    Raises Failed when another environment answers, when the machine cannot give what is asked, or does not come back.
    """
    if not session.places.machine:
        return
    try:
        changed = unsettled(session, workspace)
    except Failed as exc:
        if exc.id == _FORBIDDEN:  # the first thing that is asked: it is the command that is refused
            exc.what = f"you may not deploy to '{session.environment}'"
        raise
    if not changed:
        return
    from atoll.model.wire import EnvironmentRequest
    from atoll.pipeline.provenance import author

    fields = ", ".join(changed)
    request = EnvironmentRequest(environment=workspace.environment, author=author(session.root), key=new_key())
    try:
        session.client.set_environment(request)
    except Failed as exc:
        if exc.id != _FORBIDDEN:
            raise
        session.warn(
            f"warning: '{session.environment}' runs with another {fields} than atoll.toml says, which only an admin may change"
        )
        return
    session.say(f"{session.places.machine} takes over from atoll.toml: {fields}; its daemon starts anew")
    deadline = time.monotonic() + _WITHIN_S
    while unsettled(session, workspace):
        if time.monotonic() > deadline:
            raise Failed(
                f"the daemon of '{session.environment}' does not take over what atoll.toml says",
                f"it still runs with another {fields}, after {_WITHIN_S:g} s",
                "`atoll doctor`, and its log there, tell why it does not start anew; services go on running meanwhile",
                id="daemon-unreachable",
                kind="Unreachable",
                exit_code=UNREACHABLE,
            )
        time.sleep(_LOOK_S)


def announce(session: Session, workspace: WorkspaceSpec) -> None:
    """For a plan: say what `settle` would tell another machine, to whom may know it. Raises what it would raise; nothing here."""
    if not session.places.machine:
        return
    try:
        changed = unsettled(session, workspace)
    except Failed as exc:
        if exc.id != _FORBIDDEN:
            raise
        session.say(f"what {session.places.machine} would take over from atoll.toml is not told: {exc.why}")
        return
    if changed:
        from atoll.model.wire import EnvironmentRequest

        try:
            session.client.check_environment(EnvironmentRequest(environment=workspace.environment))
        except Failed as exc:
            if exc.kind == UNKNOWN_ADDRESS:  # one that takes it over without being asked before
                session.warn(
                    f"warning: whether {session.places.machine} can give what is said below is not known: {exc.why}"
                )
            elif exc.id != _FORBIDDEN:  # then it would not be told either, but by an admin
                raise
        session.say(f"{session.places.machine} would take over from atoll.toml: {', '.join(changed)}")


def in_force(session: Session, workspace: WorkspaceSpec, *, overridden: bool) -> None:
    """Here, where only `up` takes over what atoll.toml says of the environment: warn of what it does not run with yet.

    Raises Failed for tasks that must be green by the file and not by the environment, unless the gate is `overridden`: who
    wrote the gate counts on it.
    """
    from atoll.decide.environment import differences

    if session.places.machine:
        return
    try:
        running = session.client.environment().environment
    except Failed as exc:
        # An older daemon has no answer, and who may not deploy is told so by what follows.
        if exc.kind == UNKNOWN_ADDRESS or exc.id == _FORBIDDEN:
            return
        raise
    told = workspace.environment
    new = [task for task in told.require if task not in running.require]
    if new and not overridden:
        raise Failed(
            f"nothing is deployed: '{told.name}' does not ask for {' and '.join(new)} yet, as atoll.toml says it must",
            "`require` was changed after the environment was started",
            "`atoll up` takes it over; or say why it must go ahead: `atoll deploy --override-gate WHY`",
            id="gate-shut", kind="Refused", exit_code=4,
        )  # fmt: skip
    if changed := differences(told, running):
        session.warn(
            f"warning: '{told.name}' runs with another {', '.join(changed)} than atoll.toml says; `atoll up` takes it over"
        )


def unsettled(session: Session, workspace: WorkspaceSpec) -> Sequence[str]:
    """The fields in which it runs otherwise than the files say. Raises Failed when it is another environment."""
    from atoll.decide.environment import differences

    seen, told = session.client.environment(), workspace.environment
    if (seen.workspace, seen.environment.name) != (workspace.name, told.name):
        theirs = f"'{seen.environment.name}'" + (f" of {seen.workspace}" if seen.workspace != workspace.name else "")
        raise Failed(
            f"the daemon on {session.places.machine} keeps {theirs}, not '{told.name}'",
            "nothing was changed there",
            f"correct `host` of [environments.{told.name}], or what --host or ATOLL_HOST says instead",
            id="another-environment",
            kind="Conflict",
            exit_code=5,
        )
    return differences(told, seen.environment)
