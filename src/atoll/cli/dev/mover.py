"""The loop of one service: an edit comes, it is built, it is moved; a newer edit takes the place of whatever is under way.

Started by `cli.dev.loop`, a thread each, so that no service delays another.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from atoll.cli.drafts import new_key
from atoll.cli.failed import UNREACHABLE, Failed, taken_over

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.cli.client import Client
    from atoll.model.environment import Dev
    from atoll.model.spec import ServiceSpec
    from atoll.model.state import Exit
    from atoll.model.wire import Draft
    from atoll.model.wire_operations import OperationView

AGAIN_S = 0.05  # between two looks whether a rollout that cannot be superseded has ended
LAST_LINES = 40  # of a replica that crashed
CLOSING_S = 20.0  # a build's processes get 1 s of grace; what is beyond is the kernel's


class Edit(NamedTuple):
    """What a service's files say now, what of it was edited, and when (monotonic)."""

    spec: ServiceSpec
    files: tuple[str, ...]
    at_s: float
    dev: Dev | None = None  # it runs in its own folder
    sources: bool = False  # nothing but these was edited: what is to run is the same
    beside: bool = False  # nothing of its own folder was edited, only what lies in the context that it shares

    def then(self, newer: Edit) -> Edit:
        """Both, as one."""
        files = tuple(dict.fromkeys((*self.files, *newer.files)))
        beside = self.beside and newer.beside
        return newer._replace(files=files, sources=self.sources and newer.sources, beside=beside)


class Shop(Protocol):
    """What movers share."""

    @property
    def client(self) -> Client:
        """The daemon."""
        ...

    def draft(self, edit: Edit, stop: threading.Event) -> Draft | None:
        """Build it; None when `stop` was set meanwhile. Raises the errors of builds."""
        ...

    def reload(self, edit: Edit) -> str:
        """Have the service, which runs in its own folder, take over an edit of its sources; the release that it is of.

        Raises Failed. "": it sees its files by itself.
        """
        ...

    def tidy(self) -> None:
        """Remove builds of edits that are history."""
        ...

    def serving(self, service: str) -> str:
        """The release that has the traffic; "" for none, or when nobody knows."""
        ...

    def tell(self, event: str, edit: Edit, **fields: Any) -> None:
        """Tell of what happened."""
        ...

    def fail(self, edit: Edit, failed: Failed, output: str) -> None:
        """Tell of a failure."""
        ...


class Mover:
    """One service; its thread begins at once. `edit` may be called by any thread."""

    def __init__(self, service: str, shop: Shop) -> None:
        self._shop = shop
        self._changed = threading.Condition()
        self._edit: Edit | None = None
        self._awaited = ""  # the operation whose end is waited for
        self._news: OperationView | Exception | None = None
        self._stop = threading.Event()
        self._closing = False
        self._broken = ""  # the id of what was wrong last
        self._last: Edit | None = None
        self._serving = ""  # the release that was told to be live; "" once it was told to have crashed
        self._thread = threading.Thread(target=self._run, name=f"dev {service}", daemon=True)
        self._thread.start()

    def edit(self, edit: Edit) -> None:
        """Its files say something else now."""
        with self._changed:
            self._edit = edit if self._edit is None else self._edit.then(edit)
            self._stop.set()
            self._changed.notify_all()

    def broken(self, edit: Edit, failed: Failed) -> None:
        """It failed before the first edit. For the thread that began it."""
        self._fail(edit, failed)

    def ended(self, edit: Edit, view: OperationView) -> None:
        """Its first deploy ended. For the thread that began it."""
        if not view.good:
            self._undone(edit, view)

    def serves(self, edit: Edit, release: str) -> None:
        """It is live already. For the thread that began it."""
        self._last, self._serving = edit, release

    def crashed(self, release: str, replica: str, how: Exit) -> None:
        """A replica died that had been ready: nobody watches a quick release any more. Any thread."""
        if release != self._serving or self._last is None:
            return
        self._serving = ""
        try:
            lines = self._shop.client.logs(
                [self._last.spec.name], replica=replica, tail=LAST_LINES, follow=False, since_wall=0.0
            )
            output = "\n".join(line.text for line, _ in lines)
        except Failed:
            output = ""
        failed = Failed(f"{release} was live, then crashed: {how.text}", id=how.id, kind="Crashed", exit_code=3)
        self._broken = failed.id
        self._shop.fail(self._last, failed, output)

    def close(self) -> None:
        """Give up what is under way here; what the daemon does goes on."""
        with self._changed:
            self._closing = True
            self._stop.set()
            self._changed.notify_all()

    def join(self, within_s: float) -> None:
        """Wait for its thread, after `close`."""
        self._thread.join(within_s)

    def _run(self) -> None:
        while (edit := self._next()) is not None:
            try:
                done = self._move(edit)
            except Exception as exc:  # noqa: BLE001  a bug in one edit's way must not end the service's loop
                self._fail(edit, exc)
                continue
            if not done:
                with self._changed:  # its files are part of the newer edit
                    self._edit = edit if self._edit is None else edit.then(self._edit)

    def _next(self) -> Edit | None:
        with self._changed:
            self._changed.wait_for(lambda: self._edit is not None or self._closing)
            if self._closing:
                return None
            edit, self._edit = self._edit, None
            self._stop.clear()
            return edit

    def _move(self, edit: Edit) -> bool:
        """Build it, let it take all traffic, tell. False when a newer edit came meanwhile."""
        if edit.dev is not None and edit.sources and self._broken in {"", "reload-failed"}:
            if release := self._shop.reload(edit):
                self._well("reloaded", edit, release)
            return True
        draft = self._shop.draft(edit, self._stop)
        if draft is None or (operation := self._begin(draft)) is None:
            return False
        view = self._followed(operation)
        if view is None:
            return False
        if not view.good:
            self._undone(edit, view)
        else:
            self._well("unchanged" if view.phase == "unchanged" else "live", edit, view.release)
            self._shop.tidy()
        return True

    def _begin(self, draft: Draft) -> OperationView | None:
        """A quick deploy; one that can no longer be superseded is waited for."""
        from atoll.model.state import Author
        from atoll.model.wire import DeployRequest

        request = DeployRequest(
            spec=draft.spec, artifact=draft.artifact, author=draft.author or Author(), key=new_key(), quick=True
        )
        while not self._stop.is_set():
            try:
                return self._shop.client.deploy(request)
            except Failed as exc:
                if exc.id != "already-deploying":
                    raise
            self._stop.wait(AGAIN_S)
        return None

    def _followed(self, operation: OperationView) -> OperationView | None:
        """Its end; None when a newer edit came."""
        if operation.ended:
            return operation
        with self._changed:
            self._awaited, self._news = operation.id, None
        threading.Thread(target=self._watch, args=(operation.id,), daemon=True).start()
        with self._changed:
            self._changed.wait_for(lambda: self._news is not None or self._stop.is_set())
            news, self._awaited = self._news, ""
        if isinstance(news, Exception):
            raise news
        return news

    def _watch(self, operation: str) -> None:
        news: OperationView | Exception = Failed(
            "the daemon no longer reports on this deploy", f"operation {operation}", "look with `atoll status`",
            id="daemon-unreachable", kind="Lost", exit_code=UNREACHABLE,
        )  # fmt: skip
        try:
            for view in self._shop.client.watch(operation):
                if view.settled("live"):
                    news = view
                    break
        except Exception as exc:  # noqa: BLE001  a thread's error belongs to the loop, which raises it
            news = exc
        with self._changed:
            if self._awaited == operation:  # else it was superseded
                self._news = news
                self._changed.notify_all()

    def _well(self, event: str, edit: Edit, release: str) -> None:
        seconds = None if event == "unchanged" else round(time.monotonic() - edit.at_s, 3)
        self._last, self._serving = edit, release
        self._shop.tell(event, edit, release=release, seconds=seconds, again=bool(self._broken))
        self._broken = ""

    def _undone(self, edit: Edit, view: OperationView) -> None:
        from typing import cast

        receipt = view.receipt
        reason, page = (receipt.reason, receipt.reason_id) if receipt else (view.text, "")
        failed = Failed(
            reason or f"{view.service} {view.release} was undone", id=cast("Any", page or "not-ready-in-time"),
            kind="DeployFailed", exit_code=3,
        )  # fmt: skip
        self._broken = failed.id
        self._shop.fail(edit, failed, (receipt.output if receipt else "") or view.output)

    def _fail(self, edit: Edit, exc: Exception) -> None:
        failed = taken_over(exc)
        if failed is None:
            import traceback

            text = "".join(traceback.format_exception(exc))
            failed = Failed("atoll made a mistake", text, "please report it", kind="Bug", exit_code=1, id="bug")
        self._broken = failed.id
        self._shop.fail(edit, failed, failed.why)


def closed(movers: Sequence[Mover]) -> None:
    """End them all; builds that run are ended with everything that they started."""
    for mover in movers:
        mover.close()
    until = time.monotonic() + CLOSING_S
    for mover in movers:
        mover.join(max(0.0, until - time.monotonic()))
