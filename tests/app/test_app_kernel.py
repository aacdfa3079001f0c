"""What the kernel of this machine says, against what Python and the shell say of it."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from atoll.app.kernel import exposed, facts


def test_facts_of_this_machine_are_those_that_others_read(tmp_path: Path) -> None:
    found = facts(tmp_path / "not" / "yet", None)
    disk = shutil.disk_usage(tmp_path)
    assert found.disk is not None
    assert abs(found.disk.most - found.disk.used - disk.free) < 2**30
    assert found.memory_bytes
    assert found.memory_free_bytes
    assert found.proxy_files in {resource.getrlimit(resource.RLIMIT_NOFILE)[0], sys.maxsize}
    assert found.backlog == int(Path("/proc/sys/net/core/somaxconn").read_text())
    assert found.files is None or 0 < found.files.used < found.files.most  # None: no limit, as systemd has it
    assert found.processes is not None
    assert 0 < found.processes.used < found.processes.most
    if found.processes_by:  # no group's, then
        limit = Path("/proc/sys", found.processes_by.replace(".", "/"))
        assert found.processes.most == int(limit.read_text())
    first, last = (int(word) for word in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert found.ephemeral == (first, last)


def test_the_limit_of_open_files_is_that_of_the_process_that_is_asked_about(tmp_path: Path) -> None:
    child = subprocess.Popen(["sh", "-c", "ulimit -n 300; exec sleep 60"])
    try:
        deadline = time.monotonic() + 20
        while facts(tmp_path, child.pid).proxy_files != 300:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert facts(tmp_path, child.pid).proxy_is_root is (os.geteuid() == 0)
    finally:
        child.kill()
        child.wait()
    gone = facts(tmp_path, child.pid)
    assert gone.proxy_files is None
    assert gone.proxy_is_root is None


_LISTENS = """
import os, socket, sys, time
def listen(host, family):
    made = socket.create_server((host, 0), family=family)
    print(made.getsockname()[1], flush=True)
    return made
kept = [listen("127.0.0.1", socket.AF_INET), listen("0.0.0.0", socket.AF_INET)]
if os.fork() == 0:
    kept.append(listen("::", socket.AF_INET6))
time.sleep(60)
"""


def test_listeners_that_others_reach_are_found_in_the_whole_tree_of_a_service() -> None:
    # The shell stands where a replica's shim does: it starts the main process and adopts nothing else of this test.
    shell = subprocess.Popen(
        ["sh", "-c", f"{sys.executable} -c '{_LISTENS}' & echo $!; wait"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert shell.stdout
        main, _, everywhere, six = (int(shell.stdout.readline()) for _ in range(4))
        assert exposed({main: "web"}) == {"web": tuple(sorted((f"0.0.0.0:{everywhere}", f"[::]:{six}")))}
        assert exposed({}) == {}
        assert exposed({2**22 - 1: "gone"}) == {}
    finally:
        os.killpg(shell.pid, 9)
        shell.communicate()
