"""What Atoll itself takes while 100 services do nothing, and how long 100 services take to come up.

One replica each of the smallest service that can be asked for its health over HTTP, every 2 s by default. After `atoll up`
and a pause, 30 s: memory as PSS (each page divided by those who share it) and CPU time of the daemon, the keeper, the 100
shims and Envoy. The services themselves are not counted. The floor of the start is the same 100 programs started by hand,
until each accepts a connection.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import partial

import psutil

from bench.report import Result
from bench.site import PROGRAMS, Site, ended, free_ports, site, until

SERVICE = f'run = ["{sys.executable}", "-S", "-E", "idle_service.py"]\nhealth = "/"\nroute = "/NAME"'
MEMORY_MIB, CPU_PCT = 120, 3
MIB = 1024 * 1024


def run(*, quick: bool) -> Result:
    count, rest_s, watch_s = (20, 5, 5) if quick else (100, 20, 30)
    floor = _by_hand(count)
    result = Result()
    with site() as place:
        for number in range(count):
            name = f"idle{number}"
            place.service(name, "idle_service.py", SERVICE.replace("NAME", name))
        began = time.monotonic()
        place.atoll("up", timeout_s=300)
        up_s = time.monotonic() - began
        time.sleep(rest_s)
        parts = _parts(place)
        before = {part: _cpu_s(members) for part, members in parts.items()}
        began = time.monotonic()
        time.sleep(watch_s)
        spent = {part: _cpu_s(members) - before[part] for part, members in parts.items()}
        elapsed = time.monotonic() - began
        memory = {part: sum(one.memory_full_info().pss for one in members) / MIB for part, members in parts.items()}
    for part in parts:
        cpu_pct = spent[part] / elapsed * 100
        ours = part == "daemon" and not quick
        target = f"below {MEMORY_MIB} MiB and {CPU_PCT} %" if ours else ""
        met = memory[part] < MEMORY_MIB and cpu_pct < CPU_PCT if ours else None
        result.add(f"{part}: memory, share of a core", f"{memory[part]:.0f} MiB, {cpu_pct:.2f} %", target, met)
    result.add(f"`atoll up` of {count} services, first build included", f"{up_s:.1f} s")
    result.add(f"the same {count} programs by hand", f"{floor:.1f} s")
    return result


def _parts(place: Site) -> dict[str, list[psutil.Process]]:
    pids = {part: place.pid(part) for part in ("daemon", "keeper", "proxy")}
    parts = {"daemon": [psutil.Process(pids["daemon"])], "keeper": [psutil.Process(pids["keeper"])]}
    replicas = {replica["pid"] for one in place.json("status")["services"] for replica in one["replicas"]}
    shims = {psutil.Process(pid).ppid() for pid in replicas}
    parts[f"{len(shims)} shims"] = [psutil.Process(pid) for pid in sorted(shims)]
    parts["Envoy"] = [psutil.Process(pids["proxy"])]
    return parts


def _cpu_s(processes: list[psutil.Process]) -> float:
    return sum(times.user + times.system for times in (process.cpu_times() for process in processes))


def _by_hand(count: int) -> float:
    """Seconds until as many programs, started at once, all accept a connection."""
    first = free_ports(count)
    began = time.monotonic()
    with ExitStack() as all_of_them:
        for port in range(first, first + count):
            argv = [sys.executable, "-S", "-E", str(PROGRAMS / "idle_service.py")]
            all_of_them.enter_context(ended(subprocess.Popen(argv, env={**os.environ, "PORT": str(port)})))
        for port in range(first, first + count):
            until(partial(_accepts, port), 60)
        return time.monotonic() - began


def _accepts(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True
