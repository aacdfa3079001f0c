"""Ctrl-C at a moment when nothing wakes the main thread."""

import queue
import signal
import threading
from collections.abc import Callable

import pytest

from atoll.cli.inbox import awaited
from atoll.cli.job_output import follow
from atoll.model.wire_jobs import JobRunView

RUN = JobRunView(
    id="orders.reindex.1", service="orders", job="reindex", release="r1", trigger="manual", state="running"
)


class Mute:
    """A daemon of which nothing is heard for a minute."""

    def __init__(self) -> None:
        self.end = threading.Event()

    def watch_run(self, _: str) -> list[JobRunView]:
        self.end.wait(60)
        return []


def following() -> object:
    client = Mute()
    try:
        return follow(client, RUN, None)  # type: ignore[arg-type]
    finally:
        client.end.set()


@pytest.mark.parametrize("wait", [lambda: awaited(queue.SimpleQueue()), lambda: awaited(queue.Queue()), following])
def test_an_interrupt_that_wakes_nobody_ends_a_wait_all_the_same(wait: Callable[[], object]) -> None:
    """Another thread receives it, which for the main one is the same as a moment before it waits."""

    def interrupt() -> None:
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background has it ignored
    timer = threading.Timer(0.3, interrupt)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            wait()
    finally:
        timer.join()
        signal.signal(signal.SIGINT, before)
