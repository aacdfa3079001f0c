"""Which dockerd can be used, judged by what it says of itself."""

import pytest

from atoll.engines.docker.machine import Here, refusal, remarks

HERE = Here(kernel="6.1.0-18-amd64", interfaces={"lo", "eth0", "docker0"})
FINE = {
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "OSType": "linux",
    "KernelVersion": "6.1.0-18-amd64",
    "ServerVersion": "20.10.24+dfsg1",
    "SecurityOptions": ["name=seccomp,profile=default"],
    "Driver": "overlay2",
    "IPv4Forwarding": True,
    "LiveRestoreEnabled": True,
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "PidsLimit": True,
}


def test_an_engine_of_this_machine_is_used_as_it_is() -> None:
    assert refusal(FINE, "docker0", HERE) is None
    assert refusal(FINE, "", HERE) is None, "it may have no default network"
    assert list(remarks(FINE)) == []


@pytest.mark.parametrize(
    ("said", "bridge", "why"),
    [
        ({"OperatingSystem": "Docker Desktop", "KernelVersion": "6.10.14-linuxkit"}, "docker0", "Docker Desktop"),
        ({"SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"]}, "docker0", "rootless"),
        ({"KernelVersion": "5.15.0-91-generic"}, "docker0", "another machine"),
        ({"OSType": "windows"}, "docker0", "another machine"),
        ({}, "br-other", "br-other is none of this machine's"),
        ({"ServerVersion": "19.03.15"}, "docker0", "19.03.15"),
    ],
)
def test_one_whose_containers_the_proxy_would_not_reach_is_refused(said: dict, bridge: str, why: str) -> None:
    unable = refusal({**FINE, **said}, bridge, HERE)
    assert unable is not None
    assert why in unable.what
    assert unable.fix
    assert unable.id == "docker-unreachable"


@pytest.mark.parametrize(
    ("said", "what"),
    [
        ({"Driver": "vfs"}, "storage driver vfs"),
        ({"IPv4Forwarding": False}, "ip_forward"),
        ({"LiveRestoreEnabled": False}, "stops every container"),
        ({"MemoryLimit": False, "PidsLimit": False}, "no limit of memory, pids"),
    ],
)
def test_what_works_worse_than_it_could_is_told(said: dict, what: str) -> None:
    assert [what in one.what for _, one in remarks({**FINE, **said})] == [True]
