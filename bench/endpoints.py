"""A change of one replica's address, from the table to Envoy's acknowledgement, while 100 services are in the table.

The real proxy adapter and the real Envoy, without the daemon: 100 services of three replicas, each with a route and three
calls of its own (300 listeners besides the gateway); then one replica of one service comes and goes. The floor is the same
with a table of that one service: what lies between the two is what a large environment costs.
"""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from atoll.model.spec import EdgePolicy
from atoll.model.state import Address
from atoll.model.traffic import Ack, Edge, Endpoint, GatewayRoute, ServiceTraffic, Table, Upstream
from atoll.proxy import EnvoyProxy, command
from bench.report import Result
from bench.site import ended, free_ports, temporary
from bench.stats import Sample, ratio

TARGET_MS = 5.0
SERVICES, CALLS, REPLICAS = 100, 3, 3
APPLY_S = 60.0


def run(*, quick: bool) -> Result:
    changes = 40 if quick else 400
    with temporary() as folder:
        return asyncio.run(_measure(folder, changes))


class _Environment:
    """One Envoy with a table of `count` services."""

    def __init__(self, folder: Path, count: int) -> None:
        folder.mkdir(mode=0o700)
        self.folder, self.proxy = folder, EnvoyProxy(folder, folder)
        first = free_ports(1 + count * CALLS)
        ports = iter(range(first, first + 1 + count * CALLS))
        self.gateway = Address("127.0.0.1", next(ports))
        self.services = {f"s{number}": _service(number, count, ports) for number in range(count)}

    async def apply(self, *changed: str) -> float:
        """Milliseconds until the acknowledgement."""
        table = Table(gateway=self.gateway, services=dict(self.services))
        began = time.perf_counter()
        outcome = await self.proxy.apply(table, frozenset(changed), APPLY_S)
        spent = time.perf_counter() - began
        if outcome != Ack():
            raise RuntimeError(f"Envoy did not take it: {outcome}")
        return spent * 1000

    async def change(self, number: int) -> float:
        """Take a replica of the first service away, or give it back."""
        old = self.services["s0"]
        upstream = _upstream(0, REPLICAS - number % 2)
        entry = ServiceTraffic(
            service="s0", weights=old.weights, upstreams=(upstream,), edges=old.edges, routes=old.routes
        )
        self.services["s0"] = entry
        return await self.apply("s0")


async def _measure(folder: Path, changes: int) -> Result:
    result = Result()
    many, one = _Environment(folder / "many", SERVICES), _Environment(folder / "one", 1)
    times: dict[int, list[float]] = {SERVICES: [], 1: []}
    try:
        for environment in (many, one):
            await environment.proxy.start()
        with _envoy(many), _envoy(one):
            first_ms = await many.apply(*many.services)
            await one.apply(*one.services)
            for number in itertools.count(1):
                for size, environment in ((SERVICES, many), (1, one)):
                    times[size].append(await environment.change(number))
                if number == changes:
                    break
    finally:
        for environment in (many, one):
            await environment.proxy.close()
    of_many, of_one = Sample.of(times[SERVICES]), Sample.of(times[1])
    met = of_many.median < TARGET_MS
    result.add(
        f"one endpoint of {SERVICES} services, to the acknowledgement",
        of_many.text("ms"),
        f"below {TARGET_MS:g} ms",
        met,
    )
    result.add("one endpoint of one service: the floor", of_one.text("ms"))
    result.add("ratio", ratio(times[SERVICES], times[1]).text("x"))
    late = sorted(times[SERVICES])[int(changes * 0.99)]
    result.add(f"99th percentile with {SERVICES} services", f"{late:.1f} ms")
    result.add(f"the first table of {SERVICES} services, Envoy's start included", f"{first_ms / 1000:.1f} s")
    return result


def _envoy(environment: _Environment) -> AbstractContextManager[object]:
    argv = command(environment.folder, environment.folder)
    return ended(subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))


def _upstream(number: int, replicas: int) -> Upstream:
    """Nobody listens there: an endpoint's change needs no request."""
    endpoints = tuple(
        Endpoint(replica=f"s{number}-{n}", address=Address("127.0.0.1", 10_000 + number * 5 + n))
        for n in range(replicas)
    )
    return Upstream(release=1, port="http", protocol="http", endpoints=endpoints)


def _service(number: int, count: int, ports: Iterator[int]) -> ServiceTraffic:
    policy = EdgePolicy()
    route = GatewayRoute(
        path=f"/s{number}", host=None, port="http", protocol="http", strip=False, policy=policy, releases=(1,)
    )
    edges = tuple(
        Edge(
            caller_release=1,
            callee=f"s{(number * 7 + call) % count}",
            port="http",
            protocol="http",
            listen=Address("127.0.0.1", next(ports)),
            policy=policy,
        )
        for call in range(1, CALLS + 1)
    )
    return ServiceTraffic(
        service=f"s{number}", weights={1: 100}, upstreams=(_upstream(number, REPLICAS),), edges=edges, routes=(route,)
    )
