"""What the keeper restarts by itself: the daemon and the proxy. Definitions are kept on disk for the next keeper.

Pure bookkeeping over a `start` and a `stop` that the server gives it.

A definition has `argv`, `env`, `log`, and `stamp`, which changes when the program behind the same words did. With
`handover` a changed one does not replace what runs but begins beside it and takes over from it (Envoy's hot restart):
its words `{line}` (a number that all have which take over from each other), `{turn}` (which of them, from 0) and `{at}`
(when it began, CLOCK_BOOTTIME in ms) are filled in. Until whoever asked for it says how that went (`settle`), its end
leaves the predecessor in place; after that the predecessor has `retire_s` to finish. One that died begins a new line.
With `user` (`uid`, `gid`, `confined` as in `rights`, and what it `reads`) it runs as somebody else, if that user can.
"""

import glob
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from atoll.keeper import proc
from atoll.keeper.held import Waiter
from atoll.keeper.wire import Message

BACKOFF_FIRST_S = 0.1
BACKOFF_MOST_S = 5.0
UP_IS_WELL_S = 10.0  # this long up, and the next restart is immediate again
GRACE_S = 10.0
OOM_SCORE = -500  # the kernel takes a replica before it takes these
_ASKED = float("inf")  # a predecessor that was told to end by us
_LINE_BYTES = 3  # of chance: other users of the machine have lines, too


class Run(NamedTuple):
    """One start of a fixture. Its name holds all of it, so that the next keeper knows it from what it adopts."""

    fixture: str
    at: int = 0  # 0: of one without `handover`, whose runs never overlap
    line: int = 0
    turn: int = 0

    @property
    def id(self) -> str:
        """The name under which its shim is kept; no replica can be called so."""
        return f"@{self.fixture}" + (f"~{self.at:x}.{self.line:x}.{self.turn:x}" if self.at else "")

    @classmethod
    def of(cls, held_id: str) -> "Run":
        """The run of that name."""
        name, _, numbers = held_id.removeprefix("@").partition("~")
        return cls(name, *(int(number, 16) for number in numbers.split("."))) if numbers else cls(name)

    def filled(self, text: str) -> str:
        """A word of the command line."""
        for field in ("line", "turn", "at"):
            text = text.replace(f"{{{field}}}", str(getattr(self, field)))
        return text


class Fixture:
    """One supervised program and its luck so far."""

    def __init__(self, name: str, definition: Message) -> None:
        self.name = name
        self.definition = definition
        self.run = Run(name)  # the newest
        self.before: tuple[Message, Run] | None = None  # whom the newest takes over from, until that is settled
        self.retiring: dict[str, float] = {}  # predecessors by name, and when they must have finished, monotonic
        self.wanted = True
        self.restarts = 0
        self.last_exit: Message | None = None
        self.backoff_s = 0.0
        self.retry_at: float | None = None  # monotonic
        self.since = 0.0  # monotonic, of the last start
        self.waiters: list[Waiter] = []  # who asked for a new definition while the old one is still ending

    @property
    def ids(self) -> list[str]:
        """All its runs that may live, the newest first."""
        return [self.run.id, *([self.before[1].id] if self.before else ()), *self.retiring]

    def word(self, name: str) -> Any:
        """A field of its `handover`; None without one."""
        return (self.definition.get("handover") or {}).get(name)


class Fixtures:
    """All of them. `start` begins one's newest run; `stop` asks the shim of a run to end it, and says whether it runs."""

    def __init__(self, path: str, start: Callable[[Fixture], None], stop: Callable[[str, float], bool]) -> None:
        self.path = path
        self.all: dict[str, Fixture] = {}
        self._start = start
        self._stop = stop

    def load(self, running: list[str]) -> str:
        """Take over what an earlier keeper was told; `running` are the names of what it left.

        Returns why that cannot be read, "" when it was or there is none.
        """
        try:
            with open(self.path, encoding="utf-8") as file:
                told = json.load(file)
            if not isinstance(told, dict) or not all(isinstance(each, dict) for each in told.values()):
                raise ValueError("it does not say what to run")
        except FileNotFoundError:
            return ""
        except (OSError, ValueError) as exc:
            return f"{self.path} cannot be read: {exc}"
        for name, definition in told.items():
            before = definition.pop("before", None)
            fixture = self.all[name] = Fixture(name, definition)
            self._recognise(fixture, before, sorted(run for each in running if (run := Run.of(each))[0] == name))
        return ""

    def _recognise(self, fixture: Fixture, before: list[Any] | None, runs: list[Run]) -> None:
        if not runs:
            return
        fixture.run = runs.pop()
        if before is not None and (old := Run.of(before[1])) == fixture.run:
            fixture.definition = before[0]  # its successor ended meanwhile
        elif before is not None and old in runs:
            runs.remove(old)
            fixture.before = before[0], old
        for run in runs:
            fixture.retiring[run.id] = time.monotonic() + (fixture.word("retire_s") or 0.0)

    def save(self) -> None:
        """Keep the definitions of those that are wanted. Raises OSError."""
        wanted = {
            name: fixture.definition | ({"before": [old[0], old[1].id]} if (old := fixture.before) else {})
            for name, fixture in self.all.items()
            if fixture.wanted
        }
        temporary = self.path + ".new"
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, json.dumps(wanted).encode())
            os.fsync(fd)
        finally:
            os.close(fd)
        os.replace(temporary, self.path)

    def ensure(self, name: str, definition: Message, is_running: bool) -> None:
        """Have it run with this definition: started, replaced when it changed, else left alone.

        Raises ValueError while an earlier change has not settled, OSError when it cannot be kept.
        """
        fixture = self.all.get(name)
        if fixture is None:
            fixture = self.all[name] = Fixture(name, definition)
        elif fixture.wanted and fixture.definition == definition:
            if not is_running and fixture.retry_at is None:
                self.begin(fixture)
            return
        elif fixture.before is not None:
            raise ValueError(f"a new {name} is taking over just now; try again in a moment")
        if is_running and fixture.wanted and fixture.run.line and definition.get("handover"):
            self._succeed(fixture, definition)
            return
        fixture.definition, fixture.wanted = definition, True
        self.save()
        fixture.backoff_s = 0.0
        if is_running:
            self._stop(fixture.run.id, GRACE_S)  # its exit brings the new one
        else:
            self.begin(fixture)

    def _succeed(self, fixture: Fixture, definition: Message) -> None:
        """Begin the next in line beside the one that runs."""
        old = fixture.definition, fixture.run
        fixture.before = old
        fixture.definition = definition
        fixture.run = Run(fixture.name, _at(), old[1].line, old[1].turn + 1)
        try:
            self.save()
        except OSError:
            fixture.before, (fixture.definition, fixture.run) = None, old
            raise
        fixture.since = time.monotonic()
        self._start(fixture)

    def settle(self, name: str, *, good: bool) -> None:
        """A successor took over, so that its predecessor retires; or it did not, and goes. Nothing to settle is fine."""
        fixture = self.all[name]
        if fixture.before is None:
            return
        if not good:
            self._stop(fixture.run.id, GRACE_S)  # its exit brings the predecessor back into its place
            return
        fixture.retiring[fixture.before[1].id] = time.monotonic() + fixture.word("retire_s")
        fixture.before = None
        self.save()

    def restart(self, name: str) -> None:
        """Stop it with its grace; it comes back at once, and what it failed of before counts no more."""
        fixture = self.all[name]
        fixture.wanted, fixture.backoff_s, fixture.restarts, fixture.last_exit = True, 0.0, 0, None
        if not self._stop(fixture.run.id, GRACE_S):
            self.begin(fixture)

    def stop(self, name: str, grace_s: float) -> None:
        """Stop it and leave it stopped."""
        fixture = self.all[name]
        fixture.wanted, fixture.retry_at = False, None
        self.save()
        for each in fixture.ids:
            self._stop(each, grace_s)

    def forget_all(self) -> None:
        """Nothing is wanted any more (`shutdown`)."""
        for fixture in self.all.values():
            fixture.wanted, fixture.retry_at = False, None
        with suppress(OSError):
            self.save()

    def begin(self, fixture: Fixture) -> None:
        """Start it now, in a line of its own."""
        fixture.retry_at, fixture.since = None, time.monotonic()
        fixture.run = Run(fixture.name)
        if fixture.definition.get("handover"):
            fixture.run = Run(fixture.name, _at(), 1 + int.from_bytes(os.urandom(_LINE_BYTES)))
        self._start(fixture)

    def ended(self, run: Run, last_exit: Message) -> None:
        """A run died or was stopped. When it was the newest and is wanted: its predecessor stays in its place if it was
        not settled, else it is restarted after its back-off (none the first time).
        """
        fixture = self.all.get(run.fixture)
        if fixture is None:
            return
        fixture.retiring.pop(run.id, None)
        before = fixture.before
        if before is not None:
            if run == fixture.run:
                fixture.definition, fixture.run = before
            fixture.before = None
            with suppress(OSError):  # the next keeper would see by itself who lives
                self.save()
        elif run == fixture.run:
            fixture.run = Run(fixture.name)
            self._again(fixture, last_exit)
        if run.line not in {Run.of(each).line for each in fixture.ids}:
            self._sweep(fixture, run)

    def _again(self, fixture: Fixture, last_exit: Message) -> None:
        fixture.last_exit = last_exit
        if not fixture.wanted:
            return
        if time.monotonic() - fixture.since >= UP_IS_WELL_S:
            fixture.backoff_s = 0.0
        fixture.restarts += 1
        fixture.retry_at = time.monotonic() + fixture.backoff_s
        fixture.backoff_s = min(BACKOFF_MOST_S, fixture.backoff_s * 2 or BACKOFF_FIRST_S)

    def _sweep(self, fixture: Fixture, run: Run) -> None:
        """Remove the files that a line that has ended leaves behind."""
        for pattern in fixture.word("leaves") or ():
            for path in glob.glob(run.filled(pattern)):
                with suppress(OSError):
                    os.unlink(path)

    def due(self, now: float) -> list[Fixture]:
        """Those whose back-off is over."""
        return [each for each in self.all.values() if each.retry_at is not None and each.retry_at <= now]

    def overdue(self, now: float) -> list[str]:
        """Predecessors that had time to finish and did not, each named once."""
        found = [(each, name) for each in self.all.values() for name, at in each.retiring.items() if at <= now]
        for fixture, name in found:
            fixture.retiring[name] = _ASKED
        return [name for _, name in found]

    def next_at(self) -> float | None:
        """When the next one is due, monotonic."""
        times = [each.retry_at for each in self.all.values() if each.retry_at is not None]
        times += [at for each in self.all.values() for at in each.retiring.values() if at != _ASKED]
        return min(times, default=None)


def _at() -> int:
    return int(proc.boottime_s() * 1000)
