"""What completes at a shell's prompt: names from the workspace's files, and what only the daemon knows.

Shells ask at each Tab. So nothing heavy is imported, a daemon that does not answer at once is given up, and nothing is
ever said: `main.run` swallows whatever goes wrong here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from click.shell_completion import BashComplete, CompletionItem, FishComplete, ShellComplete, ZshComplete

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import click

    from atoll.cli.session import Session
    from atoll.workspace.names import Names

ASK_S = 0.3  # a prompt that hangs is worse than a name that is missing

Known = list[CompletionItem]


class Bash(BashComplete):
    """Bash takes `--env=pro` for three words (COMP_WORDBREAKS); click knows two of the shapes that this has."""

    def get_completion_args(self) -> tuple[list[str], str]:
        """The words before, and the one that is being typed."""
        args, incomplete = super().get_completion_args()
        return [word for word in args if word != "="], "" if incomplete == "=" else incomplete


class _WholeWord(ShellComplete):
    """These shells put an answer in the place of the whole word, `--env=` and all."""

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem]:
        """What click finds, with the option before it."""
        items = super().get_completions(args, incomplete)
        option, equals, _ = incomplete.partition("=")
        if not (equals and option.startswith("-")):
            return items
        return [CompletionItem(f"{option}={item.value}", item.type, item.help) for item in items]


class Zsh(_WholeWord, ZshComplete):
    """See _WholeWord."""


class Fish(_WholeWord, FishComplete):
    """See _WholeWord."""


SHELLS = (Bash, Zsh, Fish)


def services_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Services of the files, for commands that build them or start what is not running."""
    return _fitting(dict.fromkeys(_names(ctx).services, ""), incomplete, _named(ctx))


def tasks_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Services, and behind one and a dot its tasks."""
    names = _names(ctx)
    given: Any = ctx.params.get("named") or ()
    if "." not in incomplete:
        return _fitting(dict.fromkeys(names.services, ""), incomplete, given)
    return _fitting(dict.fromkeys((*names.tasks, *(f"{name}.build" for name in names.services)), ""), incomplete, given)


def kinds_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """What tasks are called."""
    return _fitting(dict.fromkeys(("build", *(task.partition(".")[2] for task in _names(ctx).tasks)), ""), incomplete)


def known_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Services of the files, and those that only the daemon knows; with the state of those that were deployed."""
    found: dict[str, str] = dict.fromkeys(_names(ctx).services, "")
    for view in _status(ctx):
        found[view["name"]] = f"{view.get('release', '')} {view['state']}".strip()
    return _fitting(found, incomplete, _named(ctx))


def releases_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Releases of the service that stands before, newest first."""
    for service in _named(ctx)[:1]:
        views = _asked(ctx, f"/v1/services/{quote(service, safe='')}/releases") or []
        return _fitting({view["release"]: _about(view) for view in views}, incomplete, sort=False)
    return []


def jobs_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Jobs of the service that stands before."""
    for service in _named(ctx)[:1]:
        views = _asked(ctx, f"/v1/jobs?service={quote(service, safe='')}") or []
        return _fitting({view["job"]: view["schedule"] for view in views}, incomplete)
    return []


def replicas_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Replicas of the services that stand before; of all without."""
    named = _named(ctx)
    found = {
        replica["id"]: replica["phase"]
        for view in _status(ctx)
        if view["name"] in named or not named
        for replica in view.get("replicas", ())
    }
    return _fitting(found, incomplete)


def secrets_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Secrets that are stored, and those that the files ask for."""
    found = dict.fromkeys(_names(ctx).secrets, "not set")
    for view in _asked(ctx, "/v1/secrets") or []:
        found[view["name"]] = f"version {view['version']}"
    return _fitting(found, incomplete)


def environments_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Environments that atoll.toml declares."""
    return _fitting(dict.fromkeys(_names(ctx).environments, ""), incomplete)


def outputs_to_complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Known:
    """What `schema --output` knows."""
    from atoll.cli.outputs import OUTPUTS

    return _fitting({name: output.text for name, output in OUTPUTS.items()}, incomplete)


def commands_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> Known:
    """Commands; behind one that has more of them, those."""
    from atoll.cli.group import COMMANDS

    given: Any = ctx.params.get("names") or ()
    if not given:
        return _fitting(COMMANDS, incomplete, sort=False)
    root = ctx.find_root()
    parent: Any = root.command.get_command(root, given[0])  # type: ignore[attr-defined]
    return _fitting(dict.fromkeys(getattr(parent, "commands", {}), ""), incomplete)


def files_to_complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> Known:
    """Whatever the shell itself completes."""
    return [CompletionItem(incomplete, type="file")]


def _fitting(found: Mapping[str, str], incomplete: str, but: Iterable[str] = (), *, sort: bool = True) -> Known:
    order = sorted(found) if sort else list(found)
    return [
        CompletionItem(name, help=found[name] or None)
        for name in order
        if name.startswith(incomplete) and name not in but
    ]


def _about(release: Mapping[str, Any]) -> str:
    note, commit = release.get("note"), release.get("author", {}).get("commit", "")[:10]
    return " ".join(filter(None, (release["state"], commit, note)))


def _named(ctx: click.Context) -> list[str]:
    """The arguments before. Behind an option whose value is being typed click leaves them unparsed, in `args`."""
    given: Any = ctx.params.get("services") or ctx.params.get("service") or ctx.args
    return [given] if isinstance(given, str) else list(given)


def _session(ctx: click.Context) -> Session:
    session: Session = ctx.find_root().obj
    return session


def _names(ctx: click.Context) -> Names:
    session = _session(ctx)
    found: Names = session.hooks.names(session.root)
    return found


def _status(ctx: click.Context) -> Iterator[Any]:
    yield from (_asked(ctx, "/v1/status") or {}).get("services", ())


def _asked(ctx: click.Context, path: str) -> Any:
    """The daemon's answer; None when there is none at once."""
    import json

    from atoll.cli.http import Line, Silent

    line = Line(_session(ctx).places.socket, lambda _: False, wait_s=0.0)
    try:
        answer = line.request("GET", path, answer_s=ASK_S)
        return json.loads(answer.body) if answer.status == 200 else None
    except (Silent, OSError, ValueError):
        return None
