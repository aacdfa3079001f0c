"""Requests that fail while a service is deployed again and again, and what Atoll adds to the time of a deploy.

The service dies at once on SIGTERM: it finishes nothing and closes its connections. An open-loop load (no retries, 500
requests a second over kept connections, one in five a POST whose body must come back) goes through the gateway, while 20
deploys follow each other; then again with gRPC calls (100 a second), and under `wrk` with 64 connections. Any answer but
the right one is a failure. The target is none.

What Atoll adds: the receipt's seconds (from the accepted request to live, all traffic switched and nothing left in flight),
and the wall time of the whole command, each less the stability window (300 ms) and less the candidate's own time to its
first good answer. That is the floor, measured by starting the same program by hand beside each deploy, under the same load.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import grpc
import grpc.aio
from examples.load import Load, Request

from bench.report import Result
from bench.site import PROGRAMS, Site, ended, free_ports, get, site, until
from bench.stats import Sample

STABLE_S = 0.3
TARGET_S = 0.3
RATE, GRPC_RATE = 500.0, 100.0
HEALTH = f'health = {{ ready = "/healthz", stable_for = "{STABLE_S * 1000:.0f}ms" }}'
HTTP = f'run = ["{sys.executable}", "-S", "http_service.py"]\nroute = "/"\n{HEALTH}'
GRPC = (
    f'run = ["{sys.executable}", "grpc_service.py"]\nport = "grpc"\nroute = "/bench.Echo"\n'
    f'health = {{ ready = "grpc", stable_for = "{STABLE_S * 1000:.0f}ms" }}'
)
BODY = b"a purchase that must come back whole"
MIX = (
    Request("GET", "/", contains=b"v", share=4),
    Request("POST", "/", body=lambda: BODY, contains=BODY, share=1),
)


@dataclass
class Deploys:
    """What a row of deploys took, in seconds."""

    total: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)

    def added(self, to: list[float]) -> Sample:
        return Sample.of([spent - own - STABLE_S for spent, own in zip(to, self.own, strict=True)])


def run(*, quick: bool) -> Result:
    deploys, requests = (3, 1_500) if quick else (20, 20_000)
    result = Result()
    with site() as place:
        place.service("echo", "http_service.py", HTTP, {"VERSION": "v0"})
        place.service("caller", "grpc_service.py", GRPC, {"VERSION": "v0"})
        place.atoll("up")
        asyncio.run(_http(place, result, deploys, requests))
        asyncio.run(_grpc(place, result, deploys))
        if shutil.which("wrk"):
            asyncio.run(_wrk(place, result, deploys))
        else:
            result.notes.append("wrk is not installed: left out.")
    return result


async def _http(place: Site, result: Result, count: int, requests: int) -> None:
    took = Deploys()
    load = Load(place.url, RATE, MIX, deadline_s=10)
    load.start()
    try:
        for number in range(1, count + 1):
            await _deploy(place, "echo", "http_service.py", HTTP, number, took)
            took.own.append(await asyncio.to_thread(_own_start))
            await asyncio.sleep(max(0.0, (requests * number / count - load.sent) / RATE))  # enough of them by the end
    finally:
        await load.stop()
    failures = sum((phase.failures for phase in load.phases), Counter[str]())
    what = f"HTTP: failed of {load.sent:,} at {RATE:g}/s over {count} deploys"
    result.add(what, f"{load.failed} {dict(failures) or ''}".strip(), "0", load.failed == 0)
    p99 = load.phases[0].percentile_ms(99)
    result.add(
        "HTTP: median and 99th percentile of latency meanwhile",
        f"{load.phases[0].percentile_ms(50):.1f} and {p99:.1f} ms",
    )
    result.add("HTTP: deploy, accepted to live", Sample.of(took.total).text("s"))
    result.add("HTTP: the candidate's own start to its first good answer", Sample.of(took.own).text("s"))
    for what, spent in (("deploy, accepted to live", took.total), ("the whole command `atoll deploy`", took.wall)):
        added = took.added(spent)
        met = added.median <= TARGET_S
        result.add(f"HTTP: added to that and the window by {what}", added.text("s"), f"at most {TARGET_S} s", met)


async def _grpc(place: Site, result: Result, count: int) -> None:
    took, failures, sent = Deploys(), Counter[str](), 0
    async with grpc.aio.insecure_channel(f"127.0.0.1:{place.port}", [("grpc.enable_retries", 0)]) as channel:
        say = channel.unary_unary("/bench.Echo/Say")
        pending: set[asyncio.Task[None]] = set()

        async def one() -> None:
            try:
                if BODY not in await say(BODY, timeout=10):
                    failures["wrong answer"] += 1
            except grpc.aio.AioRpcError as failed:
                failures[f"{failed.code().name} {failed.details()}"] += 1

        async def clock() -> None:
            nonlocal sent
            due = time.monotonic()
            while True:
                task = asyncio.create_task(one())
                pending.add(task)
                task.add_done_callback(pending.discard)
                sent, due = sent + 1, due + 1 / GRPC_RATE
                await asyncio.sleep(max(0.0, due - time.monotonic()))

        await _during(clock, lambda: _deploys(place, "caller", "grpc_service.py", GRPC, count, took))
        if pending:
            await asyncio.wait(pending, timeout=11)
    what = f"gRPC: failed of {sent:,} at {GRPC_RATE:g}/s over {count} deploys"
    result.add(what, f"{failures.total()} {dict(failures) or ''}".strip(), "0", failures.total() == 0)
    result.add("gRPC: deploy, accepted to live", Sample.of(took.total).text("s"))


async def _wrk(place: Site, result: Result, count: int) -> None:
    took = Deploys()
    wrk = await asyncio.create_subprocess_exec(
        "wrk", "-t1", "-c64", "-d600s", "--timeout", "10s", place.url + "/", stdout=asyncio.subprocess.PIPE
    )
    try:
        await asyncio.sleep(1)
        await _deploys(place, "echo", "http_service.py", HTTP, count, took, first=1000)
        wrk.send_signal(2)  # it prints its summary
        out, _ = await asyncio.wait_for(wrk.communicate(), 30)
    finally:
        if wrk.returncode is None:
            wrk.kill()
            await wrk.wait()
    text = out.decode()
    sent = int((re.search(r"(\d+) requests in", text) or ["", "0"])[1])
    errors = [
        int(number)
        for line in re.findall(r"Socket errors:.*|Non-2xx.*", text)
        for number in re.findall(r"\b\d+\b(?!xx)", line)
    ]
    failed = sum(errors)
    result.add(
        f"wrk, 64 connections: failed of {sent:,} over {count} deploys", str(failed), "0", sent > 0 and failed == 0
    )
    result.add("wrk: deploy, accepted to live, on a saturated machine", Sample.of(took.total).text("s"))


async def _deploys(
    place: Site, name: str, program: str, toml: str, count: int, took: Deploys, *, first: int = 1
) -> None:
    for number in range(first, first + count):
        await _deploy(place, name, program, toml, number, took)


async def _deploy(place: Site, name: str, program: str, toml: str, number: int, took: Deploys) -> None:
    """A deploy of nothing but another VERSION, so that no build is timed."""
    place.service(name, program, toml, {"VERSION": f"v{number}"})
    began = time.monotonic()
    [operation] = await asyncio.to_thread(place.json, "deploy", name)
    took.wall.append(time.monotonic() - began)
    took.total.append(operation["receipt"]["seconds"]["total"])


async def _during(what: Callable[[], Awaitable[None]], then: Callable[[], Awaitable[None]]) -> None:
    """Let `what` go on until `then` is done."""
    task = asyncio.ensure_future(what())
    try:
        await then()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _own_start() -> float:
    """Seconds from the start of the program by hand to its first good answer."""
    port = free_ports(1)
    env = {**os.environ, "PORT": str(port)}
    began = time.monotonic()
    with ended(subprocess.Popen([sys.executable, "-S", str(PROGRAMS / "http_service.py")], env=env)):
        until(lambda: get(f"http://127.0.0.1:{port}/healthz"), 30)
        return time.monotonic() - began
