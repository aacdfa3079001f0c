"""Who listens on a port: the kernel's answer and the one of /proc must be the same."""

import os
import socket

import pytest

from atoll.engines import sockets


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "127.0.0.2", "::", "::1", "::ffff:127.0.0.1"])
def test_the_kernel_and_proc_tell_the_same_of_a_listener(address: str) -> None:
    with _listening(address) as listener:
        port = listener.getsockname()[1]
        found = sockets._looked_up(port)
        assert len(found) == 1
        assert _asked(port) == found


def test_two_listeners_of_one_port_are_both_told() -> None:
    with _listening("127.0.0.1") as one:
        port = one.getsockname()[1]
        with _listening("127.0.0.2", port):
            assert len(_asked(port)) == 2
            assert sorted(_asked(port)) == sorted(sockets._looked_up(port))


def test_a_connection_is_no_listener() -> None:
    with _listening("127.0.0.1") as listener, socket.create_connection(listener.getsockname()) as connection:
        own = connection.getsockname()[1]
        assert _asked(own) == []
        assert sockets._looked_up(own) == []


def test_where_the_kernel_does_not_answer_proc_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "_BY_FAMILY", 99)  # a question that no kernel knows
    with _listening("127.0.0.1") as listener:
        port = listener.getsockname()[1]
        assert sockets.listener(port, shim=1, main=os.getpid()).state == "own"


def _asked(port: int) -> list[sockets._Socket]:
    try:
        return [*sockets._asked(socket.AF_INET, port), *sockets._asked(socket.AF_INET6, port)]
    except OSError as exc:
        pytest.skip(f"this kernel tells no listeners: {exc}")


def _listening(address: str, port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = None
    try:
        listener = socket.socket(family)
        if address.startswith("::ffff:"):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address, port))
        listener.listen()
    except OSError as exc:
        if listener is not None:
            listener.close()
        pytest.skip(f"cannot listen on {address}: {exc}")
    return listener
