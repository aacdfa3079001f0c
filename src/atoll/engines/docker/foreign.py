"""Whether this machine's processor runs the programs of an image, found out before anything is started of it.

dockerd pulls an image for another processor without a word where its reference names that one, and the first container then
ends with "exec format error". What is asked for is what runs: another way in (a rollback, a backup) has the same answer.
"""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from atoll.engines.docker.client import Client, DockerRefused
from atoll.engines.docker.container import short
from atoll.model.errors import Retryable
from atoll.model.hosted import Unable
from atoll.model.state import Image

# A processor that runs another one's programs as well, as Go and Docker call them.
_ALSO = {("386", "amd64"), ("arm", "arm64")}
# What the kernel's interpreters of foreign programs are for, by QEMU's name; the others are called alike.
_QEMU = {
    "amd64": "x86_64",
    "386": "i386",
    "arm64": "aarch64",
    "loong64": "loongarch64",
    "mips64le": "mips64el",
    "mipsle": "mipsel",
}
_INTERPRETERS = Path("/proc/sys/fs/binfmt_misc")


async def foreign(client: Client, image: Image, called: str) -> Unable | None:
    """Why the image cannot run here; None when it can, or when dockerd does not say: what it has no longer is another matter.

    `called` is what its owner calls it; "" is what dockerd does.
    """
    try:
        async with client.asked("look at an image") as docker:
            found = await docker.images.inspect(image.id)
            machine = await docker.version()
    except (DockerRefused, Retryable):
        return None
    theirs, ours = (found.get("Os", ""), found.get("Architecture", "")), (machine["Os"], machine["Arch"])
    if not all(theirs) or theirs == ours:
        return None
    if theirs[0] == ours[0] and ((theirs[1], ours[1]) in _ALSO or theirs[1] in await asyncio.to_thread(emulated)):
        return None
    name = called or next(iter(found.get("RepoTags") or ()), "") or short(image.id)
    return Unable(
        what=f"the image {name} is for {'/'.join(theirs)}, and this machine is {'/'.join(ours)}",
        fix=f"use one that was made for {'/'.join(ours)}, or for several platforms: `docker buildx imagetools inspect NAME` lists"
        " those of a name, whose own digest fits each machine; or build it here",
        id="other-platform",
    )


def emulated(interpreters: Path = _INTERPRETERS) -> Collection[str]:
    """The processors whose programs the kernel hands to an interpreter, as with Docker's `binfmt` images."""
    names = {_QEMU.get(arch, arch): arch for arch in (*_QEMU, "arm", "ppc64le", "riscv64", "s390x", "mips64", "mips")}
    found = set()
    with suppress(OSError):  # none is mounted
        for file in interpreters.iterdir():
            arch = names.get(file.name.removeprefix("qemu-"))
            if arch is not None and file.read_text(encoding="utf-8").startswith("enabled"):
                found.add(arch)
    return found
