"""A bad release and a good one: Atoll's default canary, pm2's reload and Docker Swarm's rolling update, side by side.

The bad release fails 5 % of its requests while its health check is fine. Each runs two copies of a service (10 ms of work)
on this machine and gets 100 requests a second over kept connections, without retries; all three get the same release at
the same instant, and are watched for the same minute from there. Then the peers go back, and a good release follows.
Counted are requests that failed, answers that came from the bad release, and for a good one the time from the command to
the last answer of an old release.

Neither peer is made to notice: pm2 is a process manager that reloads without downtime, Swarm an orchestrator that undoes
an update whose containers die or fail their health check. Both leave the judgement of answers to others, and both move
all of the traffic in seconds, which is what Atoll's `blue-green` does, too. Swarm runs on the host's network, where the
copies share a port by SO_REUSEPORT: its own mesh needs a kernel with IPVS.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from examples.load import Load, Phase, Request

from bench.peers import Pm2, Swarm
from bench.report import Result
from bench.site import ATOLL, Site, get, site, temporary, until
from bench.stats import Sample

RATE = 100.0
WATCH_S = 60.0
BASELINE_S = 20.0
FAILING = 0.05
MAX_FAILED_PCT = 1.0  # of all requests of that minute, for ours
SERVICE = 'run = "node node_service.js"\nroute = "/"\nreplicas = 2\nhealth = "/healthz"'
DEPLOY_S = 900.0
OURS = "Atoll, default canary"
GOOD = {"WORK_MS": "10", "FAIL_SHARE": "0"}
BAD = {"WORK_MS": "10", "FAIL_SHARE": str(FAILING)}


class Deployer(Protocol):
    """One of the three: a service at `url`, of which `release` rolls out a version and returns when that is over."""

    url: str

    def release(self, env: Mapping[str, str]) -> None: ...


class AtollCanary:
    """`atoll deploy` with nothing said about how."""

    def __init__(self, place: Site, env: Mapping[str, str]) -> None:
        self._place, self.url = place, place.url
        place.service("svc", "node_service.js", SERVICE, env)
        place.atoll("up")
        until(lambda: get(self.url + "/"))

    def release(self, env: Mapping[str, str]) -> None:
        self._place.service("svc", "node_service.js", SERVICE, env)
        done = subprocess.run(
            [*ATOLL, "deploy", "svc"], cwd=self._place.root, env=self._place.env, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=DEPLOY_S, check=False,
        )  # fmt: skip
        if done.returncode not in {0, UNDONE}:
            raise RuntimeError(f"atoll deploy ended with {done.returncode}:\n{done.stderr}")


UNDONE = 3


class Watched:
    """One of them under load, with every answer's time and version."""

    def __init__(self, name: str, deployer: Deployer) -> None:
        self.name, self.deployer = name, deployer
        self.answers: list[tuple[float, str]] = []
        self.load = Load(deployer.url, RATE, [Request("GET", "/", seen=self._seen)], deadline_s=10)
        self.minutes: list[Phase] = []
        self.exposed: list[int] = []
        self.gone_s: list[float | None] = []
        self.switches: list[Phase] = []
        self.full_s: list[float] = []

    def _seen(self, _status: int, body: bytes) -> None:
        self.answers.append((time.monotonic(), body.decode()))

    async def bad(self, version: str) -> None:
        """A bad release, watched for a minute."""
        began = time.monotonic()
        phase = self.load.mark(version)
        released = asyncio.create_task(self._release({"VERSION": version, **BAD}))
        await asyncio.sleep(WATCH_S)
        self.load.mark("between")
        met = [at for at, seen in self.answers if seen == version]
        self.minutes.append(phase)
        self.exposed.append(len(met))
        still = bool(met) and met[-1] > time.monotonic() - 2.0
        self.gone_s.append(None if still else met[-1] - began if met else 0.0)
        await released

    async def good(self, version: str) -> None:
        """A good one, to the last answer of an older release."""
        began = time.monotonic()
        phase = self.load.mark(version)
        await self._release({"VERSION": version, **GOOD})
        await asyncio.sleep(1)
        self.load.mark("between")
        self.switches.append(phase)
        self.full_s.append(max(at for at, seen in self.answers if seen != version) - began)

    async def back(self, version: str) -> None:
        """What a person would do about a bad release, whenever they notice; nothing where it has gone."""
        if self.gone_s[-1] is None:
            await self._release({"VERSION": version, **GOOD})
            await asyncio.sleep(1)

    async def _release(self, env: Mapping[str, str]) -> None:
        await asyncio.to_thread(self.deployer.release, env)


def run(*, quick: bool) -> Result:
    rounds = 1 if quick else 3
    result = Result()
    with temporary() as folder, site() as place, contextlib.ExitStack() as running:
        first = {"VERSION": "g0", **GOOD}
        watched = [Watched(OURS, AtollCanary(place, first))]
        for name, peer in (("pm2 reload", Pm2), ("Swarm, rolling update", Swarm)):
            try:
                watched.append(Watched(name, running.enter_context(_started(peer, folder, first))))
            except (OSError, subprocess.SubprocessError, RuntimeError) as problem:
                result.notes.append(f"{name} is left out: {str(problem).splitlines()[0][:200]}.")
        asyncio.run(_rounds(watched, rounds))
    for one in watched:
        _bad_row(result, one)
    for one in watched:
        _good_row(result, one)
    return result


@contextlib.contextmanager
def _started(peer: type[Pm2] | type[Swarm], folder: Path, env: Mapping[str, str]) -> Iterator[Deployer]:
    made = peer(folder, env)
    try:
        made.start()
        yield made
    finally:
        made.stop()


async def _rounds(watched: list[Watched], rounds: int) -> None:
    for one in watched:
        one.load.start()
        await asyncio.sleep(1 / RATE / len(watched))
    try:
        await asyncio.sleep(BASELINE_S)
        for number in range(1, rounds + 1):
            await asyncio.gather(*(one.bad(f"b{number}") for one in watched))
            await asyncio.gather(*(one.back(f"a{number}") for one in watched))
            await asyncio.gather(*(one.good(f"g{number}") for one in watched))
    finally:
        for one in watched:
            await one.load.stop()


def _bad_row(result: Result, one: Watched) -> None:
    sent, failed = _counts(one.minutes)
    exposed = sum(one.exposed)
    gone = [seconds for seconds in one.gone_s if seconds is not None]
    left = f"gone after {Sample.of(gone).text('s', 0)}" if len(gone) == len(one.gone_s) else "still there"
    ours = one.name == OURS
    result.add(
        f"bad release, {one.name}",
        f"{failed} of {sent:,} failed ({100 * failed / sent:.2f} %), {100 * exposed / sent:.1f} % met it; {left}",
        f"at most {MAX_FAILED_PCT:g} %" if ours else "",
        100 * failed / sent <= MAX_FAILED_PCT if ours else None,
    )


def _good_row(result: Result, one: Watched) -> None:
    sent, failed = _counts(one.switches)
    text = f"all of the traffic after {Sample.of(one.full_s).text('s', 1)}; {failed} of {sent:,} failed"
    ours = one.name == OURS
    result.add(f"good release, {one.name}", text, "0 failed" if ours else "", failed == 0 if ours else None)


def _counts(phases: list[Phase]) -> tuple[int, int]:
    return sum(phase.sent for phase in phases), sum(phase.failed for phase in phases)
