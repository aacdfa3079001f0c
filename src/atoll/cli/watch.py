"""A page that is drawn anew each second on a terminal, until Ctrl-C. `status --watch` and `top` use it.

It outlives a daemon that is away: the page stays and says so. It follows the window's size at once.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from atoll.cli.failed import Failed
from atoll.cli.output import console, duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

    from atoll.cli.client import Client
    from atoll.cli.session import Session

_View = TypeVar("_View")
WATCH_S = 1.0
LOOK_S = 0.1  # for a new size of the window
ANSWER_S = 2.0  # a page that stands still says so


def watch(
    session: Session, fetch: Callable[[Client], _View], page: Callable[[_View, int, str], RenderableType]
) -> None:
    """For ever. `page` draws what `fetch` got, the terminal's height, and a sentence about what is wrong ("" is nothing).

    Raises Failed when there is nothing to show to begin with.
    """
    from rich.live import Live

    view = fetch(session.client)  # an environment that does not run is an error, as without watching
    client = session.client_within(ANSWER_S)
    out = console()
    silent_since, trouble = 0.0, ""
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            live.update(page(view, out.height, trouble), refresh=True)
            _pause(out)
            try:
                view, silent_since, trouble = fetch(client), 0.0, ""
            except Failed as exc:
                silent_since = silent_since or time.monotonic()
                trouble = f"{exc.what}, for {duration(time.monotonic() - silent_since)}; the page is as it was"


def _pause(out: Console) -> None:
    """A second, or until the window has another size."""
    size, until = out.size, time.monotonic() + WATCH_S
    while time.monotonic() < until and out.size == size:
        time.sleep(LOOK_S)
