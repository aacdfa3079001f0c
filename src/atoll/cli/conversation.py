"""How a command talks to a daemon, whatever it asks: requests out, typed answers in, and every failure as Failed.

`client` says what can be asked; `http` carries it. msgspec is imported only when a body is made or an answer looked into.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from atoll import __version__
from atoll.cli.failed import UNREACHABLE, Failed
from atoll.cli.http import Line, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNKNOWN_ADDRESS = "NoSuchAddress"  # the kind of the error of a daemon that is asked what it does not know

_T = TypeVar("_T")


class Conversation:
    """With one environment's daemon. Every method raises Failed: what the daemon said, or that nobody answers."""

    def __init__(
        self,
        line: Line,
        environment: str,
        mistyped: Callable[[], Failed | None],
        differs: Callable[[str], None],
    ) -> None:
        """`mistyped` says that there is no such environment, when nothing of it runs; `differs` is told, once, of which
        other version the daemon is.
        """
        self._line, self._environment, self._mistyped, self._differs = line, environment, mistyped, differs
        self._told = False

    def raw(self, path: str) -> bytes:
        """The JSON of a GET, as it came."""
        return self._send("GET", path)

    def get(self, path: str, kind: type[_T]) -> _T:
        """Read."""
        return self._decode(self._send("GET", path), kind)

    def post(self, path: str, request: Any, kind: type[_T], *, answer_s: float = 0.0) -> _T:
        """Ask for a change. `answer_s`: how long that may take, where it is more than usual."""
        return self._change("POST", path, request, kind, answer_s)

    def put(self, path: str, request: Any, kind: type[_T], *, answer_s: float = 0.0) -> _T:
        """Set something; else as `post`."""
        return self._change("PUT", path, request, kind, answer_s)

    def upload(self, path: str, body: bytes, kind: type[_T], answer_s: float) -> _T:
        """PUT bytes as they are."""
        return self._decode(self._send("PUT", path, body, answer_s=answer_s, kind="application/octet-stream"), kind)

    def delete(self, path: str) -> None:
        """Remove something."""
        self._send("DELETE", path)

    def download(
        self, path: str, request: Any, write: Callable[[bytes], object], first_byte_s: float, what: str
    ) -> None:
        """POST; the answer's bytes are given to `write` as they come. `what` they are is for the error's text."""
        import msgspec

        try:
            answer = self._line.download(path, msgspec.json.encode(request), write, first_byte_s)
        except Silent as exc:
            raise self._silent(exc) from exc
        except ConnectionError as exc:
            raise _unreachable(
                f"{what} was broken off",
                str(exc),
                "`atoll events` tells why, where the daemon knows; then make another one",
            ) from exc
        if answer.status >= 400:
            raise self._refused(answer.body)

    def stream(self, target: str | Callable[[bool], str], kind: type[_T]) -> Iterator[tuple[_T, bytes]]:
        """Events, each with its JSON. A target that is a function is told whether it is asked again, after the daemon was away."""
        try:
            for event in self._line.events(target if callable(target) else lambda _: target):
                self._look()
                if event.name == "error":
                    raise self._refused(event.data)
                yield self._decode(event.data, kind), event.data
        except Silent as exc:
            raise self._silent(exc) from exc

    def _change(self, method: str, path: str, request: Any, kind: type[_T], answer_s: float) -> _T:
        import msgspec

        body = msgspec.json.encode(request)
        return self._decode(self._send(method, path, body, getattr(request, "key", ""), answer_s), kind)

    def _send(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        key: str = "",
        answer_s: float = 0.0,
        kind: str = "application/json",
    ) -> bytes:
        try:
            answer = self._line.request(method, path, body, key=key, answer_s=answer_s, kind=kind)
        except Silent as exc:
            raise self._silent(exc) from exc
        except ConnectionError as exc:
            raise _unreachable(
                "the daemon went away before it answered",
                f"{exc}; whether it did what was asked is not known",
                "look with `atoll status` or `atoll events`, then try again",
            ) from exc
        self._look()
        if answer.status >= 400:
            raise self._refused(answer.body)
        return answer.body

    def _refused(self, body: bytes) -> Failed:
        """What the daemon said; in our words where it has not the address that is asked, since it is of another version."""
        failed = _refusal(body)
        if failed.kind == UNKNOWN_ADDRESS and self._line.version not in {"", __version__}:
            from atoll.model.version import difference

            failed.why = f"{difference(__version__, self._line.version)} ({failed.what})"
            failed.what = f"the daemon of '{self._environment}' cannot do what this command asks of it"
        return failed

    def _look(self) -> None:
        """Tell, once, that the daemon is of another version."""
        if self._line.version not in {"", __version__} and not self._told:
            self._told = True
            self._differs(self._line.version)

    def _decode(self, data: bytes, kind: type[_T]) -> _T:
        import msgspec

        try:
            return msgspec.json.decode(data, type=kind)
        except msgspec.MsgspecError as exc:
            from atoll.model.version import advice, difference

            daemon = self._line.version or "of an unknown version"
            raise Failed(
                "the daemon's answer is not understood",
                f"{exc}; {difference(__version__, daemon)}",
                advice(__version__, daemon),
                kind="VersionMismatch",
                exit_code=UNREACHABLE,
                id="versions-differ",
            ) from exc

    def _silent(self, exc: Silent) -> Failed:
        if not exc.why and (failed := self._mistyped()) is not None:
            return failed
        if not exc.why:
            return Failed(
                f"the environment '{self._environment}' is not running",
                "it was never started, or was stopped with `atoll down`",
                "start it with `atoll up`",
                id="environment-not-running",
                kind="Unreachable",
                exit_code=UNREACHABLE,
            )
        return _unreachable(
            f"the daemon of '{self._environment}' does not answer",
            exc.why,
            "see `atoll doctor`; services go on running meanwhile",
        )


def _unreachable(what: str, why: str, fix: str) -> Failed:
    return Failed(what, why, fix, id="daemon-unreachable", kind="Unreachable", exit_code=UNREACHABLE)


def _refusal(body: bytes) -> Failed:
    """What the daemon said, as the command's own error."""
    try:
        view = json.loads(body)
        return Failed(
            str(view["what"]),
            str(view.get("why", "")),
            str(view.get("fix", "")),
            id=view["id"],
            kind=str(view.get("kind", "Error")),
            exit_code=int(view.get("exit_code", 1)),
        )
    except (ValueError, KeyError, TypeError):
        text = body[:500].decode(errors="replace")
        return Failed(
            "the daemon's answer is not understood",
            text,
            "see `atoll doctor`",
            kind="Bug",
            exit_code=1,
            id="versions-differ",
        )
