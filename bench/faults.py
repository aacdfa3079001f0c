"""What a kill -9 costs, under a steady load through the gateway: of Envoy, of Atoll's daemon, of a replica.

200 requests a second (one in five a POST, 20 ms of work each) to a service of two replicas. Envoy: seconds until the same
port answers 200 again, asked every 5 ms. The daemon: requests that fail until a new one answers; the target is none. A
replica: requests that fail, beside those that were in flight at both replicas at the instant of the kill: what was sent to
a process that dies and may not be repeated (a POST) is lost in any design. Each kill is repeated, the three in turn.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from examples.load import Load, Phase, Request

from bench.report import Result
from bench.site import Site, get, site, until
from bench.stats import Sample

RATE = 200.0
SERVICE = (
    f'run = ["{sys.executable}", "-S", "http_service.py"]\nroute = "/"\nreplicas = 2\n'
    'health = { ready = "/healthz", stable_for = "300ms" }'
)
BODY = b"a purchase that must come back whole"
MIX = (
    Request("GET", "/", contains=b"v", share=4),
    Request("POST", "/", body=lambda: BODY, contains=BODY, share=1),
)
ENVOY_TARGET_S = 1.0


@dataclass
class Seen:
    """What the rounds showed."""

    envoy_s: list[float] = field(default_factory=list)
    daemon_s: list[float] = field(default_factory=list)
    replica_s: list[float] = field(default_factory=list)
    phases: dict[str, list[Phase]] = field(default_factory=lambda: {"envoy": [], "daemon": [], "replica": []})
    inflight: list[int] = field(default_factory=list)


def run(*, quick: bool) -> Result:
    rounds = 2 if quick else 7
    seen = Seen()
    with site() as place:
        place.service("echo", "http_service.py", SERVICE, {"VERSION": "v1", "WORK_MS": "20"})
        place.atoll("up")
        asyncio.run(_rounds(place, seen, rounds))
    result = Result()
    away = Sample.of(seen.envoy_s)
    result.add(
        "Envoy: until the same port answers again",
        away.text("s"),
        f"at most {ENVOY_TARGET_S:g} s",
        away.median <= ENVOY_TARGET_S,
    )
    sent, failed = _counts(seen.phases["daemon"])
    result.add(f"daemon: failed of {sent:,} requests, {rounds} kills", _failed(seen.phases["daemon"]), "0", failed == 0)
    result.add("daemon: until another one answers", Sample.of(seen.daemon_s).text("s"))
    sent, failed = _counts(seen.phases["replica"])
    inflight = sum(seen.inflight)
    within = all(phase.failed <= flying for phase, flying in zip(seen.phases["replica"], seen.inflight, strict=True))
    result.add(
        f"replica: failed of {sent:,} requests, {rounds} kills",
        _failed(seen.phases["replica"]),
        f"at most those in flight: {inflight}",
        within,
    )
    result.add("replica: until two are ready again", Sample.of(seen.replica_s).text("s"))
    return result


async def _rounds(place: Site, seen: Seen, rounds: int) -> None:
    for _ in range(rounds):
        load = Load(place.url, RATE, MIX, deadline_s=10)
        load.start("before")
        try:
            await asyncio.sleep(1)
            await _replica(place, seen, load)
            await _daemon(place, seen, load)
            await _envoy(place, seen, load)
            load.mark("after")
            await asyncio.sleep(0.5)
        finally:
            await load.stop()
        await asyncio.sleep(10)  # a second crash within ten healthy seconds would wait


async def _replica(place: Site, seen: Seen, load: Load) -> None:
    before = await asyncio.to_thread(place.pids, "echo")
    await load.settle()
    seen.phases["replica"].append(load.mark("replica"))
    await asyncio.sleep(0.5)
    answered = sum(len(phase.latencies) for phase in load.phases)
    seen.inflight.append(load.sent - load.failed - answered)
    os.kill(before[0], signal.SIGKILL)
    began = time.monotonic()

    def replaced() -> bool:
        now = place.pids("echo")
        return len(now) == len(before) and before[0] not in now

    await asyncio.to_thread(until, replaced)
    seen.replica_s.append(time.monotonic() - began)
    load.mark("between")
    await load.settle()


async def _daemon(place: Site, seen: Seen, load: Load) -> None:
    victim = await asyncio.to_thread(place.pid, "daemon")
    seen.phases["daemon"].append(load.mark("daemon"))
    os.kill(victim, signal.SIGKILL)

    def another() -> bool:
        with contextlib.suppress(RuntimeError):
            return place.pid("daemon") != victim
        return False

    seen.daemon_s.append(await asyncio.to_thread(until, another))
    await asyncio.sleep(1)
    load.mark("between")
    await load.settle()


async def _envoy(place: Site, seen: Seen, load: Load) -> None:
    victim = await asyncio.to_thread(place.pid, "proxy")
    seen.phases["envoy"].append(load.mark("envoy"))
    os.kill(victim, signal.SIGKILL)
    seen.envoy_s.append(await asyncio.to_thread(until, lambda: get(place.url + "/", 1)))
    await asyncio.sleep(1)
    await load.settle()


def _counts(phases: list[Phase]) -> tuple[int, int]:
    return sum(phase.sent for phase in phases), sum(phase.failed for phase in phases)


def _failed(phases: list[Phase]) -> str:
    """How many, and of what kinds."""
    kinds = sum((phase.failures for phase in phases), Counter[str]())
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return f"{kinds.total()} ({told})" if kinds else "0"
