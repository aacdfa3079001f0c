"""What a replica is given, and what it is kept from."""

import fcntl
import json
import os
import shutil
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.engines.process import ProcessHost
from atoll.engines.users import Users
from atoll.model.spec import Command
from atoll.ports import Launch
from atoll.testing.ports import free_port

PATIENCE_S = 60.0
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to give services users of their own")


@pytest.fixture
def host(process_host: ProcessHost) -> ProcessHost:
    return process_host


def launch(line="", argv=(), replica="shore-r1-1", **fields):
    command = Command(argv=argv) if argv else Command(shell=line)
    given = {"service": "shore", "release": 1, "folder": "/", "env": {"PATH": "/usr/bin:/bin"}, **fields}
    return Launch(id=replica, command=command, **given)


async def printed(host, line="", **fields):
    ended, output = await host.run(launch(line, **fields), PATIENCE_S)
    assert ended.code == 0, (ended, output)
    return output


async def test_the_environment_is_exactly_what_was_declared(host):
    os.environ["STRAY"] = "1"
    try:
        output = await printed(host, argv=("/usr/bin/env",), env={"PORT": "8080"}, secrets={"TOKEN": "a=b\nc"})
    finally:
        del os.environ["STRAY"]
    names = {line.split("=")[0] for line in output.splitlines() if "=" in line}
    assert names == {"PORT", "TOKEN", "PATH"}
    assert "TOKEN=a=b\nc\n" in output


async def test_a_secret_is_in_no_file_and_no_command_line(host, folder):
    word = "xyzzy-plugh-42"
    started = await host.start(launch("exec sleep 600", secrets={"TOKEN": word}))
    environ = Path(f"/proc/{started.pid}/environ")
    deadline = time.monotonic() + PATIENCE_S
    while not environ.read_bytes():  # for an instant after exec closed what ends with it, the kernel shows none
        assert time.monotonic() < deadline
    assert word.encode() in environ.read_bytes()
    for path in folder.rglob("*"):
        if path.is_file():
            assert word.encode() not in path.read_bytes(), path
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert word.encode() not in path.read_bytes()
        except OSError:
            continue


async def test_nothing_of_the_keeper_is_inherited(host):
    output = await printed(host, "ls /proc/self/fd; ulimit -c >/dev/null; cat /proc/self/status")
    assert {int(word) for word in output.split() if word.isdigit() and len(word) < 2} >= {0, 1, 2}
    descriptors = [line for line in output.splitlines() if line.isdigit()]
    assert len(descriptors) == 4  # 0, 1, 2, and the folder that ls reads
    fields = dict(line.split(":\t", 1) for line in output.splitlines() if ":\t" in line)
    assert int(fields["SigBlk"], 16) == 0
    libc_own = 0b11 << 31  # signals 32 and 33 are libc's: it lets nobody set them, not even back to the default
    assert int(fields["SigIgn"], 16) & ~libc_own == 0


@root_only
async def test_a_service_may_open_its_output_by_name_as_servers_do_for_their_logs(host):
    assert await printed(host, "id -u > /dev/stderr; id -u > /dev/stdout") == (await printed(host, "id -u")) * 2


@root_only
async def test_each_service_runs_as_a_user_of_its_own(host, folder):
    first = await printed(host, "id -u; id -G; umask")
    second = await printed(host, "id -u", service="lagoon")
    uid, groups, umask = first.split()
    assert 61000 <= int(uid) < 65000
    assert groups == uid
    assert umask == "0022"
    assert second.strip() != uid
    assert json.loads((folder / "state" / "users.json").read_text())["shore"] == int(uid)
    assert (await host.start(launch("exec sleep 600"))).notice == ""


@root_only
async def test_another_services_environment_is_closed_to_it(host):
    started = await host.start(launch("exec sleep 600", secrets={"TOKEN": "x"}))
    ended, _ = await host.run(launch(f"cat /proc/{started.pid}/environ", service="lagoon"), PATIENCE_S)
    assert ended.code != 0


@root_only
@pytest.mark.parametrize("what", ["folder", "program", "interpreter", "of a shell line", "path", "argument"])
async def test_what_its_user_may_not_reach_runs_as_root_and_says_so(host, folder, what):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    script = folder / "closed" / "tool"
    script.write_text("#!/bin/sh\nexec sleep 600\n")
    script.chmod(0o755)
    if what == "folder":
        given = launch("exec sleep 600", folder=str(closed))
    elif what == "program":
        given = launch(argv=(str(script),))
    elif what in ("interpreter", "of a shell line"):
        shutil.copy("/bin/sh", closed / "sh")
        outer = folder / "outer"
        outer.write_text(f"#!{closed}/sh\nexec sleep 600\n")
        outer.chmod(0o755)
        by_shell = launch("exec outer", env={"PATH": f"{folder}:/usr/bin:/bin"})
        given = launch(argv=("./outer",), folder=str(folder)) if what == "interpreter" else by_shell
    elif what == "path":
        given = launch("exec tool", env={"PATH": f"{closed}:/usr/bin:/bin"})
    else:
        (folder / "main.sh").write_text("exec sleep 600\n")
        (folder / "main.sh").chmod(0o600)
        given = launch(argv=("/bin/sh", "main.sh"), folder=str(folder))
    started = await host.start(given)
    assert started.exit is None
    assert started.notice.startswith("runs as root")
    assert str(folder) in started.notice
    assert Path(f"/proc/{started.pid}").stat().st_uid == 0


@root_only
async def test_where_nothing_may_run_as_root_it_is_not_run_instead(host, folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    strict = ProcessHost(folder / "state", folder / "run", isolated=True)
    refused = await strict.start(launch("exec sleep 600", folder=str(closed)))
    assert refused.exit is not None
    assert f"may not use {closed}, and no service here runs as root" in refused.exit.error
    await strict.close()


@root_only
async def test_without_dropping_it_runs_as_this_user_without_a_word(host, folder):
    plain = ProcessHost(folder / "state", folder / "run", drop_privileges=False)
    started = await plain.start(launch("exec sleep 600"))
    assert (started.notice, Path(f"/proc/{started.pid}").stat().st_uid) == ("", 0)
    await plain.close()


@root_only
async def test_writable_folders_are_made_and_given_to_its_user(host, folder):
    data = folder / "data"
    (data / "old").mkdir(parents=True)
    (data / "old" / "file").write_text("x")
    (data / "link").symlink_to("/etc/passwd")
    owner = Path("/etc/passwd").stat().st_uid
    output = await printed(
        host, "echo y > new/file; echo z > data/old/file; id -u", folder=str(folder), writable=("data", "new")
    )
    uid = int(output)
    assert {path.stat().st_uid for path in (data, data / "old" / "file", folder / "new" / "file")} == {uid}
    assert Path("/etc/passwd").stat().st_uid == owner
    assert (folder / "data" / "link").lstat().st_uid == uid


@pytest.fixture
async def strict(host, folder):
    """Of a machine that serves: who deploys is not who administers it."""
    (folder / "state").chmod(0o711)
    (folder / "state" / "data").mkdir(mode=0o711)
    made = ProcessHost(folder / "state", folder / "run", isolated=True)
    yield made
    await made.close()


def owners(*paths: Path) -> set[int]:
    return {path.lstat().st_uid for path in paths}


@root_only
async def test_where_a_machine_serves_nothing_of_roots_or_of_others_is_given_away(strict, folder):
    used, state, others = folder / "used", folder / "state", folder / "state" / "data" / "lagoon"
    (used / "conf.d").mkdir(parents=True)
    (used / "conf.d" / "job").write_text("x")
    others.mkdir()
    os.chown(others, 61001, 61001)
    for path in (used, state, others):
        ended, _ = await strict.run(launch("true", writable=(str(path),)), PATIENCE_S)
        assert f"may not use {path} (if it is the service's: `chown -R " in ended.error
    assert owners(used, used / "conf.d", used / "conf.d" / "job", state) == {0}
    assert owners(others) == {61001}


@root_only
async def test_where_a_machine_serves_nothing_new_is_made_among_what_is_not_the_services(strict, folder):
    closed = folder / "closed"
    closed.mkdir(mode=0o711)
    (folder / "system").symlink_to("/etc")
    for path in (folder / "state" / "tls", closed / "new", folder / "system" / "atoll-test-of-writable"):
        ended, _ = await strict.run(launch("true", writable=(str(path),)), PATIENCE_S)
        assert f"may not use {path}" in ended.error
        assert not path.exists()


@root_only
async def test_where_a_machine_serves_it_gets_its_own_data_and_what_is_new_or_empty(strict, folder):
    own = folder / "state" / "data" / "shore"
    (own / "old").mkdir(parents=True)
    (own / "old" / "file").write_text("x")
    (folder / "empty").mkdir(mode=0o755)
    wanted = (own, folder / "empty", folder / "new" / "below")
    line = "; ".join(f"echo y > {path}/note" for path in wanted)
    ended, output = await strict.run(launch(f"set -e; {line}", writable=tuple(map(str, wanted))), PATIENCE_S)
    assert ended.code == 0, (ended, output)
    assert len(owners(*wanted, own / "old" / "file") - {0}) == 1


@root_only
async def test_a_service_that_puts_a_link_in_the_way_is_given_nothing_of_others(host, folder):
    data = folder / "data"
    nested = str(data / "cache" / "below")
    assert await printed(host, f"ls -d {nested}", writable=(str(data), nested))
    theirs = folder / "theirs" / "below"
    theirs.mkdir(parents=True)
    await printed(host, f"cd {data}; mv cache away; ln -s {folder}/theirs cache", writable=(str(data),))
    await host.run(launch("true", writable=(str(data), nested)), PATIENCE_S)
    assert owners(theirs) == {0}


@root_only
async def test_where_a_machine_serves_nobody_runs_as_the_owner_of_a_folder_that_was_named(strict, folder):
    work = folder / "work"
    work.mkdir()
    for owner in (0, 1000):
        os.chown(work, owner, owner)
        ended, output = await strict.run(launch("id -u", folder=str(work), in_place=True), PATIENCE_S)
        assert ended.code == 0, ended
        assert 61000 <= int(output) < 65000


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (("nothing-of-that-name",), "no such program on its PATH"),
        (("./gone",), "there is no such file"),
        (("./plain",), "not executable"),
        (("./bad",), "its interpreter /no/such/interpreter"),
        (("./noise",), "neither a binary for this machine nor a script"),
        (("./dir",), "is a folder"),
    ],
)
async def test_why_it_cannot_be_run_is_said_in_words(host, folder, argv, says):
    (folder / "plain").write_text("x")
    (folder / "bad").write_text("#!/no/such/interpreter\n")
    (folder / "noise").write_text("\x01\x02\x03")
    for name in ("bad", "noise"):
        (folder / name).chmod(0o755)
    (folder / "dir").mkdir()
    started = await host.start(launch(argv=argv, folder=str(folder)))
    assert started.exit is not None
    assert says in started.exit.error


async def test_a_missing_folder_is_said(host, folder):
    started = await host.start(launch("true", folder=str(folder / "gone")))
    assert started.exit is not None
    assert "gone does not exist" in started.exit.error


def test_two_names_never_share_a_user(tmp_path):
    users = Users(tmp_path)
    numbers = {users.uid(f"service-{number}") for number in range(600)}
    assert len(numbers) == 600
    again = Users(tmp_path)
    assert again.uid("service-7") == users.uid("service-7")
    (tmp_path / "users.json").write_text("{torn")
    assert 61000 <= Users(tmp_path).uid("service-7") < 65000


def test_services_of_one_name_in_two_environments_of_a_machine_never_share_a_user(tmp_path):
    states = [tmp_path / "production", tmp_path / "staging"]
    one, two = (Users(state, lambda: states) for state in states)
    first, second = one.uid("orders"), two.uid("orders")
    assert first != second
    assert (Users(states[0], lambda: states).uid("orders"), Users(states[1], lambda: states).uid("orders")) == (
        first,
        second,
    )


def test_two_environments_that_choose_at_the_same_instant_never_choose_the_same_user(tmp_path):
    states, lock = [tmp_path / "production", tmp_path / "staging"], tmp_path / "users.lock"
    wish = Users(tmp_path / "alone").uid("orders")
    states[0].mkdir()
    with ThreadPoolExecutor() as pool, lock.open("w") as held:  # which lets go before the pool waits
        fcntl.flock(held, fcntl.LOCK_EX)  # one has chosen, and not yet written it down
        second = pool.submit(Users(states[1], lambda: states, lock).uid, "orders")
        with pytest.raises(TimeoutError):
            second.result(0.3)
        (states[0] / "users.json").write_text(json.dumps({"orders": wish}))
        fcntl.flock(held, fcntl.LOCK_UN)
        assert second.result(20) != wish


# --- who listens --------------------------------------------------------------------------------------------------

LISTEN = """
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
s = socket.socket(family); s.bind((sys.argv[1], int(sys.argv[2]))); s.listen(); print("ready", flush=True); time.sleep(600)
"""


async def listening(host, replica):
    deadline = time.monotonic() + PATIENCE_S
    while "ready" not in await host.last_output(replica):
        assert time.monotonic() < deadline, (await host.list(), await host.last_output(replica))


def python(address, port, wrap=""):
    words = (sys.executable, "-c", LISTEN, address, str(port))
    return words if not wrap else ("/bin/sh", "-c", wrap, "sh", *words)


@pytest.mark.parametrize(
    ("address", "everywhere"), [("127.0.0.1", False), ("0.0.0.0", True), ("::", True), ("::ffff:127.0.0.1", False)]
)
async def test_its_own_socket_is_told_from_a_strangers(host, address, everywhere):
    if ":" in address and not Path("/proc/net/tcp6").exists():
        pytest.skip("no IPv6 here")
    port = free_port()
    await host.start(launch("exec sleep 600", replica="shore-r1-2"))
    assert (await host.listener("shore-r1-1", port)).state == "none"
    started = await host.start(launch(argv=python(address, port)))
    await listening(host, "shore-r1-1")
    own = await host.listener("shore-r1-1", port)
    assert (own.state, own.everywhere) == ("own", everywhere)
    stranger = await host.listener("shore-r1-2", port)
    assert stranger.state == "stranger"
    assert f"pid {started.pid} (" in stranger.text


@pytest.mark.parametrize(
    "wrap", ['"$@" & wait', 'setsid "$@" & wait', '( setsid sh -c \'"$@" &\' sh "$@" ); sleep 600']
)
async def test_a_socket_of_a_grandchild_is_its_own(host, wrap):
    port = free_port()
    await host.start(launch(argv=python("127.0.0.1", port, wrap)))
    await listening(host, "shore-r1-1")
    assert (await host.listener("shore-r1-1", port)).state == "own"


async def test_a_socket_on_another_address_does_not_count(host):
    if (
        not Path("/proc/net/if_inet6").exists()
        or "00000000000000000000000000000001" not in Path("/proc/net/if_inet6").read_text().split()
    ):
        pytest.skip("no IPv6 loopback here")
    port = free_port()
    await host.start(launch(argv=python("::1", port)))
    await listening(host, "shore-r1-1")
    found = await host.listener("shore-r1-1", port)
    assert found.state == "none"
    assert "127.0.0.1" in found.text


async def test_an_unknown_replica_owns_nothing(host):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        found = await host.listener("nobody-r1-1", sock.getsockname()[1])
    assert found.state == "stranger"
    assert f"pid {os.getpid()}" in found.text
