"""What every `ports.Host` must do, as pytest tests: the process host, the fake and the Docker host pass the same ones.

A subclass gives a `host` fixture (a ready host, whose leftovers it removes) and, where a host does not run shell lines
of this machine, its own `launch` for the named behaviours. No test asserts a tight timing.
"""

import asyncio
import ipaddress
import itertools
import shlex
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Literal

import msgspec
import pytest

from atoll.model.errors import AtollError
from atoll.model.hosted import Hosted, LogLine
from atoll.model.launch import Network, Reach
from atoll.model.spec import Command, Port, ServiceSpec
from atoll.ports import Host, Launch
from atoll.testing.ports import free_port

PATIENCE_S = 60.0
Behaviour = Literal[
    "waits", "ignores-term", "exits-3", "prints", "missing", "echoes-secret", "leaves-a-child", "shows-file", "listens",
    "keeps",
]  # fmt: skip

NUMBER = 8080
LISTEN = (
    f"import socket, time; s = socket.create_server(('0.0.0.0', {NUMBER})); print('ready', flush=True); time.sleep(600)"
)

# As shell lines. `waits` ends with 0 on SIGTERM; each says "ready" once its handlers stand.
LINES: dict[Behaviour, str] = {
    "waits": "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done",
    "ignores-term": "trap '' TERM; echo ready; while :; do sleep 0.05; done",
    "exits-3": "echo failing >&2; exit 3",
    "prints": "i=1; while [ $i -le 300 ]; do echo line $i; i=$((i+1)); done; echo ready; exec sleep 600",
    "echoes-secret": 'echo "secret is ${#TOKEN} long"; echo ready; exec sleep 600',
    "leaves-a-child": "sleep 600 & echo ready; exit 0",
    "listens": f"exec {sys.executable} -S -c {shlex.quote(LISTEN)}",
    "keeps": 'if [ -e "$DATA/kept" ]; then echo found; else echo nothing; fi; touch "$DATA/kept" && echo ready; exec sleep 600',
    "shows-file": 'cat "$FILES/etc/app.conf" && echo ready; exec sleep 600',
}

_numbers = itertools.count(1)


async def eventually(
    condition: Callable[[], Awaitable[object]], what: str, patience_s: float = PATIENCE_S, every_s: float = 0.02
) -> object:
    """The condition's first true value; fails the test when there is none in time."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        value = await condition()
        if value:
            return value
        if asyncio.get_running_loop().time() > deadline:
            pytest.fail(f"never came true within {patience_s:g} s: {what}")
        await asyncio.sleep(every_s)


class HostSuite:
    """The tests. Named so that pytest collects subclasses called Test... only."""

    def launch(self, behaviour: Behaviour, *, service: str = "cabin", release: int = 1, job: str = "") -> Launch:
        """A launch with a fresh id that behaves as named; of a run of `job`."""
        number = next(_numbers)
        missing = behaviour == "missing"
        return Launch(
            id=f"{service}.{job}.{number}.1" if job else f"{service}-r{release}-{number}",
            service=service,
            release=release,
            command=Command(argv=("./no-such-program",)) if missing else Command(shell=LINES[behaviour]),
            folder="/",
            env={"PATH": "/usr/bin:/bin"},
            secrets={"TOKEN": "swordfish"} if behaviour == "echoes-secret" else {},
        )

    def placed(self, launch: Launch, reach: Reach, place: int) -> Launch:
        """One that listens on NUMBER: at an address of its own where the host has such, else behind a leased port."""
        if reach.network:
            address = str(ipaddress.ip_network(reach.network)[place])
            return msgspec.structs.replace(launch, host=address, ports={"http": NUMBER})
        lease = free_port()
        return msgspec.structs.replace(launch, network=Network(inward={lease: NUMBER}), ports={"http": lease})

    async def begin(self, host: Host, behaviour: Behaviour) -> Launch:
        """Start one and wait until it is past its own beginning."""
        launch = self.launch(behaviour)
        started = await host.start(launch)
        assert started.exit is None, started
        await eventually(lambda: self.says(host, launch.id, "ready"), f"{launch.id} says ready")
        return launch

    async def says(self, host: Host, replica: str, text: str) -> bool:
        """Whether it printed that line."""
        return text in (await host.last_output(replica, 400)).splitlines()

    async def find(self, host: Host, replica: str) -> Hosted | None:
        """The replica in the host's list."""
        return next((each for each in await host.list() if each.id == replica), None)

    async def ended(self, host: Host, replica: str) -> Hosted:
        """The replica once it has ended."""

        async def look() -> Hosted | None:
            found = await self.find(host, replica)
            return found if found is not None and found.exit is not None else None

        found = await eventually(look, f"{replica} ends")
        assert isinstance(found, Hosted)
        return found

    # --- starting ------------------------------------------------------------------------------------------------

    async def test_a_started_replica_is_listed_with_what_it_is(self, host: Host) -> None:
        launch = await self.begin(host, "waits")
        found = await self.find(host, launch.id)
        assert found is not None
        assert (found.service, found.release, found.exit) == ("cabin", 1, None)
        assert found.started_s > 0

    async def test_starting_an_id_twice_starts_one_process(self, host: Host) -> None:
        launch = await self.begin(host, "waits")
        first = await self.find(host, launch.id)
        again = await host.start(launch)
        assert first is not None
        assert (again.id, again.pid, again.started_s) == (first.id, first.pid, first.started_s)
        assert [each.id for each in await host.list()].count(launch.id) == 1

    async def test_starting_an_id_that_ended_returns_its_exit(self, host: Host) -> None:
        launch = self.launch("exits-3")
        await host.start(launch)
        await self.ended(host, launch.id)
        again = await host.start(launch)
        assert again.exit is not None
        assert again.exit.code == 3

    async def test_what_cannot_be_executed_says_why_at_once(self, host: Host) -> None:
        started = await host.start(self.launch("missing"))
        assert started.exit is not None
        assert "no-such-program" in started.exit.error
        assert started.exit.code is None
        assert started.exit.signal is None

    async def test_a_secret_reaches_the_replica(self, host: Host) -> None:
        launch = await self.begin(host, "echoes-secret")
        assert await self.says(host, launch.id, "secret is 9 long")

    async def test_two_have_the_same_port_in_networks_of_their_own(self, host: Host) -> None:
        insists = ServiceSpec(name="cabin", run=Command(), ports=(Port(number=NUMBER),))
        if unable := await host.refusals(insists):
            pytest.skip(unable[0].what)
        for place in (2, 3):
            launch = self.placed(self.launch("listens"), await host.reach("cabin"), place)
            started = await host.start(launch)
            assert started.exit is None, started

            async def has_its_port(launch: Launch = launch) -> bool:
                return (await host.listener(launch.id, launch.ports["http"])).state == "own"

            await eventually(has_its_port, f"{launch.id} listens")

    async def test_what_can_be_had_by_all_is_refused_to_nobody(self, host: Host) -> None:
        assert list(await host.refusals(ServiceSpec(name="cabin", run=Command(), ports=(Port(),)))) == []

    async def there_is(self, host: Host, path: str) -> bool:  # noqa: ARG002  a host elsewhere asks it
        """Whether there is such a file where the host keeps rendered files."""
        return Path(path).exists()

    async def test_its_files_are_there_before_it_runs_and_gone_when_it_ended(self, host: Host) -> None:
        launch = self.launch("shows-file")
        folder = f"{host.files_base()}/{launch.id}"
        files = {"etc/app.conf": "colour = blue\n", "other": "x"}
        env = {**launch.env, "FILES": folder}
        await host.start(msgspec.structs.replace(launch, files=files, files_folder=folder, env=env))
        await eventually(lambda: self.says(host, launch.id, "ready"), "it has read its file")
        assert await self.says(host, launch.id, "colour = blue")
        assert await self.there_is(host, f"{folder}/other")
        await host.signal(launch.id, "SIGKILL")
        await self.ended(host, launch.id)
        assert not await self.there_is(host, f"{folder}/etc/app.conf")
        assert not await self.there_is(host, folder)

    async def keeps(self, host: Host, service: str) -> Launch:
        """A launch that writes into its service's data, and says whether there were any."""
        launch = self.launch("keeps", service=service)
        data = f"{host.data_base()}/{service}"
        launch = msgspec.structs.replace(launch, writable=(data,), env={**launch.env, "DATA": data})
        started = await host.start(launch)
        assert started.exit is None, started
        await eventually(lambda: self.says(host, launch.id, "ready"), f"{launch.id} has written")
        await host.signal(launch.id, "SIGKILL")
        await self.ended(host, launch.id)
        return launch

    async def test_data_outlive_replicas_until_they_are_erased(self, host: Host) -> None:
        first, other = await self.keeps(host, "cabin"), await self.keeps(host, "hut")
        await host.forget(first.id)
        second = await self.keeps(host, "cabin")
        assert await self.says(host, second.id, "found")
        await host.erase("cabin")  # one that has ended and is not forgotten is no reason to keep them
        third, neighbour = await self.keeps(host, "cabin"), await self.keeps(host, "hut")
        assert await self.says(host, third.id, "nothing")
        assert await self.says(host, neighbour.id, "found"), f"{other.service} has data of its own"
        await host.erase("nobody")

    async def test_many_start_side_by_side(self, host: Host) -> None:
        launches = [self.launch("waits") for _ in range(8)]
        started = await asyncio.gather(*(host.start(launch) for launch in launches))
        assert [each.id for each in started] == [launch.id for launch in launches]
        assert {launch.id for launch in launches} <= {each.id for each in await host.list()}

    # --- ending --------------------------------------------------------------------------------------------------

    async def test_an_exit_code_is_kept_until_forgotten(self, host: Host) -> None:
        launch = self.launch("exits-3")
        await host.start(launch)
        found = await self.ended(host, launch.id)
        assert found.exit is not None
        assert (found.exit.code, found.exit.signal, found.exit.oom) == (3, None, False)
        assert found.exit.at_s >= found.started_s > 0
        await host.forget(launch.id)
        assert await self.find(host, launch.id) is None

    async def test_sigterm_lets_it_end_in_its_own_way(self, host: Host) -> None:
        launch = await self.begin(host, "waits")
        assert await host.signal(launch.id, "SIGTERM")
        found = await self.ended(host, launch.id)
        assert found.exit is not None
        assert found.exit.code == 0
        assert await self.says(host, launch.id, "bye")

    async def test_one_that_is_stopped_hears_that_it_is_to_end(self, host: Host) -> None:
        launch = await self.begin(host, "waits")
        assert await host.signal(launch.id, "SIGSTOP")
        assert [one.exit for one in await host.list()] == [None]
        assert await host.signal(launch.id, "SIGTERM")
        found = await self.ended(host, launch.id)
        assert found.exit is not None
        assert (found.exit.code, found.exit.signal) == (0, None)

    async def test_sigkill_ends_what_ignores_sigterm(self, host: Host) -> None:
        launch = await self.begin(host, "ignores-term")
        assert await host.signal(launch.id, "SIGTERM")
        await asyncio.sleep(0.3)
        found = await self.find(host, launch.id)
        assert found is not None
        assert found.exit is None
        assert await host.signal(launch.id, "SIGKILL")
        found = await self.ended(host, launch.id)
        assert found.exit is not None
        assert found.exit.signal == 9
        assert not found.exit.oom

    async def test_a_signal_to_what_is_gone_is_false(self, host: Host) -> None:
        launch = self.launch("exits-3")
        await host.start(launch)
        await self.ended(host, launch.id)
        assert not await host.signal(launch.id, "SIGTERM")
        assert not await host.signal("nobody-r1-1", "SIGTERM")

    async def test_forgetting_kills_what_still_runs(self, host: Host) -> None:
        launch = await self.begin(host, "ignores-term")
        await host.forget(launch.id)
        assert await self.find(host, launch.id) is None
        await host.forget(launch.id)
        await host.forget("nobody-r1-1")

    async def test_its_output_outlives_it(self, host: Host) -> None:
        launch = self.launch("exits-3")
        await host.start(launch)
        await self.ended(host, launch.id)
        await host.forget(launch.id)
        assert await host.last_output(launch.id) == "failing"
        assert await host.last_output("nobody-r1-1") == ""

    async def test_exits_are_pushed(self, host: Host) -> None:
        launch = self.launch("exits-3")

        async def first() -> Hosted:
            async for each in host.exits():
                if each.id == launch.id:
                    return each
            raise AssertionError("the stream of exits ended")

        watching = asyncio.create_task(first())
        await asyncio.sleep(0.1)
        await host.start(launch)
        async with asyncio.timeout(PATIENCE_S):
            found = await watching
        assert found.exit is not None
        assert found.exit.code == 3

    async def test_a_main_process_that_ends_takes_its_children_with_it(self, host: Host) -> None:
        launch = self.launch("leaves-a-child")
        await host.start(launch)
        found = await self.ended(host, launch.id)
        assert found.exit is not None
        assert found.exit.code == 0
        assert launch.id not in await host.usage()

    # --- output --------------------------------------------------------------------------------------------------

    async def collect(
        self, stream: AsyncIterator[LogLine], enough: Callable[[list[LogLine]], bool] = lambda _: False
    ) -> list[LogLine]:
        """A stream of logs to its end, or until it is enough."""
        found: list[LogLine] = []
        async with asyncio.timeout(PATIENCE_S):
            async for line in stream:
                found.append(line)
                if enough(found):
                    break
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
        return found

    async def test_logs_begin_with_the_last_lines(self, host: Host) -> None:
        launch = await self.begin(host, "prints")
        lines = await self.collect(host.logs("cabin", replica=launch.id, tail=5))
        assert [line.text for line in lines] == ["line 297", "line 298", "line 299", "line 300", "ready"]
        assert {(line.service, line.replica, line.stream) for line in lines} == {("cabin", launch.id, "stdout")}
        assert [line.wall for line in lines] == sorted(line.wall for line in lines)

    async def test_logs_of_a_job_are_those_of_all_ids_that_begin_so(self, host: Host) -> None:
        launches = [self.launch("exits-3", job=job) for job in ("nightly", "nightly", "nightly-2")]
        for launch in (*launches, self.launch("exits-3")):
            await host.start(launch)
            await self.ended(host, launch.id)
        lines = await self.collect(host.logs("cabin", replica="cabin.nightly.", tail=5))
        assert [(line.replica, line.text) for line in lines] == [(each.id, "failing") for each in launches[:2]]

    async def test_logs_follow_and_tell_the_streams_apart(self, host: Host) -> None:
        first = await self.begin(host, "waits")
        second = self.launch("exits-3")
        wanted = {("ready", "stdout", first.id), ("failing", "stderr", second.id), ("bye", "stdout", first.id)}

        def enough(lines: list[LogLine]) -> bool:
            return wanted <= {(line.text, line.stream, line.replica) for line in lines}

        reading = asyncio.create_task(self.collect(host.logs("cabin", tail=10, follow=True), enough))
        await asyncio.sleep(0.3)
        await host.start(second)
        await host.signal(first.id, "SIGTERM")
        lines = await reading
        assert (lines[0].text, lines[0].replica) == ("ready", first.id)

    async def test_the_end_of_the_output_is_bounded(self, host: Host) -> None:
        launch = await self.begin(host, "prints")
        assert await host.last_output(launch.id, 2) == "line 300\nready"

    # --- running and measuring -----------------------------------------------------------------------------------

    def command(self, line: str) -> Launch:
        """A launch for `run`: a shell line in a replica's surroundings."""
        return Launch(
            id=f"cabin-probe-{next(_numbers)}",
            service="cabin",
            release=1,
            command=Command(shell=line),
            folder="/",
            env={"PATH": "/usr/bin:/bin", "COLOUR": "green"},
        )

    async def test_a_command_is_run_to_its_end(self, host: Host) -> None:
        ended, output = await host.run(self.command('echo "$COLOUR"; echo oops >&2; exit 4'), PATIENCE_S)
        assert ended.code == 4
        assert sorted(output.split()) == ["green", "oops"]
        assert not await host.list()

    async def test_a_command_over_its_time_is_killed(self, host: Host) -> None:
        ended, output = await host.run(self.command("echo begun; sleep 600 & sleep 600"), 5.0)
        assert ended.code is None
        assert ended.text != "exit code 0"
        assert "begun" in output

    async def test_the_output_of_a_command_is_bounded(self, host: Host) -> None:
        ended, output = await host.run(self.command("head -c 3000000 /dev/zero | tr '\\0' x"), PATIENCE_S)
        assert ended.code == 0
        assert 500_000 < len(output) <= 1024 * 1024

    async def test_usage_names_the_running(self, host: Host) -> None:
        running = await self.begin(host, "waits")
        ended = self.launch("exits-3")
        await host.start(ended)
        await self.ended(host, ended.id)
        usage = await host.usage()
        assert ended.id not in usage
        resident_bytes, cpu_s = usage[running.id]
        assert resident_bytes > 0
        assert cpu_s >= 0

    async def test_a_foreign_word_for_a_signal_is_an_error(self, host: Host) -> None:
        launch = await self.begin(host, "waits")
        with pytest.raises((AtollError, KeyError, ValueError)):
            await host.signal(launch.id, "SIGNONSENSE")
