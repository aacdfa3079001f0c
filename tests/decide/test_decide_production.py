"""What is fit for production, as a table: one fact is changed at a time."""

from typing import Any

import pytest
from msgspec.structs import replace

from atoll.decide.production import Running, Setting, encryption, environment, leases, machine, tokens
from atoll.model.machine import MachineFacts, Used
from atoll.model.wire_doctor import DoctorView

GIB = 2**30
GOOD = MachineFacts(
    memory_bytes=4 * GIB,
    memory_free_bytes=2 * GIB,
    disk=Used(used=10 * GIB, most=40 * GIB),
    inodes=Used(used=1000, most=100_000),
    proxy_files=65_536,
    proxy_is_root=False,
    files=Used(used=2000, most=100_000),
    processes=Used(used=200, most=32_768),
    processes_by="kernel.pid_max",
    connections=Used(used=100, most=65_536),
    backlog=4096,
    inotify_instances=128,
    inotify_watches=8192,
    ephemeral=(32_768, 60_999),
    synchronised=True,
)
SETTING = Setting(gateway="0.0.0.0:443", host="0.0.0.0", tls=True, ports=(20_000, 29_999), faults=False, notifies=True)
WEB = Running(name="web", replicas=2, limit_bytes=256 * 2**20, used_bytes=80 * 2**20)


def of(check: str, views: list[DoctorView]) -> DoctorView:
    return next(view for view in views if view.check == check)


def test_a_good_machine_and_environment_have_nothing_to_mend() -> None:
    views = [*machine(GOOD), *environment(SETTING, [WEB], GOOD)]
    assert {view.ok for view in views} == {True}
    assert not any(view.fix for view in views)


@pytest.mark.parametrize(
    ("changed", "check", "ok", "word"),
    [
        ({"memory_free_bytes": 100 * 2**20}, "memory headroom", False, "larger machine"),
        ({"disk": Used(used=35 * GIB, most=40 * GIB)}, "disk headroom", None, "larger disk"),
        ({"disk": Used(used=int(39.5 * GIB), most=40 * GIB)}, "disk headroom", False, "nothing is deployed"),
        (
            {"disk": Used(used=3 * 10**8, most=10**9)},
            "disk headroom",
            False,
            "larger disk",
        ),  # little, whatever the share
        ({"inodes": Used(used=99_000, most=100_000)}, "inodes", False, "larger disk"),
        ({"synchronised": False}, "clock", None, "set-ntp"),
        ({"synchronised": None}, "clock", None, "timedatectl"),
        ({"proxy_files": 256}, "open files", False, "LimitNOFILE="),
        ({"proxy_files": 1024}, "open files", None, "LimitNOFILE="),
        ({"proxy_is_root": True}, "proxy user", None, "atoll install"),
        ({"files": Used(used=95_000, most=100_000)}, "files", False, "fs.file-max=200000"),
        ({"processes": Used(used=30_000, most=32_768)}, "processes", False, "kernel.pid_max=65536"),
        ({"processes": Used(used=4_000_000, most=2**22)}, "processes", False, "kernel.pid_max=4194304"),
        (
            {"processes": Used(used=25_000, most=30_000), "processes_by": "kernel.threads-max"},
            "processes",
            None,
            "kernel.threads-max=60000",
        ),
        ({"processes": Used(used=25_000, most=32_768), "processes_by": ""}, "processes", None, "TasksMax="),
        ({"connections": Used(used=65_000, most=65_536)}, "tracked connections", False, "nf_conntrack_max=131072"),
        ({"backlog": 128}, "backlog", None, "net.core.somaxconn=4096"),
        ({"inotify_instances": 16}, "inotify", None, "fs.inotify.max_user_instances=512"),
        ({"inotify_watches": 100}, "inotify", None, "fs.inotify.max_user_watches=32768"),
    ],
)
def test_each_thing_that_a_machine_lacks_is_told_with_what_to_do(
    changed: dict[str, Any], check: str, ok: bool | None, word: str
) -> None:
    views = list(machine(replace(GOOD, **changed)))
    assert of(check, views).ok is ok
    assert word in of(check, views).fix
    assert all(view.ok for view in views if view.check != check)


def test_what_the_kernel_does_not_say_is_no_fault_of_the_machine() -> None:
    assert [(view.check, view.ok) for view in machine(MachineFacts())] == [("clock", None)]


@pytest.mark.parametrize("api", ["10.0.0.5:9180", "[::]:9180"])
def test_an_api_that_others_reach_is_a_note(api: str) -> None:
    (view,) = tokens(api)
    assert (view.check, view.ok) == ("api", None)
    assert "tokens can be read" in view.text
    assert "127.0.0.1" in view.fix


@pytest.mark.parametrize(
    ("setting", "running", "check", "ok", "text", "fix"),
    [
        ({"tls": False}, {}, "encryption", None, "plain HTTP", "`tls`"),
        ({"faults": True}, {}, "faults", None, "injected", "`faults`"),
        ({"notifies": False}, {}, "notify", None, "nobody is told", "`notify`"),
        ({"ports": (30_000, 39_999)}, {}, "ports", False, "32768-60999", "below 32768"),
        ({}, {"replicas": 1}, "replicas", None, "web: one replica", "replicas = 2"),
        ({}, {"limit_bytes": None}, "limits", None, "web: no memory limit", 'limits = { memory = "256MiB" }'),
        (
            {},
            {"limit_bytes": None, "used_bytes": 700 * 2**20},
            "limits",
            None,
            "web",
            'memory = "2GiB" } in the service.toml of web (it uses 700 MiB now)',
        ),
        (
            {},
            {"limit_bytes": None, "used_bytes": None, "store": "postgres"},
            "limits",
            None,
            "web",
            'memory = "256MiB" at the store web',
        ),
        (
            {},
            {"limit_bytes": 2 * GIB},
            "memory promised",
            None,
            "4 GiB of 4 GiB by their limits, 8 GiB while web is deployed",
            "overlap = false",
        ),
        (
            {},
            {"exposed": ("0.0.0.0:20001", "[::]:9229")},
            "listeners of web",
            False,
            "0.0.0.0:20001, [::]:9229: ",
            "close 20000-29999, 9229",
        ),
    ],
)
def test_each_thing_that_an_environment_lacks_is_told_with_what_to_do(
    setting: dict[str, Any], running: dict[str, Any], check: str, ok: bool | None, text: str, fix: str
) -> None:
    views = list(environment(replace(SETTING, **setting), [replace(WEB, **running)], GOOD))
    view = of(check, views)
    assert view.ok is ok
    assert text in view.text
    assert fix in view.fix
    assert all(other.ok for other in views if other is not view)


def test_a_single_replica_is_told_only_where_two_could_be() -> None:
    single = replace(WEB, replicas=1)
    for change in ({"overlap": False}, {"serves": False}, {"store": "redis"}):
        views = environment(SETTING, [replace(single, **change)], GOOD)
        assert all(view.check != "replicas" for view in views)


def test_a_gateway_that_only_this_machine_reaches_need_not_encrypt() -> None:
    for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"):
        assert not list(encryption(f"{host}:80", host, tls=False))
    for host in ("0.0.0.0", "::", "10.0.0.1", "shop.example.com"):
        assert list(encryption(f"{host}:80", host, tls=False))


def test_ports_beside_a_range_that_cannot_be_read_are_a_note() -> None:
    assert leases((20_000, 29_999), None).ok is None
