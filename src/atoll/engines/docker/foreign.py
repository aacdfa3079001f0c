"""Whether this machine's processor runs the programs of an image, found out before anything is started of it.

dockerd pulls an image for another processor without a word where its digest names that one, and the first container then
ends with "exec format error". What is asked about is what would run, so that a rollback has the same answer as a deploy.
"""

import asyncio
import os
import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from atoll.engines.docker.client import Client, DockerRefused
from atoll.engines.docker.container import short
from atoll.model.errors import Retryable
from atoll.model.hosted import Unable
from atoll.model.state import Image

# Processors that may run another one's programs as well, as Go and Docker call them.
_ALSO = {("386", "amd64"), ("arm", "arm64")}
# How an ELF file begins that is for one: EI_CLASS, EI_DATA, e_machine (the gABI, "ELF Header").
_ELF = {
    (2, 1, 62): "amd64",
    (1, 1, 3): "386",
    (2, 1, 183): "arm64",
    (1, 1, 40): "arm",
    (2, 1, 258): "loong64",
    (2, 1, 8): "mips64le",
    (2, 2, 8): "mips64",
    (1, 1, 8): "mipsle",
    (1, 2, 8): "mips",
    (2, 1, 21): "ppc64le",
    (2, 1, 243): "riscv64",
    (2, 2, 22): "s390x",
}
_INTERPRETERS = Path("/proc/sys/fs/binfmt_misc")
_CPUINFO = Path("/proc/cpuinfo")
# What each level of x86-64 adds, in the kernel's words for it (the x86-64 psABI, "Micro-Architecture Levels").
_X86_64 = (
    {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"},
    {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"},
    {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"},
)


async def foreign(client: Client, image: Image, called: str) -> Unable | None:
    """Why the image cannot run here; None when it can, or when dockerd does not say: whoever starts it then hears why.

    `called` is what its owner calls it; "" leaves that to dockerd.
    """
    try:
        async with client.asked("look at an image") as docker:
            found = await docker.images.inspect(image.id)
            machine = await docker.version()
    except (DockerRefused, Retryable):
        return None
    theirs, ours = [found.get("Os", ""), found.get("Architecture", "")], [machine["Os"], machine["Arch"]]
    if not all(theirs):
        return None
    if theirs == ours:
        wanted, most = _number(found.get("Variant", "")), await asyncio.to_thread(variant, ours[1], os.uname().machine)
        if not wanted or not most or wanted <= most:
            return None
        theirs, ours = [*theirs, f"v{wanted}"], [*ours, f"v{most}"]
    if theirs[0] == ours[0] and ((theirs[1], ours[1]) in _ALSO or theirs[1] in await asyncio.to_thread(emulated)):
        return None
    name = called or next(iter(found.get("RepoTags") or ()), "") or short(image.id)
    return Unable(
        what=f"the image {name} is for {'/'.join(theirs)}, and this machine is {'/'.join(ours)}",
        fix=f"name one for {'/'.join(ours)}, or for several platforms: `docker buildx imagetools inspect NAME:TAG` shows the"
        " digests of both; what is built on this machine fits it",
        id="other-platform",
    )


def variant(arch: str, kernel: str, cpuinfo: Path = _CPUINFO) -> int:
    """The newest variant of its architecture that this processor runs (7 of `arm/v7`, 3 of `amd64/v3`); 0 when it is not known.

    `kernel` is `uname -m`, which tells those of arm; /proc/cpuinfo calls some of version 6 version 7. None tells those of arm64.
    """
    if arch == "arm":
        return _number(kernel.removeprefix("arm"))
    if arch != "amd64":
        return 0
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return 0
    has = next((set(line.partition(":")[2].split()) for line in lines if line.startswith("flags")), set())
    return 1 + next((level for level, adds in enumerate(_X86_64) if not adds <= has), len(_X86_64)) if has else 0


def _number(said: str) -> int:
    """Of `v7`, `v7l`, `v5tejl`; 0 of what is none."""
    found = re.match(r"v(\d+)", said)
    return int(found[1]) if found else 0


def emulated(interpreters: Path = _INTERPRETERS) -> Collection[str]:
    """The processors whose programs the kernel hands to an interpreter (QEMU, Rosetta, FEX): by magic, names are anybody's.

    https://docs.kernel.org/admin-guide/binfmt-misc.html
    """
    found = set[str]()
    with suppress(OSError):  # it is not mounted
        for file in interpreters.iterdir():
            with suppress(OSError, ValueError):  # `register` is not to be read
                enabled, *lines = file.read_text(encoding="utf-8").splitlines()
                magic = next((bytes.fromhex(line[6:]) for line in lines if line.startswith("magic ")), b"")
                if enabled == "enabled" and magic[:4] == b"\x7fELF" and len(magic) >= 20:
                    machine = int.from_bytes(magic[18:20], "little" if magic[5] == 1 else "big")
                    found |= {arch for kind, arch in _ELF.items() if kind == (magic[4], magic[5], machine)}
    return found
