"""Images for another processor, told before one is started."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.conftest import MakeHost

from atoll.engines.docker import DockerHost
from atoll.engines.docker.foreign import emulated
from atoll.model.environment import DockerSpec
from atoll.model.spec import Command, ImageSpec, ServiceSpec
from atoll.model.state import Image
from dockerd import Dockerd

SPEC = ServiceSpec(name="mailer", run=Command(shell="serve"))
HEADS = {  # as QEMU, Rosetta and FEX register themselves
    "qemu-aarch64": "7f454c460201010000000000000000000200b700",
    "rosetta": "7f454c4602010100000000000000000002003e00",
    "FEX-x86": "7f454c4601010100000000000000000002000300",
    "qemu-s390x": "7f454c4602020100000000000000000000020016",
}


@pytest.fixture
def foreign(dockerd: Dockerd) -> Iterator[Image]:
    """One for a processor that no machine of ours has, nor its kernel an interpreter for."""
    yield Image(id=dockerd.empty("atoll-test-foreign:1", "s390x"))
    dockerd.docker("image", "rm", "atoll-test-foreign:1")


async def test_an_image_for_another_processor_is_refused_with_its_name_both_platforms_and_the_fix(
    dockerd: Dockerd, make_host: MakeHost, foreign: Image, image: Image
) -> None:
    host, machine = make_host(dockerd), dockerd.docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
    (unable,) = await host.refusals(SPEC, foreign)
    assert unable.what == f"the image atoll-test-foreign:1 is for linux/s390x, and this machine is {machine}"
    assert unable.id == "other-platform"
    assert f"name one for {machine}" in unable.fix
    ref = "shop/mailer@sha256:" + "ab" * 32
    (unable,) = await host.refusals(ServiceSpec(name="mailer", image=ImageSpec(ref=ref)), foreign)
    assert unable.what.startswith(f"the image {ref} is for linux/s390x")
    assert list(await host.refusals(SPEC, image)) == []


async def test_what_dockerd_does_not_say_refuses_nothing(dockerd: Dockerd, make_host: MakeHost) -> None:
    unknown = Image(id="sha256:" + "0" * 64)
    assert list(await make_host(dockerd).refusals(SPEC, unknown)) == []


async def test_a_dockerd_that_is_away_refuses_nothing(home: Path) -> None:
    away = DockerHost(home / "state", home / "run", DockerSpec(socket=str(home / "none.sock")))
    assert list(await away.refusals(SPEC, Image(id="sha256:" + "0" * 64))) == []
    await away.close()


def test_a_processor_whose_programs_the_kernel_hands_to_an_interpreter_counts_whatever_that_is_called(
    tmp_path: Path,
) -> None:
    def register(name: str, by: str, word: str = "enabled") -> None:
        (tmp_path / name).write_text(f"{word}\ninterpreter /usr/bin/{name}\nflags: F\n{by}\n")

    for name, magic in HEADS.items():
        register(name, f"offset 0\nmagic {magic}\nmask ff")
    register("qemu-s390x", f"offset 0\nmagic {HEADS['qemu-s390x']}", "disabled")
    register("python3.11", "offset 0\nmagic a70d0d0a")
    register("jar", "extension .jar")
    (tmp_path / "status").write_text("enabled\n")
    (tmp_path / "register").mkdir()  # as little to be read as the kernel's
    assert emulated(tmp_path) == {"arm64", "amd64", "386"}
    register("qemu-s390x", f"offset 0\nmagic {HEADS['qemu-s390x']}")
    assert emulated(tmp_path) == {"arm64", "amd64", "386", "s390x"}


def test_a_kernel_without_binfmt_misc_has_no_interpreter(tmp_path: Path) -> None:
    assert emulated(tmp_path / "none") == set()
