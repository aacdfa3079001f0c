"""`--plan`: what a command would do, shown instead of done. Every command that changes something has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.failed import Failed
from atoll.cli.output import console, print_json, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.console import Console

    from atoll.cli.session import Session
    from atoll.model.wire import PlanView

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def plan_option(function: _Command) -> _Command:
    """--plan."""
    return click.option("--plan", is_flag=True, help="Show what would be done, and do nothing.")(function)


def show(session: Session, plans: Iterable[PlanView], failures: Mapping[str, Failed] | None = None) -> int:
    """All plans, and what stands in the way of others; returns what the command would end with at once."""
    views = [*plans, *(_refused(name, failed) for name, failed in (failures or {}).items())]
    views.sort(key=lambda view: view.service)
    if session.json:
        print_json(views)
    else:
        out = console()
        for view in views:
            _show(view, out)
        session.say("this is a plan: nothing was changed")
    return next((view.refused.exit_code for view in views if view.refused), 0)


def _refused(service: str, failed: Failed) -> PlanView:
    from atoll.model.wire import PlanView

    return PlanView(service=service, kind="deploy", refused=failed.view())


def _show(view: PlanView, out: Console) -> None:
    from rich.text import Text

    out.print(Text(_headline(view), "bold red" if view.refused else "" if view.unchanged else "bold"))
    marked = not view.unchanged
    for number, step in enumerate(view.steps, 1):
        out.print(Text(f"  {number}. {step}" if marked else f"  {step}"))
    if view.unchanged:
        return
    for label, text in _facts(view):
        style = "yellow" if label == "warning" else ""
        out.print(Text.assemble((f"  {label:<9}", "dim"), " ", (text, style)))


def _headline(view: PlanView) -> str:
    if view.refused:
        return f"{view.kind} {view.service}: refused, {view.refused.what}  [{view.refused.id}]"
    if view.unchanged:
        return f"{view.service}: nothing to do"
    now = f", now {view.previous}" if view.previous and view.previous != view.release else ""
    return f"{view.kind} {view.service} {view.release}".rstrip() + now


def _facts(view: PlanView) -> Iterator[tuple[str, str]]:
    if view.refused:
        for label, text in (("why", view.refused.why), ("fix", view.refused.fix)):
            if text:
                yield label, text.strip().replace("\n", f"\n{'':12}")
        return
    for change in view.changed:
        yield "changed", change
    if view.routes:
        yield "routes", " ".join(view.routes)
    if view.memory_bytes != 0:
        free = f"; the machine has {size(view.free_bytes)} free" if view.free_bytes is not None else ""
        yield "memory", (f"at most {size(view.memory_bytes)}" if view.memory_bytes else "no limit is set") + free
    if view.holds:
        yield "requests", "wait at the proxy during the switch"
    for warning in view.warnings:
        yield "warning", warning
