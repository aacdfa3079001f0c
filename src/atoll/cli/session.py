"""What one call of the command line knows: the workspace, the environment, how to print; and the options that say so.

Every command takes a `Session` (by `@takes_session`). `main` makes it.
"""

from __future__ import annotations

import functools
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import click

from atoll.cli.failed import Failed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from atoll.cli.client import Client
    from atoll.cli.hooks import Hooks, Places
    from atoll.cli.http import Line
    from atoll.model.environment import WorkspaceSpec

_Command = TypeVar("_Command", bound="Callable[..., Any]")


class Session:
    """One call of `atoll`."""

    def __init__(self, hooks: Hooks[Any]) -> None:
        self.hooks = hooks
        self.workspace_option: str | None = None
        self.environment = os.environ.get("ATOLL_ENV") or "local"
        self.host_option = ""
        self.served = ""  # the workspace whose environment of this machine is meant; "" is that of the files
        self.json = False
        self.quiet = False

    @cached_property
    def root(self) -> Path:
        """The workspace's folder: --workspace, ATOLL_WORKSPACE, else the nearest one above that has an atoll.toml."""
        from pathlib import Path  # 3 ms that `--help` need not pay

        from atoll.workspace.places import workspace_above

        given = self.workspace_option or os.environ.get("ATOLL_WORKSPACE")
        start = Path(given or ".").resolve()
        if given:
            start = start.parent if start.name == "atoll.toml" else start
        found = workspace_above(start)
        if found is not None and (found == start or not given):
            return found
        where = f"in {start}" if given else f"in {start} or above"
        raise Failed(
            f"there is no atoll.toml {where}",
            "it marks the workspace that every command works on",
            "go into the workspace, or name it with --workspace; `atoll init` makes one of a repository",
            id="no-workspace",
        )

    @cached_property
    def places(self) -> Places:
        """Where this environment keeps its things."""
        if self.served:
            served: Places = self.hooks.served(self.served, self.environment)
            return served
        found: Places = self.hooks.places(self.root, self.environment, self.host)
        return found

    @property
    def host(self) -> str:
        """The URL that was named instead of what the file says; "" is none."""
        return self.host_option or os.environ.get("ATOLL_HOST", "")

    def must_be_here(self, what: str) -> None:
        """Raise Failed where the environment is another machine's; `what` says what does not work then."""
        if self.places.machine:
            raise Failed(
                f"{what} does not work on another machine",
                f"'{self.environment}' runs on {self.places.machine}",
                "use `local`, or do it there",
                id="not-from-here",
                kind="Refused",
                exit_code=4,
            )

    @cached_property
    def client(self) -> Client:
        """The daemon's API. The way there is begun at once: what a command imports meanwhile takes as long."""
        return self._client(self.places.line, self._differs)

    def client_of(self, places: Places) -> Client:
        """The same of another environment than the one that is meant, which no files declare."""
        from atoll.cli.client import Client

        return Client(places.line, places.environment, lambda: None, self._differs)

    def client_within(self, answer_s: float) -> Client:
        """The same for who looks again and again: it does not wait for a daemon that is away, nor long for an answer."""
        from atoll.cli.http import Line

        return self._client(Line(self.places.socket, self.places.answers_now, 0.0, answer_s))

    def _client(self, line: Line, differs: Callable[[str], None] = lambda _: None) -> Client:
        from atoll.cli.client import Client

        return Client(line, self.environment, self.mistyped, differs)

    def _differs(self, version: str) -> None:
        from atoll import __version__
        from atoll.model.version import advice, difference

        what = advice(__version__, version, self.places.machine)
        self.say(f"note: {difference(__version__, version)}; {self.here(what)}")

    def mistyped(self) -> Failed | None:
        """That there is no such environment; None when atoll.toml declares it. One that runs may be declared no more."""
        from atoll.model.suggest import did_you_mean

        known = self.hooks.names(self.root).environments
        if self.environment in known:
            return None
        what, why = f"there is no environment '{self.environment}'", "atoll.toml declares none of that name"
        return Failed(what, why, did_you_mean(self.environment, known), id="unknown-environment", kind="NotFound")

    def here(self, text: str) -> str:
        """Commands in a text, such that they work on this environment: the daemon and the files know no --env.

        One with --served is typed on the machine that serves, and names the environment itself.
        """
        named = self.environment != (os.environ.get("ATOLL_ENV") or "local")
        options = (f"--env {self.environment} " if named else "") + (
            f"--host {self.host_option} " if self.host_option else ""
        )
        if not options:
            return text
        import re

        return re.sub(r"\batoll (?=[a-z])(?!\w+ --served)", f"atoll {options}", text)

    def load(self) -> WorkspaceSpec:
        """The workspace's files. Raises InvalidWorkspace."""
        workspace: WorkspaceSpec = self.hooks.load(self.root, self.environment)
        return workspace

    @property
    def lively(self) -> bool:
        """Whether stderr is a terminal on which lines can be drawn again."""
        return sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def say(self, text: str) -> None:
        """A line of progress: on stderr, not with --quiet."""
        if not self.quiet:
            click.echo(text, err=True)

    def warn(self, text: str) -> None:
        """Something that a person must know although all went well: on stderr, always."""
        click.echo(text, err=True)


def _store(attribute: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def callback(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value and isinstance(
            session := ctx.find_root().obj, Session
        ):  # an option of the group holds for the command
            setattr(session, attribute, value)

    return callback


def common_options(function: _Command) -> _Command:
    """--workspace, --env, --host and --quiet, before or after the command's name."""
    decorators = (
        click.option(
            "-w", "--workspace", metavar="PATH", type=click.Path(), expose_value=False, callback=_store("workspace_option"),
            help="The workspace's folder. Default: $ATOLL_WORKSPACE, else the nearest above with an atoll.toml.",
        ),
        click.option(
            "-e", "--env", metavar="NAME", expose_value=False, callback=_store("environment"),
            shell_complete=completing("environments"),
            help="The environment. Default: $ATOLL_ENV, else local.",
        ),
        click.option(
            "--host", metavar="URL", expose_value=False, callback=_store("host_option"),
            help="Where that environment's daemon is: ssh://[USER@]MACHINE[:PORT][/PATH] or unix:///PATH. Default: $ATOLL_HOST, else "
            "as atoll.toml says.",
        ),
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=_store("quiet"), help="No progress on stderr.",
        ),
    )  # fmt: skip
    for decorator in reversed(decorators):
        function = decorator(function)
    return function


def json_option(function: _Command) -> _Command:
    """--json: one document (or one a line, for streams) on stdout and nothing else."""
    return click.option(
        "--json", is_flag=True, expose_value=False, callback=_store("json"), help="Machine-readable output on stdout."
    )(function)


def takes_session(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Give the command its Session as first argument."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> int | None:
        return function(click.get_current_context().find_root().obj, *args, **kwargs)

    return call


def completing(what: str) -> Callable[[click.Context, click.Parameter, str], Any]:
    """`complete.WHAT_to_complete`, imported when a shell asks."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
        from atoll.cli import complete

        return getattr(complete, f"{what}_to_complete")(ctx, param, incomplete)

    return complete


def service_argument(*, known: bool = False, **attributes: Any) -> Callable[[_Command], _Command]:
    """A SERVICE argument (or SERVICES, with nargs). `known`: those that only the daemon knows complete, too."""
    many = attributes.get("nargs") == -1
    return click.argument(
        "services" if many else "service",
        metavar=("SERVICE..." if attributes.get("required") else "[SERVICE]...") if many else "SERVICE",
        shell_complete=completing("known" if known else "services"),
        **attributes,
    )
