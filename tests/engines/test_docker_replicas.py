"""What is special of replicas in containers: how they are shut in, what they keep, how they end. On a real dockerd."""

import asyncio
import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from atoll.engines.docker import DockerHost
from atoll.engines.docker.container import Owner, config, ended_with
from atoll.engines.docker.names import Names
from atoll.model.environment import DockerSpec
from atoll.model.errors import Permanent
from atoll.model.hosted import Hosted
from atoll.model.spec import Command, Limits
from atoll.model.state import Exit, Image
from atoll.ports import Launch
from atoll.testing.host_suite import eventually
from dockerd import Dockerd


@pytest.fixture
def host(dockerd: Dockerd, make_host: Any) -> DockerHost:
    return make_host(dockerd)


class Line:
    """A way to dockerd's socket that can be cut."""

    def __init__(self, dockerd: Dockerd, socket: Path) -> None:
        self._dockerd, self.socket = dockerd, socket
        self._ways: set[asyncio.StreamWriter] = set()

    async def join(self) -> None:
        self._server = await asyncio.start_unix_server(self._carry, self.socket)

    async def cut(self) -> None:
        self._server.close()
        self.socket.unlink()
        for way in self._ways:
            way.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, onward = await asyncio.open_unix_connection(self._dockerd.socket)
        ways = {writer, onward}
        self._ways |= ways
        await asyncio.gather(self._pump(reader, onward), self._pump(there, writer))
        self._ways -= ways

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()


@pytest.fixture
def launch(image: Image) -> Any:
    """A launch of a shell line."""

    def made(line: str, id: str = "cabin-r1-1", **fields: Any) -> Launch:
        usual = {"id": id, "service": "cabin", "release": 1, "folder": "/", "image": image}
        return Launch(**{**usual, "env": {"PATH": "/usr/bin:/bin"}, "command": Command(shell=line), **fields})

    return made


async def ended(host: DockerHost, replica: str) -> Hosted:
    async def look() -> Hosted | None:
        return next((each for each in await host.list() if each.id == replica and each.exit is not None), None)

    found = await eventually(look, f"{replica} ends")
    assert isinstance(found, Hosted)
    return found


async def says(host: DockerHost, replica: str, text: str) -> None:
    async def look() -> bool:
        return text in (await host.last_output(replica, 100)).splitlines()

    await eventually(look, f"{replica} says {text!r}")


def inspected(dockerd: Dockerd, environment: str, replica: str) -> dict[str, Any]:
    return json.loads(dockerd.docker("inspect", f"atoll-{environment}-{replica}"))[0]


# --- shut in ------------------------------------------------------------------------------------------------------


async def test_a_replica_has_no_power_and_writes_to_memory_only(host: DockerHost, launch: Any) -> None:
    line = (
        "id -u; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status; touch /usr/x 2>/dev/null || echo sealed; "
        "touch /tmp/x /run/x && echo roomy; echo done; sleep 600"
    )
    await host.start(launch(line))
    await says(host, "cabin-r1-1", "done")
    uid, *rest = (await host.last_output("cabin-r1-1")).replace("\t", "").splitlines()
    assert int(uid) >= 61000
    assert rest == ["CapEff:" + "0" * 16, "CapBnd:" + "0" * 16, "NoNewPrivs:1", "sealed", "roomy", "done"]


async def test_limits_are_the_kernels(host: DockerHost, dockerd: Dockerd, environment: str, launch: Any) -> None:
    limits = Limits(memory_bytes=64 * 2**20, cpu_weight=50, open_files=512)
    await host.start(launch("ulimit -n; sleep 600", limits=limits))
    await says(host, "cabin-r1-1", "512")
    told = inspected(dockerd, environment, "cabin-r1-1")["HostConfig"]
    assert (told["Memory"], told["MemorySwap"], told["CpuShares"]) == (64 * 2**20, 64 * 2**20, 512)
    assert told["PidsLimit"] == 2048
    assert told["RestartPolicy"]["Name"] == "no"


@pytest.mark.parametrize(
    "line",
    ["python3 -c 'x = bytearray(2**28)'", "python3 -c 'x = bytearray(2**28)' || exit 5"],
    ids=["itself", "child"],
)
async def test_a_replica_out_of_memory_says_so_with_its_limit(host: DockerHost, launch: Any, line: str) -> None:
    await host.start(launch(line, limits=Limits(memory_bytes=32 * 2**20)))
    found = await ended(host, "cabin-r1-1")
    assert found.exit is not None
    assert found.exit.text == "out of memory, limit 32MiB"


async def test_a_secret_is_in_the_environment_and_in_no_label_or_argument(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    await host.start(launch('echo "${#TOKEN} long"; sleep 600', secrets={"TOKEN": "swordfish"}))
    await says(host, "cabin-r1-1", "9 long")
    told = inspected(dockerd, environment, "cabin-r1-1")
    assert "TOKEN=swordfish" in told["Config"].pop("Env")
    assert "swordfish" not in json.dumps(told)


# --- what it keeps ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("volumes")
async def test_what_is_written_to_a_writable_folder_outlives_the_replica(
    make_host: Any, dockerd: Dockerd, launch: Any
) -> None:
    folders = (f"{make_host(dockerd).data_base()}/cabin", "/srv/spool")
    first = make_host(dockerd)
    await first.start(launch("echo kept | tee " + " ".join(f"{each}/note" for each in folders), writable=folders))
    found = await ended(first, "cabin-r1-1")
    assert found.exit is not None
    assert found.exit.code == 0, await first.last_output("cabin-r1-1")
    await first.clear()
    second = make_host(dockerd)
    await second.start(launch("cat " + " ".join(f"{each}/note" for each in folders), "cabin-r2-1", writable=folders))
    await ended(second, "cabin-r2-1")
    assert await second.last_output("cabin-r2-1") == "kept\nkept"


@pytest.fixture
def with_user(dockerd: Dockerd, image: Image, environment: str) -> Any:
    """Makes images that name a user."""
    made = []

    def user(name: str) -> Image:
        dockerd.docker("create", "--name", f"for-{environment}-{len(made)}", image.id, "true")
        tag = f"with-user:{environment}-{len(made)}"
        dockerd.docker("commit", "--change", f"USER {name}", f"for-{environment}-{len(made)}", tag)
        dockerd.docker("rm", f"for-{environment}-{len(made)}")
        made.append(tag)
        return Image(id=tag, user=name)

    yield user
    for tag in made:
        dockerd.docker("image", "rm", "--force", tag)


@pytest.mark.usefixtures("volumes")
@pytest.mark.parametrize(
    ("name", "numbers"), [("nobody", "65534:65534"), ("1234:2345", "1234:2345"), ("nobody:daemon", "65534:1")]
)
async def test_the_images_own_user_has_its_volumes_and_files(
    host: DockerHost, launch: Any, with_user: Any, name: str, numbers: str
) -> None:
    folder = f"{host.files_base()}/cabin-r1-1"
    line = f'echo "$(id -u):$(id -g)"; touch /srv/x && cat {folder}/a'
    made = launch(line, image=with_user(name), writable=("/srv",), files={"a": "mine"}, files_folder=folder)
    await host.start(made)
    found = await ended(host, "cabin-r1-1")
    assert found.exit is not None
    assert await host.last_output("cabin-r1-1") == f"{numbers}\nmine"
    assert found.exit.code == 0


async def test_a_user_that_the_image_does_not_know_is_told(host: DockerHost, launch: Any, image: Image) -> None:
    with pytest.raises(Permanent, match="there is no user stranger in the image"):
        await host.start(launch("true", image=Image(id=image.id, user="stranger")))
    assert not await host.list()


async def test_a_line_of_any_length_is_one_line_and_is_kept_as_one(host: DockerHost, launch: Any) -> None:
    await host.start(launch("head -c 40000 /dev/zero | tr '\\0' x; echo; echo after; printf unfinished"))
    await ended(host, "cabin-r1-1")
    wanted = ["x" * 40000, "after", "unfinished"]
    before = [line async for line in host.logs("cabin")]
    assert [line.text for line in before] == wanted
    await host.forget("cabin-r1-1")
    after = [line async for line in host.logs("cabin")]
    assert [(line.text, line.stream, line.replica) for line in after] == [
        (line.text, line.stream, line.replica) for line in before
    ]
    assert [line.wall for line in after] == pytest.approx([line.wall for line in before], abs=1e-5)


async def test_a_follower_misses_nothing_of_one_that_came_and_went(host: DockerHost, launch: Any) -> None:
    found: list[str] = []

    async def follow() -> None:
        async for line in host.logs("cabin", follow=True):
            found.append(line.text)

    following = asyncio.create_task(follow())
    for number in range(3):
        await host.start(launch(f"echo line {number}", f"cabin-r1-{number}"))
        await ended(host, f"cabin-r1-{number}")
        await host.forget(f"cabin-r1-{number}")

    async def all_there() -> bool:
        assert not following.done()
        return len(found) >= 3

    await eventually(all_there, "each line is told")
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following
    assert sorted(found) == ["line 0", "line 1", "line 2"]


async def test_a_follower_goes_on_in_the_file_of_one_that_was_forgotten_while_dockerd_did_not_answer(
    host: DockerHost, dockerd: Dockerd, launch: Any, home: Path
) -> None:
    line = Line(dockerd, home / "line")
    await line.join()
    other = DockerHost(home / "state", home / "run", DockerSpec(socket=str(line.socket)))
    found: list[str] = []

    async def follow() -> None:
        async for each in other.logs("cabin", replica="cabin-r1-1", tail=1, follow=True):
            found.append(each.text)

    async def told(last: str) -> bool:
        assert not following.done()
        return found[-1:] == [last]

    silent = "exec 2>/dev/null"  # the shell's word on its child's end
    burst = "for i in $(seq $n $((n + 499))); do echo line $i; done; n=$((n + 500))"
    await host.start(
        launch(f"{silent}; n=1; {burst}; trap '{burst}' TERM; while [ $n -lt 1001 ]; do sleep 0.05; done; {burst}")
    )
    await says(host, "cabin-r1-1", "line 500")
    following = asyncio.create_task(follow())
    await eventually(lambda: told("line 500"), "it is followed")
    await line.cut()
    assert await host.signal("cabin-r1-1", "SIGTERM")
    await ended(host, "cabin-r1-1")
    await host.forget("cabin-r1-1")
    await line.join()
    await eventually(lambda: told("line 1500"), "the file is read")
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await other.close()
    await line.cut()
    assert found == [f"line {number}" for number in range(500, 1501)]


# --- how it ends --------------------------------------------------------------------------------------------------


async def test_output_is_there_at_each_instant_while_a_replica_is_forgotten(host: DockerHost, launch: Any) -> None:
    looks = 0

    async def reads(replica: str, gone: asyncio.Event) -> None:
        nonlocal looks
        last = False
        while not last:
            last = gone.is_set()  # once more when it is gone
            assert [line.text async for line in host.logs("cabin", replica=replica)] == ["ouch"]
            assert await host.last_output(replica) == "ouch"
            looks += 1

    for number in range(5):
        replica, gone = f"cabin-r1-{number + 1}", asyncio.Event()
        await host.start(launch("echo ouch; exit 3", replica))
        await ended(host, replica)
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(reads(replica, gone))
            await host.forget(replica)
            gone.set()
    assert looks > 20, "some looks were made while it was being forgotten"


async def test_a_signal_reaches_the_whole_group(host: DockerHost, launch: Any) -> None:
    child = "sh -c 'trap \"echo child; exit\" TERM; echo ready; while :; do sleep 0.05; done'"
    await host.start(launch(f"trap 'wait; exit 0' TERM; {child} & wait"))
    await says(host, "cabin-r1-1", "ready")
    assert await host.signal("cabin-r1-1", "SIGTERM")
    found = await ended(host, "cabin-r1-1")
    assert found.exit is not None
    assert found.exit.code == 0
    assert "child" in (await host.last_output("cabin-r1-1")).splitlines()


async def test_a_replica_that_is_stopped_goes_on_when_continued(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    await host.start(launch("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"))
    await says(host, "cabin-r1-1", "ready")
    for _ in range(2):  # stopping twice is stopping
        assert await host.signal("cabin-r1-1", "SIGSTOP")
    assert inspected(dockerd, environment, "cabin-r1-1")["State"]["Paused"]
    assert [each.exit for each in await host.list()] == [None]
    for _ in range(2):
        assert await host.signal("cabin-r1-1", "SIGCONT")
    assert not inspected(dockerd, environment, "cabin-r1-1")["State"]["Paused"]


async def test_a_stopped_replica_can_be_killed(host: DockerHost, launch: Any) -> None:
    await host.start(launch("sleep 600"))
    assert await host.signal("cabin-r1-1", "SIGSTOP")
    assert await host.signal("cabin-r1-1", "SIGKILL")
    found = await ended(host, "cabin-r1-1")
    assert found.exit is not None
    assert found.exit.signal == 9


async def test_one_that_a_person_removes_is_told_at_once(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    await host.start(launch("sleep 600"))
    ends = host.exits()
    waiting = asyncio.create_task(anext(ends))
    await asyncio.sleep(0.5)
    await asyncio.to_thread(dockerd.docker, "rm", "--force", f"atoll-{environment}-cabin-r1-1")
    async with asyncio.timeout(30):
        found = await waiting
    await ends.aclose()
    assert (found.id, found.exit and found.exit.signal) == ("cabin-r1-1", 9)
    assert not await host.list()


# --- commands in it -----------------------------------------------------------------------------------------------


async def test_a_command_runs_in_the_container_with_its_environment_and_user(host: DockerHost, launch: Any) -> None:
    await host.start(launch("echo here > /tmp/mark; id -u; echo ready; sleep 600", secrets={"TOKEN": "swordfish"}))
    await says(host, "cabin-r1-1", "ready")
    ended_, output = await host.run(launch('cat mark; echo "${#TOKEN}"; id -u; exit 4', folder="/tmp"), 30.0)
    uid = (await host.last_output("cabin-r1-1")).splitlines()[0]
    assert (ended_.code, output.split()) == (4, ["here", "9", uid])


async def test_a_command_that_is_not_in_the_image_is_told(host: DockerHost, launch: Any) -> None:
    await host.start(launch("sleep 600"))
    missing = launch("", command=Command(argv=("no-such-program",)))
    inside, _ = await host.run(missing, 30.0)
    await host.forget("cabin-r1-1")
    alone, _ = await host.run(missing, 30.0)
    for found in (inside, alone):
        assert found.code is None
        assert "no-such-program" in found.error


async def test_a_command_in_a_container_over_its_time_is_killed_with_its_children(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    await host.start(launch("sleep 600"))
    found, output = await host.run(launch("echo begun; sleep 300 & setsid sleep 301"), 5.0)
    assert "ran longer than 5 s" in found.error
    assert output == "begun\n"

    async def alone() -> bool:
        return "sleep 30" not in dockerd.docker("top", f"atoll-{environment}-cabin-r1-1", "-o", "pid,args")

    await eventually(alone, "its children are gone")


async def test_what_a_command_leaves_running_holds_nobody_up(host: DockerHost, launch: Any) -> None:
    await host.start(launch("sleep 600"))
    async with asyncio.timeout(20):
        found, output = await host.run(launch("sleep 300 & echo done"), 60.0)
    assert (found.code, output) == (0, "done\n")


# --- whose it is --------------------------------------------------------------------------------------------------


async def test_another_daemon_finds_a_replica_as_it_was(make_host: Any, dockerd: Dockerd, launch: Any) -> None:
    first = make_host(dockerd)
    before = await first.start(launch("sleep 600"))
    (after,) = await make_host(dockerd).list()
    assert (after.id, after.pid, after.release, after.exit) == (before.id, before.pid, 1, None)
    assert after.started_s == pytest.approx(before.started_s, abs=0.5)


async def test_a_foreign_container_of_its_name_is_an_error_and_stays(
    host: DockerHost, dockerd: Dockerd, environment: str, image: Image, launch: Any
) -> None:
    name = f"atoll-{environment}-cabin-r1-1"
    dockerd.docker("run", "--detach", "--name", name, image.id, "sleep", "600")
    try:
        with pytest.raises(Permanent, match=f"there is a container {name} already"):
            await host.start(launch("true"))
        assert not await host.signal("cabin-r1-1", "SIGKILL")
        await host.forget("cabin-r1-1")
        await host.clear()
        assert not await host.list()
        assert inspected(dockerd, environment, "cabin-r1-1")["State"]["Running"]
    finally:
        dockerd.docker("rm", "--force", name)


async def test_what_a_killed_daemon_made_and_did_not_start_is_removed_or_started(
    make_host: Any, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    host = make_host(dockerd)
    network = (await host.reach("cabin")).network
    assert network
    names = Names(environment)
    half = [launch("sleep 600", f"cabin-r1-{number}") for number in (1, 2)]
    async with host._client.asked("make containers") as docker:
        for each in half:
            made = config(each, names, names.network("cabin"), Owner(1000, 1000))
            await docker.containers.create(made, name=names.container(each.id))
    next_ = make_host(dockerd)
    assert (await next_.start(half[0])).pid is not None
    assert [each.id for each in await next_.list()] == ["cabin-r1-1"]
    assert dockerd.docker("ps", "--all", "--quiet", "--filter", f"name=atoll-{environment}-cabin-r1-2") == ""


async def test_a_command_that_a_killed_daemon_ran_is_removed(
    make_host: Any, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    running = asyncio.create_task(make_host(dockerd).run(launch("sleep 600", "cabin-probe"), 600.0))

    async def begun() -> bool:
        return "Up" in dockerd.docker("ps", "--filter", f"label=dev.atoll.environment={environment}")

    await eventually(begun, "it runs")
    await make_host(dockerd).list()
    assert dockerd.docker("ps", "--all", "--quiet", "--filter", f"label=dev.atoll.environment={environment}") == ""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_files_of_those_that_ended_unseen_are_gone_once_a_daemon_looks(
    make_host: Any, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    host = make_host(dockerd)
    folder = f"{host.files_base()}/cabin-r1-1"
    await host.start(launch("sleep 600", files={"a": "x"}, files_folder=folder))
    await asyncio.to_thread(dockerd.docker, "rm", "--force", f"atoll-{environment}-cabin-r1-1")
    assert Path(folder, "a").exists()
    await make_host(dockerd).list()
    assert not Path(folder).exists()


async def test_a_missing_image_is_told_at_once_with_what_to_do(host: DockerHost, launch: Any) -> None:
    gone = Image(id="sha256:" + "0" * 64)
    started = await host.start(launch("true", image=gone))
    assert started.exit is not None
    assert started.exit.error == (
        "the image 000000000000 is not on this machine any more; `atoll deploy cabin` makes it again"
    )
    found, _ = await host.run(launch("true", image=gone), 30.0)
    assert found.error == started.exit.error


async def test_fifty_start_at_once_and_all_are_removed(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Any
) -> None:
    launches = [launch("exec sleep 600", f"cabin-r1-{number}") for number in range(50)]
    started = await asyncio.gather(*(host.start(each) for each in launches))
    assert all(each.exit is None and each.pid for each in started)
    assert {each.id for each in await host.list()} == {each.id for each in launches}
    assert len(await host.usage()) == 50
    await host.clear()
    assert dockerd.docker("ps", "--all", "--quiet", "--filter", f"label=dev.atoll.environment={environment}") == ""


def test_an_exit_code_beyond_128_is_a_signals() -> None:
    assert [ended_with(code) for code in (0, 1, 128, 137, 143, 255)] == [
        Exit(code=0),
        Exit(code=1),
        Exit(code=128),
        Exit(signal=9),
        Exit(signal=15),
        Exit(code=255),
    ]
