"""What is special of replicas in containers: how they start and are shut in, what they keep, how they end. On a real dockerd."""

import asyncio
import json
from typing import Any

import pytest
from tests.engines.cabin import ended, inspected, says

from atoll.engines.docker import DockerHost
from atoll.engines.docker.container import ended_with
from atoll.model.errors import Permanent
from atoll.model.spec import Command, Limits
from atoll.model.state import Exit, Image
from atoll.testing.host_suite import eventually
from dockerd import Dockerd

# --- how it starts ------------------------------------------------------------------------------------------------


async def test_a_user_that_the_image_does_not_know_is_told(host: DockerHost, launch: Any, image: Image) -> None:
    with pytest.raises(Permanent, match="there is no user stranger in the image"):
        await host.start(launch("true", image=Image(id=image.id, user="stranger")))
    assert not await host.list()


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


# --- how it is shut in --------------------------------------------------------------------------------------------


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


# --- how it ends --------------------------------------------------------------------------------------------------


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


def test_an_exit_code_beyond_128_is_a_signals() -> None:
    assert [ended_with(code) for code in (0, 1, 128, 137, 143, 255)] == [
        Exit(code=0),
        Exit(code=1),
        Exit(code=128),
        Exit(signal=9),
        Exit(signal=15),
        Exit(code=255),
    ]


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
