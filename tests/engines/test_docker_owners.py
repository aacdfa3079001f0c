"""Whose a container is, also when the daemon that made it was killed in the middle. On a real dockerd."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.engines.cabin import inspected

from atoll.engines.docker import DockerHost
from atoll.engines.docker.container import Owner, config
from atoll.engines.docker.names import Names
from atoll.model.errors import Permanent
from atoll.model.state import Image
from atoll.testing.host_suite import eventually
from dockerd import Dockerd


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
