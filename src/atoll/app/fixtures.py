"""What the keeper of an environment keeps running: the proxy and the daemon, the same whoever starts them; and how a newer
Atoll takes their place while services and traffic go on.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from atoll import __version__
from atoll.keeper.client import HOME, KeeperClient, KeeperError
from atoll.model.version import newer
from atoll.proxy import PARENT_S, Sockets, let_take_over, stamp, terms, took_over

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from atoll.keeper.client import Message
    from atoll.proxy import User

    Say = Callable[[str], None]


class Proxy(NamedTuple):
    """How the proxy is run: its words; its own user on a machine that serves, whose sockets it has; and whether it is root's all
    the same, since that user cannot run it.
    """

    argv: Sequence[str]
    user: User | None = None
    by_root: bool = False


_TAKES_OVER_S = 60.0  # an Envoy gets its listeners within a second of the daemon's first answer


def running_newer(status: Message) -> str:
    """The version of a keeper or a daemon that is newer than this one: it must not be replaced; "" when there is none."""
    found = (str(status.get("version", "")), str(status["fixtures"].get("daemon", {}).get("stamp", "")))
    return next((version for version in found if newer(version, __version__)), "")


def renew_keeper(keeper: KeeperClient, say: Say) -> None:
    """Have the keeper run this program, when it is another; one that cannot goes on as it is, and that is told."""
    status = keeper.status()
    before = str(status.get("version") or "an older one")
    if (before, status.get("home")) == (__version__, HOME):
        return
    if before != __version__:
        say(f"upgrading the keeper from {before} to {__version__}; what it keeps goes on")
    try:
        keeper.renew()
    except KeeperError as exc:
        say(f"{exc.what}: {exc.why}; {exc.fix}")


def ensure_both(
    keeper: KeeperClient,
    state: Path,
    proxy: Proxy,
    daemon_env: Mapping[str, str],
    answers: Callable[[], None],
    say: Say,
) -> None:
    """Have both run, the daemon with these variables; what runs so already is left alone.

    `answers` waits until the daemon does. A proxy that is another than the one that runs takes over from it, with the
    daemon's help. Raises KeeperError, and what `answers` raises.
    """
    before, sockets = keeper.status()["fixtures"], Sockets(keeper.run_dir, proxy.user)
    if (running := (before.get("proxy") or {}).get("pid")) is None:
        _ensure_proxy(keeper, state, proxy)
    else:
        with suppress(OSError):  # it ended meanwhile; or its successor says why it cannot take over
            let_take_over(running, sockets)
    daemon = [sys.executable, "-P", "-m", "atoll.app.daemon", str(state), *([str(proxy.user)] if proxy.user else [])]
    old = str(before.get("daemon", {}).get("stamp", ""))
    if old not in {"", __version__}:
        say(f"upgrading the daemon from {old} to {__version__}")
    keeper.ensure("daemon", daemon, daemon_env, state / "logs" / "daemon.log", stamp=__version__)
    answers()
    _ensure_proxy(keeper, state, proxy)
    _settle_proxy(keeper, sockets, say)


def needs(argv: Sequence[str], sockets: Sockets) -> tuple[Path, ...]:
    """What a proxy with a user of its own must be able to read."""
    return Path(argv[argv.index("-c") + 1]), sockets.admin.parent


def _ensure_proxy(keeper: KeeperClient, state: Path, proxy: Proxy) -> None:
    sockets, user = Sockets(keeper.run_dir, proxy.user), None
    if proxy.user is not None and not proxy.by_root:
        reads = [str(path) for path in needs(proxy.argv, sockets)]
        user = {"uid": proxy.user.uid, "gid": proxy.user.gid, "confined": True, "reads": reads}
    keeper.ensure(
        "proxy",
        proxy.argv,
        {"PATH": os.defpath},
        state / "logs" / "proxy.log",
        stamp=stamp(proxy.argv),
        handover=terms(sockets),
        user=user,
    )


def _settle_proxy(keeper: KeeperClient, sockets: Sockets, say: Say) -> None:
    """Wait for a proxy that takes over, also when whoever had it begin did not."""
    now = keeper.status()["fixtures"]["proxy"]
    if now.get("settled", True) or now["pid"] is None:  # a keeper that could not be renewed knows no such thing
        return
    say(f"the proxy is being replaced by a newer one; open streams have {PARENT_S // 60} minutes to end")
    good = took_over(sockets.admin, now["pid"], _TAKES_OVER_S)
    keeper.settle("proxy", good=good)
    if not good:
        raise KeeperError(
            "the new proxy did not take over from the one that runs",
            f"{now['argv'][0]} did not serve within {_TAKES_OVER_S:g} s; the old one goes on",
            "logs/proxy.log of the environment's folder says why; docs/howto/upgrade.md has the ways out",
        )
