"""A keeper of one's own for each test, and a way to see that nothing of it is left."""

import contextlib
import itertools
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from atoll.engines.process import ProcessHost
from atoll.keeper.cgroups import hierarchies
from atoll.keeper.client import KeeperClient, KeeperError, files, places_of, proc, start_keeper
from atoll.model.spec import Command, Limits
from atoll.ports import Launch

PATIENCE_S = 60.0
T = TypeVar("T")
_numbers = itertools.count(1)


def words_of(pid: int, patience_s: float = 2.0) -> list[str]:
    """A process's command line; none of one that is gone, or of the kernel's own.

    The kernel closes what ends with exec, by which the keeper knows that a program runs, before it puts the new words in their
    place: for an instant there are none.
    """
    deadline = time.monotonic() + patience_s
    with contextlib.suppress(OSError):
        while not (found := Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]):
            Path(f"/proc/{pid}/exe").readlink()  # the kernel's own have no program, nor has one that has ended
            if time.monotonic() > deadline:
                break
            time.sleep(0.005)
        return found
    return []


class Box:
    """One environment: a folder that other users may pass, a keeper, and a mark that all its processes carry."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state, self.run = folder / "state", folder / "run"
        self.client = KeeperClient(self.run)
        self.mark = f"{os.getpid()}{next(_numbers)}"  # an argument of sleep: seconds nobody waits for

    def boot(self) -> int:
        """Start the keeper (or find it); its pid."""
        start_keeper(self.state, self.run, 60.0)
        return int(self.client.status()["pid"])

    def host(self) -> ProcessHost:
        return ProcessHost(self.state, self.run)

    def launch(self, line: str = "", *, service: str = "reef", limits: Limits | None = None) -> Launch:
        """A shell line with a fresh id; `{mark}` in it becomes the mark. Empty: sleeps."""
        line = line or "exec sleep {mark}"
        return Launch(
            id=f"{service}-r1-{next(_numbers)}",
            service=service,
            release=1,
            command=Command(shell=line.replace("{mark}", self.mark)),
            folder="/",
            env={"PATH": "/usr/bin:/bin"},
            limits=limits or Limits(),
        )

    def marked(self) -> list[int]:
        """The living processes that carry the mark."""
        found = []
        for stat in proc.scan().values():
            if stat.state not in "ZX" and self.mark in words_of(stat.pid):
                found.append(stat.pid)
        return found

    def wait(self, condition: Callable[[], T], what: str, patience_s: float = PATIENCE_S) -> T:
        deadline = time.monotonic() + patience_s
        while not (value := condition()):
            assert time.monotonic() < deadline, f"never came true: {what}\n{self.keeper_log()}"
            time.sleep(0.02)
        return value

    def kill(self, pid: int, *, wait: bool = True) -> None:
        """SIGKILL, and wait until it is gone."""
        start = proc.start_of(pid)
        assert proc.send(pid, start, signal.SIGKILL)
        if wait:
            self.wait(lambda: not proc.is_running(pid, start), f"pid {pid} dies")

    def shim_of(self, pid: int) -> int:
        """The shim above a replica's main process."""
        stat = proc.read_stat(pid)
        assert stat is not None
        return stat.ppid

    def keeper_log(self) -> str:
        path = self.state / "logs" / "keeper.log"
        return path.read_text() if path.exists() else ""

    def end(self) -> None:
        try:
            start_keeper(self.state, self.run, 60.0)
            self.client.shutdown(10.0)
        except KeeperError as exc:
            pytest.fail(f"the keeper could not be shut down: {exc}\n{self.keeper_log()}")
        left = self.marked()
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert not left, f"left behind: {left}\n{self.keeper_log()}"
        assert not list(self.run.rglob("*.sock"))
        assert not [base for base in files.bases(places_of(self.state, self.run)) if Path(base).exists()]
        assert not [base for each in hierarchies(str(self.state)) if (base := Path(each.base)).exists()]


@pytest.fixture
def box() -> Iterator[Box]:
    folder = Path(tempfile.mkdtemp(prefix="atoll-box-"))
    folder.chmod(0o755)
    box = Box(folder)
    yield box
    box.end()
    shutil.rmtree(folder, ignore_errors=True)
