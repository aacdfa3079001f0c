"""Scouts see what one process sees, however they end; and nothing is left of them."""

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest

from atoll.pipeline import scouts
from atoll.pipeline.scouts import Scouts, scouts_for

OURS = os.getpid()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    us = psutil.Process()
    descriptors, children = set(os.listdir("/proc/self/fd")), set(us.children())  # another test's may live on
    yield
    assert set(os.listdir("/proc/self/fd")) == descriptors
    assert set(us.children()) == children  # zombies, too


def quiet() -> None:
    """Nobody needs to know."""


def scout(count: int, look: Callable[[int], Any], others: int, stirred: Callable[[], None]) -> dict[int, Any]:
    """Sent, and joined at once."""
    return Scouts(count, look, others).report(stirred)


def in_a_scout(do: Callable[[], object]) -> Callable[[int], int]:
    """Looks at 0 ... 999; what a scout does at its first look, while we leave it the time to come so far."""

    def look(at: int) -> int:
        if os.getpid() != OURS:
            do()
        elif at < 4:
            time.sleep(0.1)
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


def test_they_look_while_the_caller_does_something_else() -> None:
    sent = Scouts(300, lambda _: os.getpid(), 1)
    time.sleep(0.3)
    seen = sent.report(quiet)
    assert len(seen) == 300
    assert OURS not in seen.values()


def test_nothing_is_left_of_those_whom_nobody_asks() -> None:
    sent = Scouts(1000, lambda _: time.sleep(60), 2)
    sent.end()
    sent.end()


def test_the_work_is_shared() -> None:
    def look(_: int) -> int:
        time.sleep(0.001)
        return os.getpid()

    seen = scout(500, look, 2, quiet)
    assert len(seen) == 500
    assert len(set(seen.values())) == 3


@pytest.mark.parametrize("finder", ["we", "a scout"])
def test_the_caller_learns_once_that_something_was_found_while_others_look(finder: str) -> None:
    told: list[int] = []

    def look(at: int) -> int | None:
        time.sleep(0.001)
        return at if (os.getpid() == OURS) == (finder == "we") else None

    scout(300, look, 1, lambda: told.append(os.getpid()))
    assert told == [OURS]


def test_nobody_is_told_when_nothing_was_found() -> None:
    assert scout(300, lambda _: None, 2, lambda: pytest.fail("told")) == dict.fromkeys(range(300))


def test_what_a_killed_scout_took_is_left_out() -> None:
    seen = scout(1000, in_a_scout(lambda: os.kill(os.getpid(), signal.SIGKILL)), 2, quiet)
    assert 900 < len(seen) < 1000
    assert all(at == each for at, each in seen.items())


def test_a_scout_that_fails_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError

    assert len(scout(1000, in_a_scout(fail), 1, quiet)) < 1000
    said = capfd.readouterr()
    others = [
        line for line in said.err.splitlines() if "fork_posix" not in line
    ]  # gRPC's, where an earlier test used it
    assert (said.out, others) == ("", [])


def test_a_scout_that_was_stopped_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scouts, "_GIVEN_UP_S", 0.2)
    seen = scout(1000, in_a_scout(lambda: os.kill(os.getpid(), signal.SIGSTOP)), 1, quiet)
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


def test_a_scout_has_none_of_the_callers_answers_to_signals() -> None:
    """`main` answers SIGTERM by unwinding: in a scout that would be a second end of the command."""
    before = signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"answered"))
    try:
        seen = scout(1000, in_a_scout(lambda: os.kill(os.getpid(), signal.SIGTERM)), 1, quiet)
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
