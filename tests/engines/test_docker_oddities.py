"""What a person, an image or a power cut may do to containers that no daemon is ready for. On a real dockerd."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atoll.engines.docker import DockerHost
from atoll.engines.docker.client import DockerFailed, frames
from atoll.model.errors import Retryable
from atoll.model.spec import Command
from atoll.model.state import Image
from atoll.ports import Launch
from atoll.testing.host_suite import eventually
from dockerd import Dockerd


@pytest.fixture
def launch(image: Image) -> Launch:
    env = {"PATH": "/usr/bin:/bin"}
    command = Command(shell="echo before; sleep 600")
    return Launch(id="cabin-r1-1", service="cabin", release=1, folder="/", image=image, env=env, command=command)


@pytest.fixture
def build(dockerd: Dockerd, tmp_path: Path, image: Image) -> Iterator[Any]:
    """Builds an image by lines of a Dockerfile."""
    made: list[str] = []

    def built(lines: str) -> str:
        (tmp_path / "Dockerfile").write_text(f"FROM {image.id}\n{lines}\n")
        made.append(f"atoll-odd:{os.getpid()}-{len(made)}")
        dockerd.docker("build", "--quiet", "--tag", made[-1], str(tmp_path))
        return dockerd.docker("image", "inspect", "--format", "{{.Id}}", made[-1]).strip()

    yield built
    for name in made:
        dockerd.docker("image", "rm", name)


async def test_a_log_that_was_torn_is_kept_as_far_as_it_can_be_read(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Launch
) -> None:
    await host.start(launch)

    async def printed() -> bool:
        return await host.last_output("cabin-r1-1") == "before"

    await eventually(printed, "it prints")
    log = Path(dockerd.docker("inspect", "--format", "{{.LogPath}}", f"atoll-{environment}-{launch.id}").strip())
    with log.open("ab") as file:
        file.write(bytes(512))  # what a power cut leaves of a write
    assert await host.last_output("cabin-r1-1") in {"before", ""}
    assert {line.text async for line in host.logs("cabin")} <= {"before"}
    await host.forget("cabin-r1-1")
    assert await host.list() == []
    assert [line.text async for line in host.logs("cabin")] == ["before"]


async def test_a_frozen_one_hears_another_signal_than_the_one_that_its_image_names(
    host: DockerHost, launch: Launch, build: Any
) -> None:
    """Dockerd would leave it frozen."""
    trap = Command(shell="trap 'exit 0' TERM; echo ready; while :; do sleep 0.05; done")
    asked = msgspec.structs.replace(launch, image=Image(id=build("STOPSIGNAL SIGQUIT")), command=trap)
    await host.start(asked)

    async def heeds() -> bool:
        return [line.text async for line in host.logs("cabin")] == ["ready"]

    await eventually(heeds, "it heeds the signal")
    assert await host.signal("cabin-r1-1", "SIGSTOP")
    assert await host.signal("cabin-r1-1", "SIGTERM")

    async def ended() -> bool:
        return [each.exit.code for each in await host.list() if each.exit] == [0]

    await eventually(ended, "it ends in its own way")
    await host.forget("cabin-r1-1")  # the image goes before the host


async def test_root_by_another_name_is_root(host: DockerHost, launch: Launch, build: Any) -> None:
    id = build("RUN echo toor:x:0:0::/root:/bin/sh >> /etc/passwd")
    for user in ("toor", "00", "0:0"):
        asked = msgspec.structs.replace(launch, image=Image(id=id, user=user), command=Command(shell="id -u"))
        _, said = await host.run(asked, 30.0)
        assert int(said) != 0, user


async def test_looking_into_an_image_that_declares_volumes_leaves_none(
    host: DockerHost, dockerd: Dockerd, launch: Launch, build: Any, volumes: None
) -> None:
    del volumes
    id = build("RUN useradd --uid 1234 sailor\nVOLUME /kept /other")
    before = set(dockerd.docker("volume", "ls", "--quiet").split())
    image = Image(id=id, user="sailor")
    ended, said = await host.run(
        msgspec.structs.replace(launch, image=image, command=Command(shell="id -u"), writable=("/var/mine",)), 30.0
    )
    assert (ended.code, said.strip()) == (0, "1234")
    more = set(dockerd.docker("volume", "ls", "--quiet").split()) - before
    assert [name for name in more if not name.startswith("atoll-")] == []


async def test_what_a_killed_daemon_looked_into_is_removed_by_the_next_one(
    make_host: Any, dockerd: Dockerd, environment: str, image: Image
) -> None:
    labels = [f"--label=dev.atoll.environment={environment}", "--label=dev.atoll.kind=probe"]
    dockerd.docker("create", *labels, image.id, "-")
    assert await make_host(dockerd).list() == []
    assert not dockerd.docker("ps", "--all", "--quiet", "--filter", f"label=dev.atoll.environment={environment}")


async def test_a_container_with_no_more_than_our_label_harms_nobody(
    host: DockerHost, dockerd: Dockerd, environment: str, image: Image
) -> None:
    dockerd.docker("create", f"--label=dev.atoll.environment={environment}", image.id, "true")
    assert await host.list() == []


async def test_a_network_that_is_removed_while_a_replica_is_made_is_made_again(
    host: DockerHost, dockerd: Dockerd, environment: str, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = host._networks
    attach = networks.attach

    async def pruned(service: str) -> str:
        id = await attach(service)
        dockerd.docker("network", "rm", id)
        return id

    with monkeypatch.context() as patch:
        patch.setattr(networks, "attach", pruned)
        with pytest.raises(Retryable, match="not found"):
            await host.start(launch)
    assert await host.list() == []
    assert (await host.start(launch)).exit is None


async def test_what_dockerd_says_of_a_log_is_no_line_of_the_container() -> None:
    """Since version 23 it tells where it cannot read on."""
    reader = asyncio.StreamReader()
    for stream, text in ((1, b"one\n"), (2, b"two\n"), (3, b"Error grabbing logs: unexpected EOF\n")):
        reader.feed_data(bytes([stream, 0, 0, 0]) + len(text).to_bytes(4, "big") + text)
    told = frames(reader)  # type: ignore[arg-type]  it reads alike
    assert [await anext(told), await anext(told)] == [(b"o", b"one\n"), (b"e", b"two\n")]
    with pytest.raises(DockerFailed, match="Error grabbing logs: unexpected EOF"):
        await anext(told)
