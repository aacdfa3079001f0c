"""The command line's own HTTP client against a server of a few lines: what it keeps, what it sends again, how long it waits."""

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.cli.http import Dropped, Line, Silent

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


class Server:
    """Answers each request of each connection as `plan` says; None closes the connection instead."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plan: Callable[[int, int], bytes | None] = lambda _connection, _request: OK
        self.seen: list[tuple[int, int]] = []  # (connection, request on it)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        number = 0
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            threading.Thread(target=self._answer, args=(connection, number), daemon=True).start()

    def _answer(self, connection: socket.socket, number: int) -> None:
        with connection:
            request = 0
            while data := connection.recv(65536):
                assert data.endswith(b"\r\n\r\n") or b"\r\n\r\n" in data
                request += 1
                self.seen.append((number, request))
                if (answer := self.plan(number, request)) is None:
                    return
                connection.sendall(answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "s")
    yield made
    made.close()


def line(server: Server, alive: Callable[[bool], bool] = lambda _: True, wait_s: float = 20.0) -> Line:
    return Line(server.path, alive, wait_s)


def test_requests_that_may_be_sent_twice_share_a_connection(server: Server) -> None:
    one = line(server)
    one.prepare()
    for _ in range(3):
        assert one.request("GET", "/").status == 200
    assert one.request("POST", "/", b"{}", key="k").status == 200
    assert server.seen == [(1, 1), (1, 2), (1, 3), (1, 4)]


def test_what_must_not_be_repeated_never_goes_over_a_connection_that_may_be_closed(server: Server) -> None:
    one = line(server)
    one.request("GET", "/")
    one.request("POST", "/", b"{}")
    assert server.seen == [(1, 1), (2, 1)]
    server.plan = lambda _connection, _request: None
    with pytest.raises(Dropped):
        one.request("POST", "/", b"{}")
    assert server.seen == [(1, 1), (2, 1), (3, 1)]  # once


def test_a_kept_connection_that_was_closed_costs_nobody_anything(server: Server) -> None:
    server.plan = lambda connection, request: None if (connection, request) == (1, 2) else OK
    asked: list[bool] = []
    one = line(server, lambda met: not asked.append(met))
    one.request("GET", "/")
    assert one.request("GET", "/").status == 200
    assert server.seen == [(1, 1), (1, 2), (2, 1)]
    assert asked == []


def test_it_is_told_whether_the_daemon_ever_answered(server: Server) -> None:
    told: list[bool] = []

    def alive(met: bool) -> bool:
        told.append(met)
        return len(told) < 2

    server.plan = lambda _connection, _request: None
    with pytest.raises(Silent):
        line(server, alive).request("GET", "/")
    assert told == [False, False]
    told.clear()
    server.plan = lambda connection, request: OK if request == 1 and connection % 2 else None
    one = line(server, alive)
    one.request("GET", "/")
    server.plan = lambda _connection, _request: None
    with pytest.raises(Silent):
        one.request("GET", "/")
    assert told == [True, True]


def test_what_bringing_the_way_back_takes_is_not_the_daemons_time(server: Server) -> None:
    """`alive` takes longer than the line would wait, and then there is an answer."""
    server.plan = lambda connection, _: None if connection == 1 else OK
    pause = threading.Event()

    def alive(_: bool) -> bool:
        pause.wait(0.4)
        return True

    assert line(server, alive, wait_s=0.3).request("GET", "/").status == 200


@pytest.mark.parametrize("kind", ["NotReady", "Fenced", "Retryable"])
def test_a_daemon_that_says_which_part_does_not_answer_is_believed(server: Server, kind: str) -> None:
    body = b'{"kind": "%s", "what": "dockerd does not answer"}' % kind.encode()
    server.plan = lambda *_: b"HTTP/1.1 503 No\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    one = line(server, wait_s=0.3)
    if kind == "Retryable":
        assert one.request("GET", "/").body == body
    else:
        with pytest.raises(Silent, match="dockerd does not answer"):
            one.request("GET", "/")
    assert len(server.seen) > 1, "it was tried again"


REFUSED = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\n{}"


def test_who_is_refused_and_may_be_somebody_else_now_is_asked_once_more_on_a_new_connection(server: Server) -> None:
    server.plan = lambda connection, _: REFUSED if connection == 1 else OK
    asked = Line(server.path, lambda _: True, renew=lambda: True)
    asked.prepare()
    assert asked.request("GET", "/").status == 200
    assert server.seen == [(1, 1), (2, 1)]


@pytest.mark.parametrize("renews", [True, False])
def test_who_is_refused_for_good_is_told_so(server: Server, renews: bool) -> None:
    server.plan = lambda _connection, _request: REFUSED
    renewed: list[bool] = []
    asked = Line(server.path, lambda _: True, renew=lambda: renewed.append(renews) or renews)
    assert [asked.request("GET", "/").status for _ in range(3)] == [403, 403, 403]
    assert len(renewed) == 1
