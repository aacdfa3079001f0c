"""`atoll cache`, `atoll cache gc | verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from atoll.cli.drafts import new_key
from atoll.cli.output import age, console, counted, duration, print_json, size
from atoll.cli.plans import plan_option
from atoll.cli.session import Session, common_options, json_option, takes_session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atoll.model.cache import ArtifactsSwept, CacheView
    from atoll.model.environment import WorkspaceSpec

DAMAGED = 1


@click.group(invoke_without_command=True)
@click.option(
    "--namespace",
    metavar="NAME",
    default="",
    help="Whose: trusted, or a pull request's. Default: $ATOLL_NAMESPACE, else what the CI system says.",
)
@common_options
@json_option
@takes_session
def command(session: Session, namespace: str) -> None:
    """Show what is in the cache of results, and what it was good for.

    What a build or a task made is found again by its key: on this machine, and in the remote cache that `[cache]` of
    atoll.toml or ATOLL_CACHE names. A run believes trusted results and those of its own namespace, and writes only its
    own.

    Example:
      atoll cache
      atoll cache gc --plan
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    view = session.hooks.cache(session.places, session.load(), namespace)
    if session.json:
        print_json(view)
        return
    out = console()
    for label, text in _facts(view):
        out.print(f"[dim]{label:<10}[/] ", end="")
        out.print(text, markup=False)


@command.command("gc")
@plan_option
@common_options
@json_option
@takes_session
def gc(session: Session, plan: bool) -> None:
    """Remove what nobody used for long, and the oldest of what is too much.

    `max_age` and `max_size` of `[cache]` say how long and how much, for the cache and once more for the artifacts: those lie
    in folders, as they run, and what a release of any environment needs stays. Builds do the same at their end, when
    nobody else uses the cache; for artifacts once a day. Where the environment is on another machine, the artifacts there, too. What
    lies in a remote cache is never touched: give a bucket a lifecycle rule.

    Example:
      atoll cache gc
    """
    workspace = session.load()
    swept = session.hooks.collect_cache(session.places, workspace, plan=plan)
    if session.places.machine:
        from msgspec.structs import replace

        swept = replace(swept, there=_swept_there(session, workspace, plan=plan))
    if session.json:
        print_json(swept)
        return
    done = "would be removed" if plan else "removed"
    session.say(f"{done}: {counted(swept.removed, 'result')}, {size(swept.freed_bytes)}")
    if swept.artifacts:
        session.say(f"{done}: {counted(swept.artifacts, 'artifact')}, {size(swept.artifacts_freed_bytes)}")
    session.say(f"left: {counted(swept.results, 'result')}, {size(swept.stored_bytes)}")
    if (there := swept.there) is not None:
        gone = f"{counted(there.removed, 'artifact')}, {size(there.freed_bytes)}"
        session.say(f"{done} on {session.places.machine}: {gone}; left: {size(there.left_bytes)}")


def _swept_there(session: Session, workspace: WorkspaceSpec, *, plan: bool) -> ArtifactsSwept:
    from atoll.model.wire_artifacts import SweepRequest
    from atoll.pipeline.provenance import author

    request = SweepRequest(
        max_age_s=workspace.cache.max_age_s,
        max_bytes=workspace.cache.max_bytes,
        plan=plan,
        author=author(session.root),
        key=new_key(),
    )
    return session.client.sweep_artifacts(request)


@command.command("verify")
@plan_option
@common_options
@json_option
@takes_session
def verify(session: Session, plan: bool) -> int:
    """Read all of the cache, and drop what is damaged.

    Nothing damaged is ever used: each content is checked while it is read. This finds it before somebody waits for it.

    Example:
      atoll cache verify
    """
    checked = session.hooks.verify_cache(session.places, plan=plan)
    if session.json:
        print_json(checked)
    else:
        for each in checked.damaged:
            session.warn(f"{'damaged' if plan else 'dropped'}: {each}")
        session.say(f"sound: {counted(checked.results, 'result')}, {counted(checked.contents, 'content')}")
    return DAMAGED if checked.damaged else 0


def _facts(view: CacheView) -> Iterator[tuple[str, str]]:
    named = ", ".join(f"{count} {name}" for name, count in view.by_namespace.items())
    yield "results", f"{view.results}" + (f" ({named})" if len(view.by_namespace) > 1 else "")
    if view.results:
        yield "", f"{size(view.size_bytes)} in {counted(view.contents, 'content')} of {size(view.stored_bytes)}"
        yield "last used", f"the oldest {age(view.oldest_use)} ago"
    limit = f"at most {size(view.max_bytes)}, unused for at most {duration(view.max_age_s)}"
    yield "kept", f"in {view.folder}, {limit}"
    yield "remote", view.remote or "none"
    yield "namespace", view.namespace
    asked = view.hits + view.misses
    if asked:
        share = f"{100 * view.hits / asked:.0f} % of {counted(asked, 'question')} in 30 days"
        far = f", {view.remote_hits} from the remote" if view.remote_hits else ""
        yield "hits", f"{share}{far}; {duration(view.saved_s)} saved"
