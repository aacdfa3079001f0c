"""An environment on another machine: where a command finds its daemon, and whether to go on waiting for it.

The files, builds and records are of this machine's workspace as ever; what runs is not. `AppHooks.places` makes it.
"""

from __future__ import annotations

import time
from functools import cached_property
from hashlib import blake2s
from pathlib import Path
from typing import TYPE_CHECKING

from atoll.app.hooks import EnvironmentPlaces
from atoll.model.host import parse
from atoll.workspace.names import told
from atoll.workspace.places import link_folder, served_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.cli.failed import Failed
    from atoll.cli.ssh import Ssh
    from atoll.model.host import Host
    from atoll.workspace.places import Places

_USUAL = "/run/atoll"  # where root has its sockets on that machine, whatever ATOLL_RUN says on this one
LOST_S = 600.0  # a lid that was closed, a train in a tunnel: what was begun over there goes on meanwhile
AGAIN_S = 1.0
_ABSENT_S = 5.0  # a daemon that starts anew is away for a second or two
_BOOT_S = 90.0  # a machine that boots lets ssh in before its environments are up; their units have so long
_GLANCE_S = 5.0  # a page that stands still for longer looks broken
_APART_S = 5.0  # two refusals with so much between them belong to two outages


def remote_places(at: Places, given: str) -> RemotePlaces | None:
    """Those of an environment that `given` (a URL), else atoll.toml puts on another machine; None for one of this machine.

    Raises UserError for a URL that is none, and for `local`, which is here by its name; InvalidWorkspace for a file like that.
    """
    from atoll.model.errors import UserError

    if given and at.environment == "local":
        why = f"the host {given} was named, and no environment; 'local' is this machine, always"
        raise UserError("which environment is meant?", why, "name it with --env, or ATOLL_ENV", id="usage")
    said = told(at.root, at.environment)
    url = given or (said.host if said else "")
    try:
        if said is not None and not url:
            return None
        host = parse(url)
    except ValueError as exc:
        if given:
            fix = "such as ssh://deploy@vm1, or unix:///run/atoll/shop.production.sock"
            raise UserError(f"{given} is no host: it {exc}", "", fix, id="usage") from exc
        said = None
    if said is None:  # with the line and all else that is wrong
        from atoll.workspace.loader import load

        load(at.root, at.environment)
        return None
    return RemotePlaces(at, said.workspace, host)


class RemotePlaces(EnvironmentPlaces):
    """Where one environment is reached by `host`. `socket` is where the way begins on this machine, open or not."""

    def __init__(self, places: Places, workspace: str, host: Host) -> None:
        self.host = host
        self.far = host.path or f"{_USUAL}/{served_name(workspace)}.{places.environment}.sock"
        self.machine, self.elsewhere = host.place, host.scheme == "ssh"
        self._away = _Away()

        if host.scheme == "ssh":
            self._folder = link_folder(f"ssh {host.place}")
            super().__init__(places, self._folder / f"{blake2s(self.far.encode(), digest_size=4).hexdigest()}.sock")
        else:
            super().__init__(places, Path(self.far))

    @cached_property
    def _ssh(self) -> Ssh:
        from atoll.cli.ssh import Ssh

        return Ssh(self.host, self.far, self._folder, self.socket)

    def keeper_alive(self) -> bool:
        """Whether the environment runs there. Raises Failed when that cannot be told."""
        from atoll.cli.http import Line, Silent

        try:
            Line(self.socket, self.will_answer).request("GET", "/v1/health")
        except Silent:
            return False
        return True  # also where it turns us away: that is its daemon's to say

    def will_answer(self, met: bool = False) -> bool:
        """Bring the way back, as often as it takes. Raises Failed when there is none, or nobody at its end."""
        if self.host.scheme == "ssh" and not self._ssh.listens():
            if met:
                self._reopen()
            else:
                self._ssh.open(ask=True)
        elif (trouble := self._trouble()) is not None:
            away_s = self._away.since_s()
            if away_s > (_BOOT_S if met else _ABSENT_S):
                raise trouble()
            if away_s > _ABSENT_S:
                time.sleep(AGAIN_S)  # here, where it is not counted as the daemon's
        return True

    def log_in_anew(self) -> bool:
        """Groups count from the login on, and the connection may be older than the group that somebody was just given.

        False when this command has logged in itself: nothing would be another then.
        """
        if self.host.scheme != "ssh" or self._ssh.logged_in:
            return False
        self._ssh.log_in_anew(ask=True)
        return True

    def answers_now(self, met: bool = False) -> bool:  # noqa: ARG002  one look is one look
        """One attempt, without questions and without patience."""
        if self.host.scheme == "ssh" and not self._ssh.listens():
            self._ssh.open(ask=False, within_s=_GLANCE_S)
        return True

    def _reopen(self) -> None:
        """The connection is gone in the middle of a command: a person sees what goes on, and nothing over there ends."""
        import click

        from atoll.cli.ssh import Down

        deadline = time.monotonic() + LOST_S
        text = f"the connection to {self.host.place} is lost; what was begun there goes on; trying again"
        click.echo(text, err=True)
        while True:
            try:
                self._ssh.open(ask=False)
                break
            except Down:
                if time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_S)
        click.echo(f"connected to {self.host.place} again", err=True)

    def _trouble(self) -> Callable[[], Failed] | None:
        """What to say of a way that is open and leads to nobody."""
        if self.host.scheme == "unix":
            return self._nobody_here
        return self._ssh.closed if self._ssh.refused() else None

    def _nobody_here(self) -> Failed:
        from atoll.cli.failed import UNREACHABLE, Failed

        what = f"no daemon answers at {self.far}"
        why = "nobody listens there" if self.socket.exists() else "there is no such socket"
        fix = "`systemctl status 'atoll-*'` shows what runs here"
        return Failed(what, why, fix, id="no-daemon-there", kind="Unreachable", exit_code=UNREACHABLE)


class _Away:
    """How long in a row nobody was there."""

    def __init__(self) -> None:
        self._first = self._last = float("-inf")

    def since_s(self) -> float:
        now = time.monotonic()
        if now - self._last > _APART_S:
            self._first = now
        self._last = now
        return now - self._first
