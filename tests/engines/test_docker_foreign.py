"""Images for another processor, told before one is started."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.engines.conftest import MakeHost

from atoll.engines.docker import DockerHost
from atoll.engines.docker.foreign import emulated, variant
from atoll.model.environment import DockerSpec
from atoll.model.launch import Launch
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


async def test_a_replica_whose_image_came_from_another_machine_is_not_started_and_says_why(
    dockerd: Dockerd, make_host: MakeHost, foreign: Image
) -> None:
    """As after the restore of a backup, where nobody was asked."""
    run = Launch(
        id="mailer-r1-0-abcdef", service="mailer", release=1, command=Command(), folder="/", env={}, image=foreign
    )
    hosted = await make_host(dockerd).start(run)
    assert hosted.exit is not None
    assert "the image atoll-test-foreign:1 is for linux/s390x, and this machine is linux/" in hosted.exit.error
    assert "name one for linux/" in hosted.exit.error


async def test_a_newer_variant_of_the_processor_is_refused_and_an_older_is_not(
    dockerd: Dockerd, make_host: MakeHost
) -> None:
    arch = dockerd.docker("version", "--format", "{{.Server.Arch}}")
    most = variant(arch, os.uname().machine)
    if not most:
        pytest.skip(f"nobody tells the variants of {arch}")
    tag, host = "atoll-test-variant:1", make_host(dockerd)
    try:
        newer = Image(id=dockerd.empty(tag, arch, f"v{most + 1}"))
        (unable,) = await host.refusals(SPEC, newer)
        assert (
            unable.what == f"the image {tag} is for linux/{arch}/v{most + 1}, and this machine is linux/{arch}/v{most}"
        )
        for fits in (f"v{most}", "v1", ""):
            assert list(await host.refusals(SPEC, Image(id=dockerd.empty(tag, arch, fits)))) == [], fits
    finally:
        dockerd.docker("image", "rm", "--force", tag)


V2 = "fpu lahf_lm cx16 popcnt sse4_1 sse4_2 ssse3"
V3 = f"{V2} abm avx avx2 bmi1 bmi2 f16c fma movbe xsave"


@pytest.mark.parametrize(
    ("arch", "kernel", "flags", "newest"),
    [
        ("arm", "armv6l", "", 6),
        ("arm", "armv7l", "", 7),
        ("arm", "armv5tejl", "", 5),
        ("arm", "aarch64", "", 0),  # one that runs the system of an older one
        ("arm64", "aarch64", "fp asimd", 0),
        ("amd64", "x86_64", "fpu sse2", 1),
        ("amd64", "x86_64", V2, 2),
        ("amd64", "x86_64", V3.replace("avx2", ""), 2),
        ("amd64", "x86_64", V3, 3),
        ("amd64", "x86_64", f"{V3} avx512bw avx512cd avx512dq avx512f avx512vl", 4),
        ("amd64", "x86_64", "", 0),
    ],
)
def test_which_variant_a_processor_runs(tmp_path: Path, arch: str, kernel: str, flags: str, newest: int) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: one\nflags\t\t: {flags}\nbugs\t\t: none\n")
    assert variant(arch, kernel, cpuinfo) == newest
    assert variant("amd64", "x86_64", tmp_path / "none") == 0


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
