"""Scouts see what one process sees, however they end; and nothing is left of them."""

import errno
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest
from killing import eventually

from atoll.pipeline import scouts
from atoll.pipeline.scouts import Scouts, scouts_for

OURS = os.getpid()


def descriptors() -> set[tuple[str, str]]:
    """Those that are open, each with what it is."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
    return found


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """What another test of this process left may live on, end, or be for a moment."""
    us = psutil.Process()
    opened, children = descriptors(), set(us.children())
    yield
    eventually(lambda: descriptors() <= opened)
    assert set(us.children()) <= children  # zombies, too


class Tally:
    """What processes say, counted without being taken: a pipe that they share."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()

    def say(self) -> None:
        os.write(self._writing, b".")

    def await_(self, count: int) -> None:
        """Wait until so much was said. For any of the processes."""
        eventually(lambda: struct.unpack("i", fcntl.ioctl(self._reading, termios.FIONREAD, bytes(4)))[0] >= count)

    def close(self) -> None:
        os.close(self._reading)
        os.close(self._writing)


@pytest.fixture
def tally(nothing_left: None) -> Iterator[Tally]:
    made = Tally()
    yield made
    made.close()


def quiet() -> None:
    """Nobody needs to know."""


def scout(count: int, look: Callable[[int], Any], others: int, stirred: Callable[[], None]) -> dict[int, Any]:
    """Sent, and joined at once."""
    return Scouts(count, look, others).report(stirred)


def in_a_scout(tally: Tally, do: Callable[[], object]) -> Callable[[int], int]:
    """Looks at 0 ... 999; what a scout does at its first look, which we wait for."""

    def look(at: int) -> int:
        if os.getpid() != OURS:
            tally.say()
            do()
        else:
            tally.await_(1)
        return at

    return look


@pytest.mark.parametrize("others", [0, 1, 3])
@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 3000])
def test_everything_is_seen_once(count: int, others: int) -> None:
    def look(at: int) -> str | None:
        if at % 7 == 3:
            raise PermissionError(at)
        return f"\udce9{at}" * 100 if at % 5 else None  # more than a pipe holds, and names as the file system has them

    expected = {at: f"\udce9{at}" * 100 if at % 5 else None for at in range(count) if at % 7 != 3}
    assert scout(count, look, others, quiet) == expected


def test_they_look_while_the_caller_does_something_else(tally: Tally) -> None:
    def look(_: int) -> int:
        tally.say()
        return os.getpid()

    sent = Scouts(300, look, 1)
    tally.await_(300)
    seen = sent.report(quiet)
    assert len(seen) == 300
    assert OURS not in seen.values()


def test_nothing_is_left_of_those_whom_nobody_asks() -> None:
    sent = Scouts(1000, lambda _: time.sleep(60), 2)
    sent.end()
    sent.end()


def test_the_work_is_shared(tally: Tally) -> None:
    came: set[int] = set()  # each process has its own

    def look(_: int) -> int:
        if os.getpid() not in came:
            came.add(os.getpid())
            tally.say()
            tally.await_(3)
        return os.getpid()

    seen = scout(500, look, 2, quiet)
    assert len(seen) == 500
    assert len(set(seen.values())) == 3


@pytest.mark.parametrize("finder", ["we", "a scout"])
def test_the_caller_learns_once_that_something_was_found_while_others_look(finder: str, tally: Tally) -> None:
    told: list[int] = []
    looked: list[int] = []  # each process has its own

    def look(at: int) -> int | None:
        looked.append(at)
        ours = os.getpid() == OURS
        if ours or (finder == "a scout" and len(looked) < 4):
            tally.say()
        if finder == "a scout":
            if ours or len(looked) == 4:
                tally.await_(4)  # three of its, so that its first chunk, of two at most, was told of; and one of ours
        elif not ours:
            tally.await_(1)
        return at if ours == (finder == "we") else None

    scout(300, look, 1, lambda: told.append(os.getpid()))
    assert told == [OURS]


def test_nobody_is_told_when_nothing_was_found() -> None:
    assert scout(300, lambda _: None, 2, lambda: pytest.fail("told")) == dict.fromkeys(range(300))


def test_what_a_killed_scout_took_is_left_out(tally: Tally) -> None:
    seen = scout(1000, in_a_scout(tally, lambda: os.kill(os.getpid(), signal.SIGKILL)), 2, quiet)
    assert 900 < len(seen) < 1000
    assert all(at == each for at, each in seen.items())


def test_a_scout_that_fails_says_nothing(tally: Tally, capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError

    assert len(scout(1000, in_a_scout(tally, fail), 1, quiet)) < 1000
    said = capfd.readouterr()
    others = [
        line for line in said.err.splitlines() if "fork_posix" not in line
    ]  # gRPC's, where an earlier test used it
    assert (said.out, others) == ("", [])


def test_a_scout_that_was_stopped_is_given_up(tally: Tally, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouts, "_GIVEN_UP_S", 0.2)
    seen = scout(1000, in_a_scout(tally, lambda: os.kill(os.getpid(), signal.SIGSTOP)), 1, quiet)
    assert 900 < len(seen) < 1000


def test_one_process_does_it_where_no_other_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def fork() -> int:
        raise OSError(errno.EAGAIN, "too many processes")

    monkeypatch.setattr(os, "fork", fork)
    assert scout(1000, lambda at: at, 3, quiet) == {at: at for at in range(1000)}


def test_an_interrupt_ends_the_scouts() -> None:
    def interrupted(at: int) -> int:
        if os.getpid() != OURS:
            time.sleep(60)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scout(1000, interrupted, 2, quiet)


def test_a_scout_has_none_of_the_callers_answers_to_signals(tally: Tally) -> None:
    """`main` answers SIGTERM by unwinding: in a scout that would be a second end of the command."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"answered"))
    try:
        seen = scout(1000, in_a_scout(tally, lambda: os.kill(os.getpid(), signal.SIGTERM)), 1, quiet)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert 900 < len(seen) < 1000


def test_few_things_are_worth_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouts.threading, "active_count", lambda: 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert [scouts_for(count) for count in (0, 300, 400, 800, 100_000)] == [0, 0, 1, 2, 3]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)
    assert scouts_for(100_000) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1}, raising=False)
    assert scouts_for(100_000) == 1
    monkeypatch.setattr(scouts.threading, "active_count", lambda: 2)
    assert scouts_for(100_000) == 0
