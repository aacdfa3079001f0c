"""`atoll store list | status | apply | remove`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from atoll.cli.confirming import confirm
from atoll.cli.drafts import new_key
from atoll.cli.failed import CONFLICT, Failed
from atoll.cli.output import age, escape, print_json, print_screen, size, table
from atoll.cli.plans import plan_option, show
from atoll.cli.session import Session, common_options, completing, json_option, takes_session
from atoll.cli.store_drafts import drafts_of, users

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.cli.outputs import StoreOutput
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import ServiceView

_LOOK_S = 0.1
_STOPPED_WITHIN_S = 90.0  # past a database's own grace


@click.group
def command() -> None:
    """See, change and remove the stores that Atoll runs.

    A store of atoll.toml or service.toml without a `url` is run by Atoll. `atoll up` starts it before the services that use
    it; `deploy` of a service never touches it, and `down` keeps its data.

    Example:
      atoll store list
      atoll store remove orders-db
    """


@command.command("list")
@common_options
@json_option
@takes_session
def list_(session: Session) -> None:
    """List the stores that Atoll runs: those of the files, and those that the environment still has.

    Example:
      atoll store list
    """
    found = _every(session)
    if session.json:
        print_json(found)
        return
    rows = (
        (
            f"[bold]{escape(one.name)}[/]",
            one.type,
            one.state,
            one.release or "-",
            size(one.memory_bytes),
            ", ".join(one.used_by) or ("nobody" if one.declared else "no file names it any more"),
        )
        for one in found
    )
    print_screen(table(("store", "type", "state", "release", ">memory", "used by"), rows))


@command.command("status")
@click.argument("name", metavar="STORE", shell_complete=completing("known"))
@common_options
@json_option
@takes_session
def status(session: Session, name: str) -> None:
    """Show one store: its state, whether its files say something else, who uses it.

    Example:
      atoll store status orders-db
    """
    found = _one(session, name, _every(session))
    if session.json:
        print_json(found)
        return
    lines = {
        "type": found.type,
        "state": f"{found.state}{f': {found.reason}' if found.reason else ''}",
        "release": f"{found.release or 'none yet'}{f', for {age(found.since_wall)}' if found.since_wall else ''}",
        "used by": ", ".join(found.used_by) or "nobody",
        "memory": size(found.memory_bytes),
        "password": f"secret {found.secret}, made by Atoll",
    }
    click.echo(click.style(found.name, bold=True))
    for label, text in lines.items():
        click.echo(f"  {click.style(f'{label:<9}', dim=True)} {text}")
    if found.edited:
        session.warn(f"{name}: its settings changed since it was started; `atoll store apply {name}` takes them over")
    if not found.declared:
        session.warn(f"{name}: no file names it any more; `atoll store remove {name}` erases it with its data")


@command.command("apply")
@click.argument("name", metavar="STORE", shell_complete=completing("known"))
@plan_option
@common_options
@json_option
@takes_session
def apply(session: Session, name: str, plan: bool) -> int:
    """Run a store as its files say now: another version, image, memory.

    It is stopped and started again, since two may not write the same data: its clients lose their connections, and get none
    for a moment. When it does not start so, the release before is started again.

    Example:
      atoll store apply orders-db --plan
      atoll store apply orders-db
    """
    from atoll.cli.results import finish
    from atoll.model.wire import DeployRequest
    from atoll.pipeline.provenance import author

    workspace = session.load()
    if name not in workspace.servers:
        raise _unknown(name, workspace.servers)
    drafts = drafts_of(session, workspace, [name])
    if drafts.failures:
        raise drafts.failures[name]
    draft = drafts.ready[name]
    request = DeployRequest(spec=draft.spec, artifact=draft.artifact, author=author(session.root), key=new_key())
    if plan:
        return show(session, session.client.plan(request, name))
    return finish(session, [session.client.deploy(request)], detach=False, markdown=False)


@command.command("remove")
@click.argument("name", metavar="STORE", shell_complete=completing("known"))
@click.option("-y", "--yes", is_flag=True, help="Do not ask for the store's name.")
@plan_option
@common_options
@json_option
@takes_session
def remove(session: Session, name: str, yes: bool, plan: bool) -> int:
    """Stop a store and erase it: its data, its password, its releases.

    Nothing brings the data back. It asks for the store's name, in every environment, and is refused while a service that
    runs uses the store. As long as a file names the store, the next `atoll up` makes it anew, empty.

    Example:
      atoll store remove orders-db --plan
      atoll store remove orders-db
    """
    from atoll.model.wire import StopRequest
    from atoll.pipeline.provenance import author

    seen = _seen(session)
    if name not in seen:
        raise _unknown(name, seen)
    busy = [one for one in _running_users(session, name) if one != name]
    again = _made_anew(session.load(), name)
    if plan:
        what = f"{name}: it would be stopped, and its data, its password and its releases erased{again}"
        if session.json:
            from atoll.cli.outputs import StorePlanOutput

            print_json(StorePlanOutput(name=name, what=what, refused_by=tuple(busy)))
        else:
            click.echo(what)
            if busy:
                click.echo(f"  refused while they run: {', '.join(busy)}")
            session.say("this is a plan: nothing was changed")
        return CONFLICT if busy else 0
    if busy:
        raise Failed(
            f"the store {name} is in use",
            f"by {', '.join(busy)}",
            f"stop them first: `atoll down {' '.join(busy)}`; or deploy them without it",
            kind="Conflict",
            exit_code=CONFLICT,
            id="store-in-use",
        )
    if not yes:
        why = f"this erases all data of {name} in '{session.environment}', and nothing brings them back"
        confirm(name, why, not_done="nothing was removed", of="store")
    session.client.stop(name, StopRequest(author=author(session.root), key=new_key()))
    _wait(session, name)
    session.client.remove_store(name)
    if session.json:
        from atoll.cli.outputs import RemovedOutput

        print_json(RemovedOutput(name=name))
    else:
        session.say(f"{name}: removed, with all its data{again}")
    return 0


def _every(session: Session) -> list[StoreOutput]:
    """Those of the files and those of the environment, together."""
    from atoll.cli.outputs import StoreOutput
    from atoll.model.store_url import password_of

    workspace = session.load()
    seen = _seen(session) if session.places.keeper_alive() else {}
    edited = _edited(session, workspace, seen)
    found = []
    for name in sorted({*workspace.servers, *seen}):
        declared, view = workspace.servers.get(name), seen.get(name)
        kind = declared.type or "image" if declared else view.store if view else ""
        replicas = view.replicas if view else ()
        sizes = [one.memory_bytes for one in replicas if one.memory_bytes is not None]
        found.append(
            StoreOutput(
                name=name,
                type=kind,
                state=view.state if view else "absent",
                release=view.release if view else "",
                reason=view.reason if view else "",
                since_wall=view.since_wall if view else 0.0,
                memory_bytes=sum(sizes) if sizes else None,
                declared=declared is not None,
                edited=name in edited,
                used_by=tuple(users(workspace, name)),
                secret=password_of(name),
            )
        )
    return found


def _made_anew(workspace: WorkspaceSpec, name: str) -> str:
    """What becomes of a removed store that the files still name; "" when none does."""
    if name not in workspace.servers:
        return ""
    using = users(workspace, name)
    by = f" (of {', '.join(using)})" if using else ""
    return f"; the files still name it{by}: the next `atoll up` makes a new, empty one"


def _seen(session: Session) -> Mapping[str, ServiceView]:
    return {one.name: one for one in session.client.status().services if one.store}


def _edited(session: Session, workspace: WorkspaceSpec, seen: Mapping[str, ServiceView]) -> set[str]:
    """Those that run as something else than their files say."""
    from atoll.model.wire import UpRequest

    running = [name for name in workspace.servers if name in seen and seen[name].state != "down"]
    drafts = drafts_of(session, workspace, running)
    if not drafts.ready:
        return set()
    plans = session.client.plan(UpRequest(drafts=tuple(drafts.ready.values())))
    return {one.service for one in plans if any("changed" in step for step in one.steps)}


def _one(session: Session, name: str, found: list[StoreOutput]) -> StoreOutput:
    del session
    known = {one.name: one for one in found}
    if name not in known:
        raise _unknown(name, known)
    return known[name]


def _unknown(name: str, known: Mapping[str, object]) -> Failed:
    from atoll.model.suggest import did_you_mean

    fix = did_you_mean(name, list(known)) or "`atoll store list` shows those there are"
    return Failed(
        f"there is no store '{name}'", "Atoll runs none of that name", fix, kind="NotFound", id="unknown-store"
    )


def _running_users(session: Session, name: str) -> list[str]:
    """Services of the files that use it and are not down; the daemon knows those of releases, too."""
    using = users(session.load(), name)
    return [one.name for one in session.client.status().services if one.name in using and one.state != "down"]


def _wait(session: Session, name: str) -> None:
    deadline = time.monotonic() + _STOPPED_WITHIN_S
    while (view := _seen(session).get(name)) is not None and view.replicas:
        if time.monotonic() > deadline:
            raise Failed(
                f"{name} is still being stopped",
                f"it did not end within {_STOPPED_WITHIN_S:g} s; nothing was removed",
                f"`atoll logs {name}`, then try again",
                kind="Conflict",
                exit_code=CONFLICT,
                id="store-in-use",
            )
        time.sleep(_LOOK_S)
