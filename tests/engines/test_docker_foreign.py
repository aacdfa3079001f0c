"""Images for another processor, told before one is started."""

import tarfile
from pathlib import Path

import pytest
from tests.engines.conftest import MakeHost

from atoll.engines.docker.foreign import emulated
from atoll.model.spec import Command, ImageSpec, ServiceSpec
from atoll.model.state import Image
from dockerd import Dockerd

SPEC = ServiceSpec(name="mailer", run=Command(shell="serve"))


def made(dockerd: Dockerd, folder: Path, *platform: str) -> Image:
    """An empty one."""
    with tarfile.open(folder / "empty.tar", "w"):
        pass
    return Image(id=dockerd.docker("import", *platform, str(folder / "empty.tar"), "atoll-test-foreign:1"))


@pytest.fixture
def foreign(dockerd: Dockerd, tmp_path: Path) -> Image:
    """One for a processor that nobody's machine has, and no kernel an interpreter for."""
    return made(dockerd, tmp_path, "--platform", "linux/s390x")


async def test_an_image_for_another_processor_is_refused_with_its_name_both_platforms_and_the_fix(
    dockerd: Dockerd, make_host: MakeHost, foreign: Image, tmp_path: Path
) -> None:
    host, machine = make_host(dockerd), dockerd.docker("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")
    (unable,) = await host.refusals(SPEC, foreign)
    assert unable.what == f"the image atoll-test-foreign:1 is for linux/s390x, and this machine is {machine}"
    assert unable.id == "other-platform"
    assert machine in unable.fix
    ref = "shop/mailer@sha256:" + "ab" * 32
    (unable,) = await host.refusals(ServiceSpec(name="mailer", image=ImageSpec(ref=ref)), foreign)
    assert unable.what.startswith(f"the image {ref} is for linux/s390x")
    assert list(await host.refusals(SPEC, made(dockerd, tmp_path))) == []


async def test_what_dockerd_does_not_say_refuses_nothing(dockerd: Dockerd, make_host: MakeHost) -> None:
    host = make_host(dockerd)
    assert list(await host.refusals(SPEC, Image(id="sha256:" + "0" * 64))) == []
    away = make_host(Dockerd(Path("/nonexistent"), Path("/nonexistent"), 0))
    assert list(await away.refusals(SPEC, Image(id="sha256:" + "0" * 64))) == []
    await away.close()


def test_a_processor_whose_programs_the_kernel_hands_to_an_interpreter_is_none_that_is_missing(tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text("enabled\ninterpreter /usr/bin/qemu-aarch64\n")
    (tmp_path / "qemu-s390x").write_text("disabled\n")
    (tmp_path / "python3.11").write_text("enabled\n")
    assert emulated(tmp_path) == {"arm64"}
    assert emulated(tmp_path / "none") == set()
