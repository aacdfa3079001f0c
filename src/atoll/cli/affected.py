"""Which services `deploy --affected` delivers. Whether a service's files make another release, the daemon alone says;
here stands whom it is asked about, in which order, and what is told of the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atoll.cli.output import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import PlanView, ServiceView
    from atoll.model.wire_operations import OperationView

_AGAIN = "built again, same result"


def delivered(
    session: Session,
    workspace: WorkspaceSpec,
    names: Sequence[str],
    named: Sequence[str],
    seen: Mapping[str, ServiceView],
) -> list[str]:
    """Those of `names` to build and to ask for, callees first. One that somebody stopped stays down unless it is named."""
    from atoll.decide.graph import callees_first

    stopped = [name for name in names if name not in named and _was_stopped(session, seen.get(name))]
    for name in stopped:
        session.warn(f"{name} was stopped, and stays down; `atoll deploy {name}` starts it with what its files say")
    return callees_first(workspace.services, [name for name in names if name not in stopped])


def _was_stopped(session: Session, view: ServiceView | None) -> bool:
    """Whether it is down though a release of it was live once: a first deploy that failed leaves it down, too."""
    if view is None or view.state != "down":
        return False
    releases = session.client.releases(view.name)
    return any(each.receipt is not None and each.receipt.outcome == "live" for each in releases)


def begun_of(session: Session, operations: Sequence[OperationView]) -> list[OperationView]:
    """Those that change something. The others are told of in a line."""
    _tell(session, [(each.service, each.text) for each in operations if each.phase == "unchanged"])
    return [each for each in operations if each.phase != "unchanged"]


def planned_of(session: Session, plans: Sequence[PlanView]) -> list[PlanView]:
    """The same for plans."""
    _tell(session, [(each.service, "; ".join(each.steps)) for each in plans if each.unchanged])
    return [each for each in plans if not each.unchanged]


def _tell(session: Session, unchanged: Sequence[tuple[str, str]]) -> None:
    for service, text in unchanged:
        if _AGAIN in text:
            session.say(f"{service}: {_AGAIN}")
    if unchanged:
        session.say(f"{counted(len(unchanged), 'service')} as the files say: nothing to do")
