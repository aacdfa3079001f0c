"""A host in memory: replicas that start, get ready, crash and stop as a test's script says.

    host = FakeHost(clock)
    host.script("orders", Behaviour(ready_s=2.0))
    host.script("orders", Behaviour(exits_after_s=1.5, output=("panic: no database",)), release=8)

It is `ports.Host`. It lives outside of a daemon, as the real keeper's replicas do: drop the daemon, hand the same host to
the next one, and its replicas are still there (within one `VirtualClock.run`, whose timers they are). Nothing listens
anywhere: hand `host.ask` to whoever probes.
"""

import asyncio
import itertools
import signal as signals
import weakref
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final, Literal, TypeVarTuple, Unpack

import msgspec

from atoll.model.errors import Permanent, Retryable
from atoll.model.hosted import Hosted, Listener, LogLine, Unable
from atoll.model.launch import Reach
from atoll.model.spec import Probe, ServiceSpec
from atoll.model.state import Address, Exit, Image
from atoll.ports import Clock, Host, Launch
from atoll.realise.probes import Answer

_FIRST_PID: Final = 5_000_000  # above Linux's largest: nobody can hurt a real process by it
_KILL_S: Final = 0.001  # between SIGKILL and the end
_RUN_OUTPUT: Final = 1024 * 1024

_Ts = TypeVarTuple("_Ts")


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """How the replicas of a service behave. Times are seconds, counted from the moment the process runs."""

    start_s: float = 0.01  # how long `Host.start` takes
    cannot_start: str = ""  # why the command cannot be run at all
    ready_s: float | None = 0.1  # until it listens and is ready; None: never
    unready: tuple[tuple[float, float], ...] = ()  # (from, until): listens, but is not ready
    answer_s: float = 0.001  # how long its answer to a probe takes
    exits_after_s: float | None = None  # ends by itself
    exit: Exit = Exit(code=1)  # how, then
    stop_s: float = 0.05  # between the stop signal and the end
    stop: Exit = Exit(code=0)  # how it ends when told to
    ignores_signals: bool = False  # all but SIGKILL
    output: tuple[str, ...] = ()  # lines that it prints at once
    last_words: tuple[str, ...] = ()  # lines that it prints to stderr when it ends by itself
    stop_words: tuple[str, ...] = ()  # lines that it prints when it ends because it was told to
    listener: Literal["own", "stranger"] = "own"  # who has its port
    everywhere: bool = False  # binds 0.0.0.0
    notice: str = ""  # `Hosted.notice`
    memory_bytes: int = 10_000_000
    cpu_s: float = 0.0
    run_s: float = 0.0  # how long a command of `Host.run` takes
    run_exit: Exit | None = None  # None: 0 if the replica whose surroundings it runs in is ready, else 1
    run_output: str = ""


_JOB: Final = Behaviour(ready_s=None, exits_after_s=0.5, exit=Exit(code=0))


class _Process:
    """One replica, running or ended."""

    def __init__(self, launch: Launch, behaviour: Behaviour, hosted: Hosted) -> None:
        self.launch, self.behaviour, self.hosted = launch, behaviour, hosted
        self.timers: list[asyncio.TimerHandle] = []
        self.forced_ready: bool | None = None
        self.forced_paths: dict[str, bool] = {}


class _Exits:
    """One reader of the exits; it hears of every end after it was made."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Hosted | None] = asyncio.Queue()  # None: the host went away

    def __aiter__(self) -> "_Exits":
        return self

    async def __anext__(self) -> Hosted:
        ended = await self.queue.get()
        if ended is None:
            raise Retryable("the host is away", id="keeper-unreachable")
        return ended


class FakeHost:
    """`ports.Host` in memory, on the time of `clock` (a `VirtualClock` or a real one)."""

    def __init__(self, clock: Clock, program: Callable[[Launch], Behaviour] | None = None) -> None:
        """`program` says how a launch behaves, instead of scripts."""
        self._clock, self._program = clock, program
        self._scripts: dict[tuple[str, int | None], Behaviour] = {}
        self._own_scripts: dict[str, Behaviour] = {}
        self._job_scripts: dict[tuple[str, str], Behaviour] = {}
        self._processes: dict[str, _Process] = {}
        self._lines: list[LogLine] = []
        self._readers: weakref.WeakSet[_Exits] = weakref.WeakSet()  # a daemon that is gone reads no more
        self._printed = asyncio.Event()
        self._pids = itertools.count(_FIRST_PID)
        self._away = False
        self.kept: set[str] = set()  # services that have data
        self.erased: list[str] = []  # services whose data were removed
        self.unable: dict[str, Sequence[Unable]] = {}  # service -> what this host cannot provide for it
        self.reaches: dict[str, Reach | None] = {}  # service -> the network of its own that it has; None: it gets none
        self.given_back: list[str] = []  # services whose reach was given back, in order
        self.launches: list[Launch] = []  # everything ever started, in order
        self.signalled: list[tuple[str, str]] = []  # (replica, signal), in order

    # --- what a test says and sees

    def script(self, service: str, behaviour: Behaviour, *, release: int | None = None) -> None:
        """How replicas of a service (or of one release of it, which counts more) behave from their next start on."""
        self._scripts[service, release] = behaviour

    def script_job(self, service: str, job: str, behaviour: Behaviour) -> None:
        """How the runs of a job behave from the next start on; `before` is what runs before releases. Else each ends well."""
        self._job_scripts[service, job] = behaviour

    def script_one(self, replica: str, behaviour: Behaviour) -> None:
        """How the launch with this id behaves; counts most. For a test that makes the ids itself."""
        self._own_scripts[replica] = behaviour

    def kill(self, replica: str, *, exit: Exit | None = None, last_words: str = "") -> None:
        """It dies now, by SIGKILL unless `exit` says how, and not because Atoll wanted it."""
        process = self._running(replica)
        if process is None:
            raise ValueError(f"{replica} does not run")
        if last_words:
            self._print(process, last_words, "stderr")
        self._end(process, exit or Exit(signal=signals.SIGKILL))

    def say(self, replica: str, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        """It prints a line now."""
        self._print(self._processes[replica], text, stream)

    def set_ready(self, replica: str, ready: bool | None) -> None:
        """From now on it is (not) ready, whatever its script says; None goes back to the script."""
        self._processes[replica].forced_ready = ready

    def set_answer(self, replica: str, path: str, ok: bool | None) -> None:
        """From now on its probes of `path` succeed or fail, whatever else is said; None goes back to the script."""
        answers = self._processes[replica].forced_paths
        if ok is None:
            answers.pop(path, None)
        else:
            answers[path] = ok

    async def ask(self, probe: Probe, address: Address | None, host: Host, launch: Launch | None) -> Answer:  # noqa: ARG002  the signature of `Ask`
        """`realise.probes.Ask` without a socket: whoever has the port is well when `ready` says so."""
        if probe.kind == "process":
            return Answer(ok=True)
        replica = self.at(address.port) if address else launch.id if launch else None
        process = self._running(replica) if replica else None
        if process is None:
            return Answer(ok=False, text=f"nothing listens on {address} yet", id="port-not-used")
        await self._clock.sleep(min(process.behaviour.answer_s, probe.timeout_s))
        if process.behaviour.answer_s > probe.timeout_s:
            return Answer(ok=False, text=f"no answer within {probe.timeout_s:g} s", id="probe-failed")
        ok = process.forced_paths.get(probe.path, self.ready(process.launch.id))
        return Answer(ok=ok, text="" if ok else f"GET {probe.path} answered 503", id="" if ok else "probe-failed")

    def alive(self, replica: str) -> bool:
        """Whether it runs."""
        return self._running(replica) is not None

    def ready(self, replica: str) -> bool:
        """What a probe of it would say."""
        process = self._running(replica)
        if process is None:
            return False
        if process.forced_ready is not None:
            return process.forced_ready
        age_s = self._clock.now().boot_s - process.hosted.started_s
        well = not any(start <= age_s < end for start, end in process.behaviour.unready)
        return well and self._listens(process)

    def at(self, port: int) -> str | None:
        """The running replica that has this port, for fakes that probe by address."""
        for replica, process in self._processes.items():
            if process.hosted.exit is None and port in process.launch.ports.values():
                return replica
        return None

    def running(self, service: str | None = None, release: int | None = None) -> list[str]:
        """The ids of what runs, of one service or release when asked so, in the order of their start."""
        return [
            replica
            for replica, process in self._processes.items()
            if process.hosted.exit is None
            and service in {None, process.launch.service}
            and release in {None, process.launch.release}
        ]

    def disconnect(self) -> None:
        """The host is away until `connect`: every call raises Retryable, exits are not heard; replicas go on."""
        self._away = True
        for reader in list(self._readers):
            reader.queue.put_nowait(None)
        self._readers.clear()

    def connect(self) -> None:
        """It is back."""
        self._away = False

    def reboot(self) -> None:
        """The machine was started again: nothing runs, nothing is remembered but the logs."""
        for process in self._processes.values():
            _stop_timers(process)
        self._processes.clear()

    # --- ports.Host

    async def start(self, launch: Launch) -> Hosted:
        """Start it, once: an id that was started before is returned as it is, running or ended."""
        self._answer()
        if launch.id in self._processes:
            return self._processes[launch.id].hosted
        behaviour = self._behaviour(launch)
        hosted = Hosted(
            id=launch.id,
            pid=next(self._pids),
            service=launch.service,
            release=launch.release,
            started_s=self._clock.now().boot_s + behaviour.start_s,
            notice=behaviour.notice,
        )
        process = self._processes[launch.id] = _Process(launch, behaviour, hosted)
        self.launches.append(launch)
        if launch.writable:
            self.kept.add(launch.service)
        if behaviour.cannot_start:
            process.hosted = msgspec.structs.replace(hosted, pid=None)
            self._end(process, Exit(error=behaviour.cannot_start))
            return process.hosted
        self._later(process, behaviour.start_s, self._greet, process)
        if behaviour.exits_after_s is not None:
            self._later(process, behaviour.start_s + behaviour.exits_after_s, self._end_by_itself, process)
        await asyncio.sleep(behaviour.start_s)
        return process.hosted

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:  # noqa: ARG002  none here has one
        """What a test said of the service in `unable`."""
        return self.unable.get(spec.name, ())

    async def reach(self, service: str) -> Reach:
        """The loopback of all, unless a test said otherwise in `reaches`."""
        if (reach := self.reaches.get(service, Reach())) is None:
            raise Retryable(f"no network is left for {service}", id="no-free-network")
        return reach

    async def unreach(self, service: str) -> None:
        """Nothing but a note in `given_back`."""
        self.given_back.append(service)

    async def erase(self, service: str) -> None:
        """Remember that it was asked to."""
        self._answer()
        self.kept.discard(service)
        self.erased.append(service)

    async def close(self) -> None:
        """Nothing is held."""

    def data_base(self) -> str:
        """A folder that is nowhere: nobody writes into it."""
        return "/data"

    def files_base(self) -> str:
        """A folder that is nowhere: see `files`."""
        return "/nowhere/files"

    def files(self) -> dict[str, str]:
        """Every rendered file that is there now, by its absolute path: those of replicas that run."""
        return {
            f"{process.launch.files_folder}/{name}": text
            for process in self._processes.values()
            if process.hosted.exit is None
            for name, text in process.launch.files.items()
        }

    async def signal(self, replica: str, signal: str) -> bool:
        """Send a signal by name. False when it is gone; Permanent when there is no such signal."""
        self._answer()
        if not signal.startswith("SIG") or not hasattr(signals, signal):
            raise Permanent(f"there is no signal {signal!r}", id="keeper-unreachable")
        process = self._running(replica)
        if process is None:
            return False
        self.signalled.append((replica, signal))
        if signal == "SIGKILL":
            self._later(process, _KILL_S, self._end, process, Exit(signal=signals.SIGKILL))
        elif signal not in {"SIGSTOP", "SIGCONT"} and not process.behaviour.ignores_signals:
            self._later(process, process.behaviour.stop_s, self._stop, process)
        return True

    async def forget(self, replica: str) -> None:
        """Drop it, killing it first when it still runs. Unknown ids are fine; what it printed stays."""
        self._answer()
        process = self._processes.get(replica)
        if process is None:
            return
        if process.hosted.exit is None:
            self._end(process, Exit(signal=signals.SIGKILL))
        self._processes.pop(replica, None)

    async def list(self) -> Sequence[Hosted]:
        """Every replica that was not forgotten."""
        self._answer()
        return [process.hosted for process in self._processes.values()]

    def exits(self) -> AsyncIterator[Hosted]:
        """Each replica that ends from now on."""
        reader = _Exits()
        if self._away:
            reader.queue.put_nowait(None)
        else:
            self._readers.add(reader)
        return reader

    async def listener(self, replica: str, port: int) -> Listener:
        """Who has the port: itself once its `ready_s` passed, or the stranger that its script names."""
        self._answer()
        process = self._running(replica)
        if process is None or port not in process.launch.ports.values():
            return Listener(state="none")
        if process.behaviour.listener == "stranger":
            return Listener(state="stranger", text="held by pid 4711 (stranger)")
        if not self._listens(process):
            return Listener(state="none")
        return Listener(state="own", everywhere=process.behaviour.everywhere)

    async def logs(
        self,
        service: str,
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """Lines of a service by time; the last `tail` first, then new ones while `follow`."""
        self._answer()

        def wanted(line: LogLine) -> bool:
            whole = replica is None or (replica.endswith(".") and line.replica.startswith(replica))
            in_time = since_wall <= line.wall and (until_wall is None or line.wall <= until_wall)
            return line.service == service and (whole or replica == line.replica) and in_time

        seen = len(self._lines)
        found = [line for line in self._lines if wanted(line)]
        for line in found[max(0, len(found) - tail) :]:
            yield line
        while follow:
            while seen < len(self._lines):
                seen += 1
                if wanted(self._lines[seen - 1]):
                    yield self._lines[seen - 1]
            self._printed.clear()
            await self._printed.wait()

    async def last_output(self, replica: str, lines: int = 20) -> str:
        """The end of what it printed."""
        self._answer()
        found = [line.text for line in self._lines if line.replica == replica]
        return "\n".join(found[max(0, len(found) - lines) :])

    async def run(self, launch: Launch, timeout_s: float) -> tuple[Exit, str]:
        """What the script says of commands: `run_s`, `run_exit`, `run_output`. A command probe thus asks `ready`."""
        self._answer()
        behaviour = self._behaviour(launch)
        if behaviour.run_s > timeout_s:
            await asyncio.sleep(timeout_s)
            return Exit(error=f"not done within {timeout_s:g} s"), behaviour.run_output[:_RUN_OUTPUT]
        await asyncio.sleep(behaviour.run_s)
        exit_ = behaviour.run_exit or Exit(code=0 if self.ready(launch.id) else 1)
        return exit_, behaviour.run_output[:_RUN_OUTPUT]

    async def usage(self) -> Mapping[str, tuple[int, float]]:
        """Replica -> (`memory_bytes`, `cpu_s`) of what runs."""
        self._answer()
        return {
            replica: (process.behaviour.memory_bytes, process.behaviour.cpu_s)
            for replica, process in self._processes.items()
            if process.hosted.exit is None
        }

    # --- how it happens

    def _answer(self) -> None:
        if self._away:
            raise Retryable("the host is away", id="keeper-unreachable")

    def _behaviour(self, launch: Launch) -> Behaviour:
        if self._program is not None:
            return self._program(launch)
        if launch.id in self._own_scripts:
            return self._own_scripts[launch.id]
        if len(parts := launch.id.split(".")) > 1:  # a run of a job
            return self._job_scripts.get((launch.service, parts[1]), _JOB)
        of_all = self._scripts.get((launch.service, None), Behaviour())
        return self._scripts.get((launch.service, launch.release), of_all)

    def _running(self, replica: str) -> _Process | None:
        process = self._processes.get(replica)
        return process if process is not None and process.hosted.exit is None else None

    def _listens(self, process: _Process) -> bool:
        ready_s = process.behaviour.ready_s
        return ready_s is not None and self._clock.now().boot_s >= process.hosted.started_s + ready_s

    def _print(self, process: _Process, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        self._lines.append(
            LogLine(
                service=process.launch.service,
                replica=process.launch.id,
                wall=self._clock.now().wall,
                stream=stream,
                text=text,
                cursor=str(len(self._lines) + 1),
            )
        )
        self._printed.set()

    def _greet(self, process: _Process) -> None:
        for line in process.behaviour.output:
            self._print(process, line)

    def _end_by_itself(self, process: _Process) -> None:
        for line in process.behaviour.last_words:
            self._print(process, line, "stderr")
        self._end(process, process.behaviour.exit)

    def _stop(self, process: _Process) -> None:
        for line in process.behaviour.stop_words:
            self._print(process, line)
        self._end(process, process.behaviour.stop)

    def _later(self, process: _Process, delay_s: float, what: Callable[[Unpack[_Ts]], object], *args: *_Ts) -> None:
        process.timers.append(asyncio.get_running_loop().call_later(delay_s, what, *args))

    def _end(self, process: _Process, exit_: Exit) -> None:
        _stop_timers(process)
        now = self._clock.now()
        exit_ = msgspec.structs.replace(exit_, at_s=now.boot_s, wall=now.wall)
        process.hosted = msgspec.structs.replace(process.hosted, exit=exit_)
        for reader in list(self._readers):
            reader.queue.put_nowait(process.hosted)


def _stop_timers(process: _Process) -> None:
    for timer in process.timers:
        timer.cancel()
    process.timers.clear()
