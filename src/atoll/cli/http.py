"""HTTP/1.1 over a unix socket, with server-sent events, on sockets alone: a command must start fast.

`client` uses it. It waits for a daemon that its keeper restarts; a request that changes something carries an
idempotency key, so that sending it again is safe. Such requests share connections: one that is made anew costs a round trip
to another machine.
"""

from __future__ import annotations

import json
import socket
import time
import weakref
from contextlib import closing, suppress
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from atoll import __version__
from atoll.model.version import HEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

_STARTING = {"NotReady", "Fenced", ""}  # what a daemon says that is coming or going; "" is nothing that one says
WAIT_S = 10.0  # a keeper restarts its daemon within a second or two; a starting one answers 503 meanwhile
ANSWER_S = 30.0  # no endpoint takes longer without saying so
CONNECT_S = 5.0  # to a socket of this machine
_VERSION = HEADER.lower()
_FORBIDDEN = 403
SILENCE_S = 45.0  # streams beat every 15 s


class Answer(NamedTuple):
    """What came back."""

    status: int
    body: bytes
    retry_after_s: float = 0.0
    version: str = ""  # of the Atoll that answered; one that does not say is very old


class ServerEvent(NamedTuple):
    """One server-sent event; `data` is JSON."""

    name: str
    id: str
    data: bytes


class Dropped(ConnectionError):
    """The line broke before the answer was whole."""


class Silent(Exception):
    """No daemon: nobody answers at the socket. `why` says what was tried."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Line:
    """A way to one daemon. `alive` says whether a daemon that does not answer will come back; it is told whether it did so before.
    `renew` is asked, once, when the daemon refuses: whether who asks may be another one from now on.
    """

    def __init__(
        self,
        path: Path,
        alive: Callable[[bool], bool],
        wait_s: float = WAIT_S,
        answer_s: float = ANSWER_S,
        renew: Callable[[], bool] | None = None,
    ) -> None:
        self._path, self._alive, self._wait_s, self._answer_s = str(path), alive, wait_s, answer_s
        self.version = ""  # of the daemon that answered last
        self._idle: list[_Connection] = []  # nothing is under way on them
        weakref.finalize(self, _close_all, self._idle)  # they end with the line, and are not left to the collector
        self._met = False
        self._renew = renew

    def prepare(self) -> None:
        """Connect ahead, without waiting for it: on its way to another machine while the command gets ready to ask."""
        with suppress(OSError):
            self._idle.append(_Connection(self._path))

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        *,
        key: str = "",
        answer_s: float = 0.0,
        kind: str = "application/json",
    ) -> Answer:
        """Send it, `body` being of `kind`, and wait for the answer. Raises Silent, and Dropped when it may have been heard
        and must not be repeated.
        """
        answer_s = answer_s or self._answer_s
        headers = {"Content-Type": kind} if body is not None else {}
        if key:
            headers["Idempotency-Key"] = key
        repeatable = method != "POST" or bool(key)
        patience = self._patience()
        while True:
            try:
                line, status, fields = self._begin(method, target, body, headers, answer_s, again=repeatable)
                answer = self._rest(line, status, fields)
            except (FileNotFoundError, ConnectionRefusedError) as exc:  # nobody heard it
                patience.pause(str(exc))
                continue
            except TimeoutError as exc:
                raise Silent(f"no answer within {answer_s:.0f} s") from exc
            except ConnectionError as exc:
                if not repeatable:
                    raise
                patience.pause(str(exc))
                continue
            except OSError as exc:  # not ours to open, too long a path: waiting mends nothing
                raise Silent(f"{self._path}: {exc}") from exc
            if answer.status != 503:
                return answer
            try:
                patience.pause(_what(answer.body), answer.retry_after_s)
            except Silent:
                if _field(answer.body, "kind") in _STARTING:
                    raise
                return answer  # the daemon is there: it says which part is not

    def download(self, target: str, body: bytes, write: Callable[[bytes], object], answer_s: float) -> Answer:
        """POST, and hand each part of the answer's body on as it comes; an answer that is an error has its body itself.

        `answer_s` is for the first byte. Sent again only to a daemon that is starting. Raises Silent, and Dropped when the
        answer was not whole.
        """
        headers = {"Content-Type": "application/json"}
        patience = self._patience()
        while True:
            try:
                line, status, fields = self._begin("POST", target, body, headers, answer_s, again=False)
                with closing(line):
                    if status == 200:
                        for part in _chunks(line.stream):
                            write(part)
                        return Answer(status, b"")
                    answer = Answer(status, _body(line.stream, fields))
            except (FileNotFoundError, ConnectionRefusedError) as exc:  # nobody heard it
                patience.pause(str(exc))
                continue
            except TimeoutError as exc:
                raise Silent(f"nothing came for {answer_s:.0f} s") from exc
            if answer.status != 503:
                return answer
            patience.pause(_what(answer.body))

    def events(self, target: Callable[[bool], str]) -> Iterator[ServerEvent]:
        """A stream to its end, over restarts of the daemon.

        `target` is asked at each connect, with whether a stream was open before.

        Yields the server's events but `end` and `closing`. An answer that is no stream is yielded as event `error`.
        """
        last, again = "", False
        patience = self._patience()
        while True:
            headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
            why = "the stream ended early"
            try:
                line, status, fields = self._begin("GET", target(again), None, headers, SILENCE_S, again=True)
                with closing(line):
                    if status == 503:
                        why = _what(_body(line.stream, fields))
                        raise Dropped(why)
                    if status != 200:
                        yield ServerEvent("error", "", _body(line.stream, fields))
                        return
                    again = True
                    for event in _events(_chunks(line.stream)):
                        patience = self._patience()
                        if event.name == "end":
                            return
                        if event.name == "closing":
                            break
                        last = event.id or last
                        yield event
            except (ConnectionError, FileNotFoundError, TimeoutError) as exc:  # the daemon is being replaced
                why = str(exc) or why
            except OSError as exc:
                raise Silent(f"{self._path}: {exc}") from exc
            patience.pause(why)

    def _begin(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], timeout_s: float, *, again: bool
    ) -> tuple[_Connection, int, dict[str, str]]:
        """Send it, and read the head of the answer. `again`: it may be sent twice, so that an idle connection can be tried."""
        length = {"Content-Length": str(len(body))} if body is not None else {}
        lines = "".join(
            f"{name}: {value}\r\n"
            for name, value in ({"Host": "atoll", HEADER: __version__} | length | headers).items()
        )
        whole = f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + (body or b"")
        begun = self._said(whole, timeout_s, again=again)
        if begun[1] == _FORBIDDEN and self._renewed():  # nothing was done yet
            begun[0].close()
            begun = self._said(whole, timeout_s, again=False)
        return begun

    def _renewed(self) -> bool:
        renew, self._renew = self._renew, None
        if renew is None or not renew():
            return False
        while (idle := self._popped()) is not None:  # they are of whom it was before
            idle.close()
        return True

    def _said(self, whole: bytes, timeout_s: float, *, again: bool) -> tuple[_Connection, int, dict[str, str]]:
        if again and (idle := self._popped()) is not None:
            with suppress(ConnectionError):  # it was closed while nothing was under way
                return self._asked(idle, whole, timeout_s)
        return self._asked(_Connection(self._path), whole, timeout_s)

    def _popped(self) -> _Connection | None:
        try:
            return self._idle.pop()
        except IndexError:  # threads share the line
            return None

    def _asked(self, line: _Connection, whole: bytes, timeout_s: float) -> tuple[_Connection, int, dict[str, str]]:
        try:
            status, fields = line.ask(whole, timeout_s)
        except BaseException:
            line.close()
            raise
        self._met, self.version = True, fields.get(_VERSION, "")
        return line, status, fields

    def _rest(self, line: _Connection, status: int, fields: dict[str, str]) -> Answer:
        """The answer; the connection is kept where another one can follow on it."""
        try:
            body = b"" if status == 204 else _body(line.stream, fields)
        except BaseException:
            line.close()
            raise
        ends = status != 204 and not {"content-length", "transfer-encoding"} & fields.keys()
        if ends or fields.get("connection", "").lower() == "close":
            line.close()
        else:
            self._idle.append(line)
        retry = fields.get("retry-after", "")
        return Answer(status, body, float(retry) if retry.isdigit() else 0.0, self.version)

    def _patience(self) -> _Patience:
        return _Patience(self._wait_s, lambda: self._alive(self._met))


class _Connection:
    """One connection, for one request after another."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(CONNECT_S)
            self._socket.connect(path)
        except BaseException:
            self._socket.close()
            raise
        self.stream = self._socket.makefile("rb")

    def ask(self, whole: bytes, timeout_s: float) -> tuple[int, dict[str, str]]:
        """Send a request; the head of its answer."""
        self._socket.settimeout(timeout_s)
        self._socket.sendall(whole)
        status, fields = _head(self.stream)
        while 100 <= status < 200:
            status, fields = _head(self.stream)
        return status, fields

    def close(self) -> None:
        """Close it."""
        self.stream.close()
        self._socket.close()


def _close_all(connections: list[_Connection]) -> None:
    while connections:
        connections.pop().close()


class _Patience:
    """Waits a little between attempts, as long as it makes sense; that begins with the first that failed."""

    def __init__(self, wait_s: float, alive: Callable[[], bool]) -> None:
        self._until, self._alive, self._wait_s = 0.0, alive, wait_s

    def pause(self, why: str, seconds: float = 0.0) -> None:
        asked = time.monotonic()
        self._until = self._until or asked + self._wait_s
        if not self._alive():
            raise Silent("")
        self._until += time.monotonic() - asked  # it may have brought the way back, which says nothing of the daemon
        left = self._until - time.monotonic()
        if left <= 0:
            raise Silent(f"waited {self._wait_s:.0f} s: {why}")
        time.sleep(min(max(seconds, 0.1), left))


def _head(stream: IO[bytes]) -> tuple[int, dict[str, str]]:
    status = stream.readline(65536).split(None, 2)
    if len(status) < 2:
        raise Dropped("the daemon closed the line without an answer")
    fields = {}
    while (raw := stream.readline(65536).strip()) != b"":
        name, _, value = raw.decode("latin-1").partition(":")
        fields[name.lower()] = value.strip()
    return int(status[1]), fields


def _body(stream: IO[bytes], fields: dict[str, str]) -> bytes:
    if fields.get("transfer-encoding", "").lower() == "chunked":
        return b"".join(_chunks(stream))
    if (length := fields.get("content-length")) is None:
        return stream.read()
    body = stream.read(int(length))
    if len(body) < int(length):
        raise Dropped("the answer ended early")
    return body


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while True:
        size = stream.readline(1024)
        if not size.endswith(b"\n"):
            raise Dropped("the answer ended early")
        count = int(size.split(b";")[0], 16)
        chunk = stream.read(count)
        if len(chunk) < count or not stream.readline(8).endswith(b"\n"):
            raise Dropped("the answer ended early")
        if count == 0:
            return
        yield chunk


def _events(chunks: Iterator[bytes]) -> Iterator[ServerEvent]:
    """Parse `text/event-stream` (WHATWG HTML 9.2) as our server writes it: LF line ends, one `data` line or several."""
    rest = b""
    name, identity, data = "message", "", list[bytes]()
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for raw in lines:
            line = raw.removesuffix(b"\r")
            if not line:
                if data:
                    yield ServerEvent(name, identity, b"\n".join(data))
                name, identity, data = "message", "", []
                continue
            field, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                name = value.decode()
            elif field == b"id":
                identity = value.decode()
            elif field == b"data":
                data.append(value)
    raise Dropped("the stream ended early")


def _what(body: bytes) -> str:
    """The `what` of an ErrorView, whatever came."""
    return _field(body, "what") or body[:200].decode(errors="replace")


def _field(body: bytes, name: str) -> str:
    """A field of an ErrorView; "" when that is none."""
    try:
        view: Any = json.loads(body)
        return str(view[name])
    except (ValueError, KeyError, TypeError):
        return ""
