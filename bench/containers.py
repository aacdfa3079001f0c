"""The same deploy and the same crash in containers: Atoll's Docker engine, Docker Swarm and docker-compose on one dockerd.

Each runs two copies of one image. Its service takes 20 ms for a request, and on SIGTERM finishes what it has begun and
ends. 200 requests a second come over kept connections, without retries by the client. In turn each gets a release (nothing
but another variable, so that no build is timed), then one replica is killed with `kill -9`. Counted are the requests that
failed, the time from the command to the last answer of an old release, and the time from the kill to the first answer of
the replacement.

Each as its documentation would have it. Atoll: blue-green, through its gateway. Swarm: start-first, one at a time, health
checks twice a second, no delay before a restart (5 s by default), replicas by DNS behind HAProxy, since its mesh needs a
kernel with IPVS. Compose: `up --detach`, `restart: always`, behind the same HAProxy, which asks DNS and health four times a
second and tries a refused connection elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

from examples.load import Load, Phase, Request

from bench.orchestrators import Atoll, Compose, Orchestrator, Swarm, kill_one, make_images
from bench.report import Result
from bench.site import ROOT, site, temporary
from bench.stats import Sample

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from bench.site import Site
    from dockerd import Dockerd

RATE = 200.0
ROUNDS = 6
BEFORE_S, AFTER_S = 1.0, 2.0
HEALTHY_S = 10.0  # so that each crash is the first in a while
RECOVERED_S = 60.0


class Measured:
    """One of them, under load only while it is its turn, with every answer's time, version and instance."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self.orchestrator = orchestrator
        self.deploys: list[Phase] = []
        self.crashes: list[Phase] = []
        self.full_s: list[float] = []
        self.recovered_s: list[float] = []
        self._answers: list[tuple[float, str, str]] = []

    async def deploy(self, version: str) -> None:
        """A release, until its command has ended and a moment longer."""
        async with self._load(self.deploys):
            began = time.monotonic()
            await asyncio.to_thread(self.orchestrator.release, version)
            await asyncio.sleep(AFTER_S)
        self.full_s.append(max(at for at, seen, _ in self._answers if seen != version) - began)

    async def crash(self, daemon: Dockerd) -> None:
        """The end of one replica, until another one has answered and a moment longer."""
        async with self._load(self.crashes):
            known = {instance for _, _, instance in self._answers}
            began = await asyncio.to_thread(kill_one, daemon, self.orchestrator)
            async with asyncio.timeout(RECOVERED_S):
                while not (news := [at for at, _, instance in self._answers if instance not in known]):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(AFTER_S)
        self.recovered_s.append(news[0] - began)

    @contextlib.asynccontextmanager
    async def _load(self, phases: list[Phase]) -> AsyncIterator[None]:
        """Under load from a moment before; what came of it goes to `phases`."""
        self._answers.clear()
        load = Load(self.orchestrator.url, RATE, [Request("GET", "/", seen=self._seen)], deadline_s=10)
        async with load:
            await asyncio.sleep(BEFORE_S)
            yield
        phases.extend(load.phases)

    def _seen(self, status: int, body: bytes) -> None:
        if status == 200:  # else a proxy's own words
            version, instance = body.decode().split()
            self._answers.append((time.monotonic(), version, instance))


def run(*, quick: bool) -> Result:
    result = Result()
    sys.path.append(str(ROOT / "scripts"))
    import dockerd
    import netns

    try:
        with temporary() as folder, dockerd.shared() as giver:
            images = make_images(giver, folder)
            # In a network of their own: a Docker that starts elsewhere on the machine rewrites the kernel's rules.
            with netns.apart(), dockerd.own(live_restore=False) as daemon, site() as place:
                for image in images:
                    daemon.take(image, giver)
                _compare(daemon, place, folder, images, 1 if quick else ROUNDS, result)
    except dockerd.Unavailable as problem:
        result.notes.append(f"Nothing was measured: {problem}.")
    return result


def _compare(daemon: Dockerd, place: Site, folder: Path, images: tuple[str, str], rounds: int, result: Result) -> None:
    running = (Atoll(daemon, place, images[0]), Swarm(daemon, folder, images), Compose(daemon, folder, images))
    with contextlib.ExitStack() as ending:
        measured = []
        for orchestrator in running:
            ending.callback(orchestrator.stop)
            try:
                orchestrator.start("v0")
            except (OSError, subprocess.SubprocessError, RuntimeError) as problem:
                if orchestrator is running[0]:
                    raise
                result.notes.append(f"{orchestrator.name} is left out: {str(problem).splitlines()[0][:200]}.")
            else:
                measured.append(Measured(orchestrator))
        asyncio.run(_rounds(daemon, measured, rounds))
    for one in measured:
        ours = one.orchestrator is running[0]
        failed, counted = _failed(one.deploys)
        value = f"all of the traffic after {Sample.of(one.full_s).text('s', 1)}; {counted}"
        result.add(f"deploy, {one.orchestrator.name}", value, "0 failed" if ours else "", not failed if ours else None)
    for one in measured:
        value = f"replaced after {Sample.of(one.recovered_s).text('s', 1)}; {_failed(one.crashes)[1]}"
        result.add(f"crash, {one.orchestrator.name}", value)


async def _rounds(daemon: Dockerd, measured: Sequence[Measured], rounds: int) -> None:
    for number in range(1, rounds + 1):
        for one in measured:
            await one.deploy(f"v{number}")
        for one in measured:
            await one.crash(daemon)
        await asyncio.sleep(HEALTHY_S)


def _failed(phases: Sequence[Phase]) -> tuple[int, str]:
    """How many requests failed, and a text that says so with their kinds."""
    failures = sum((phase.failures for phase in phases), Counter[str]())
    kinds = ", ".join(f"{count} {kind}" for kind, count in failures.most_common())
    text = f"{failures.total()} of {sum(phase.sent for phase in phases):,} failed"
    return failures.total(), f"{text} ({kinds})" if kinds else text
