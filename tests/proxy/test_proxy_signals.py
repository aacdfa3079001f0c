"""Golden signals against the real Envoy: counts are exact, latencies lie in their buckets, nothing is counted twice."""

import asyncio
from collections.abc import Mapping

import msgspec
import pytest
from tests.proxy.grpc_echo import Echo, call, refused
from tests.proxy.lab import Lab, ask, edge, eventually, here, route, service, upstream

from atoll.model.failures import Failures
from atoll.model.signals import Counts, EdgeKey, ReplicaCounts, ReplicaKey
from atoll.model.traffic import Sample
from atoll.proxy import EnvoyProxy

pytestmark = pytest.mark.e2e
WEB = EdgeKey("web", 4, "orders", 1)
GATE = EdgeKey("", 0, "orders", 1)
GRPC = {"port": "grpc", "protocol": "grpc"}


class Sums:
    """Everything that was read since it was made. The first reading only remembers, so it begins with one."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.readings = 0
        self.edges: dict[EdgeKey, Counts] = {}
        self.last: Mapping[EdgeKey, Sample] = {}
        self.replicas: dict[ReplicaKey, ReplicaCounts] = {}

    async def begin(self) -> "Sums":
        await eventually(lambda: self._lab.proxy.generation() > 0)
        assert await self._lab.proxy.read() is None
        await eventually(self.more)
        return self

    async def more(self) -> bool:
        """Read once more."""
        reading = await self._lab.proxy.read()
        if reading is None:
            return False
        self.readings += 1
        for key, sample in reading.edges.items():
            values = [getattr(sample.counts, name) for name in Counts.__struct_fields__ if name != "latency"]
            assert min(values) >= 0
            self.edges[key] = self.edges.get(key, Counts()) + sample.counts
        for replica, counts in reading.replicas.items():
            self.replicas[replica] = self.replicas.get(replica, ReplicaCounts()) + counts
        self.last = reading.edges
        return True

    async def until_latencies(self, key: EdgeKey, count: int) -> Counts:
        """Latencies come last: Envoy merges them each second."""

        async def there() -> bool:
            await self.more()
            return self.edges[key].latency.total >= count

        await eventually(there)
        return self.edges[key]


async def test_counts_are_exact_and_latencies_lie_in_their_buckets(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    await lab.apply(
        service("web", edges=(edge("orders", port, release=4, eject_after=0),)),
        service("orders", upstream(1, one.address), routes=(route(eject_after=0),)),
    )
    sums = await Sums(lab).begin()
    assert sums.edges == {WEB: Counts(), GATE: Counts()}  # known and idle: zeros, not nothing
    # The ten take as long as a busy machine makes them; a second and a half it does not.
    await asyncio.gather(*(ask(port, "/sleep/1.5") for _ in range(30)), *(ask(port) for _ in range(10)))
    for path in ("/status/500", "/status/404", "/status/429", "/status/503"):
        await ask(lab.gateway, path, method="POST")
    found = await sums.until_latencies(WEB, 40)
    assert (found.requests, found.failures, found.latency.total) == (40, 0, 40)
    slow = found.latency.quantile(0.9)
    assert slow is not None
    assert slow >= 1.5
    assert found.latency.above(1.4) == 30
    found = await sums.until_latencies(GATE, 4)
    assert (found.requests, found.failures) == (4, 2)


async def test_what_a_caller_never_saw_is_counted_all_the_same(lab: Lab) -> None:
    """Retries that succeed hide a bad candidate from its callers, not from its verdict."""
    good, bad, port = await lab.backend("good"), await lab.backend("bad"), here()
    bad.status = 503
    await lab.apply(
        service("web", edges=(edge("orders", port, release=4, eject_after=0, retries=2, retry_on=("5xx",)),)),
        service("orders", upstream(1, good.address, bad.address)),
    )
    sums = await Sums(lab).begin()
    assert {(await ask(port)).status for _ in range(40)} == {200}
    found = await sums.until_latencies(WEB, 40)
    assert (found.requests, found.failures) == (40, 0)
    assert found.retries >= found.retries_won > 5
    tried = len(bad.heads)
    assert found.retries == tried

    async def by_replica() -> bool:
        await sums.more()
        return sum(counts.requests for counts in sums.replicas.values()) >= 40 + tried

    await eventually(by_replica)
    each = {key.replica: counts for key, counts in sums.replicas.items()}
    assert each[f"r1-{bad.address.port}"].failures == tried == each[f"r1-{bad.address.port}"].requests
    assert (each[f"r1-{good.address.port}"].requests, each[f"r1-{good.address.port}"].failures) == (40, 0)


async def test_a_failure_is_what_the_release_says(lab: Lab) -> None:
    old, new, port = await lab.backend("old"), await lab.backend("new"), here()
    upstreams = (
        upstream(1, old.address),
        msgspec.structs.replace(upstream(2, new.address), failures=Failures(http=("429",))),
    )
    web = service("web", edges=(edge("orders", port, release=4, eject_after=0, timeout_s=2.0),))
    await lab.apply(web, service("orders", *upstreams, weights={1: 100, 2: 0}))
    sums = await Sums(lab).begin()
    candidate = EdgeKey("web", 4, "orders", 2)
    for weights in ({1: 100, 2: 0}, {1: 0, 2: 100}):
        await lab.apply(service("orders", *upstreams, weights=weights))
        for path in ("/status/429", "/status/500", "/status/503", "/wait", "/reset"):
            await ask(port, path, method="POST")
    await sums.until_latencies(WEB, 3)
    found = await sums.until_latencies(candidate, 3)
    stable = sums.edges[WEB]
    assert (stable.requests, stable.failures, stable.timeouts, stable.resets) == (5, 4, 1, 1)
    # 429 by its own word; 503, the time-out and the reset look alike at the proxy; 500 is no failure to it.
    assert (found.requests, found.failures, found.timeouts, found.resets) == (5, 4, 1, 1)


async def test_an_answer_cut_off_in_the_middle_failed(lab: Lab) -> None:
    one = await lab.backend("one")
    await lab.apply(service("orders", upstream(1, one.address), routes=(route(),)))
    sums = await Sums(lab).begin()
    with pytest.raises((asyncio.IncompleteReadError, OSError)):
        await ask(lab.gateway, "/cut")

    async def seen() -> bool:
        await sums.more()
        return sums.edges[GATE].failures > 0

    await eventually(seen)
    assert (sums.edges[GATE].requests, sums.edges[GATE].failures, sums.edges[GATE].resets) == (1, 1, 1)


async def test_breakers_ejections_and_what_is_in_flight_are_counted(lab: Lab) -> None:
    one, two, port = await lab.backend("one"), await lab.backend("two"), here()
    policy = {"max_requests": 2, "max_pending": 1, "max_connections": 2, "eject_after": 3, "retries": 0}
    await lab.apply(
        service("web", edges=(edge("orders", port, release=4, **policy),)),
        service("orders", upstream(1, one.address, two.address)),
    )
    sums = await Sums(lab).begin()
    asked = [asyncio.create_task(ask(port, "/wait")) for _ in range(8)]

    async def in_flight() -> bool:
        await sums.more()
        return sums.last[WEB].inflight > 0  # one may wait for a connection: of eight at once one or two get through

    await eventually(in_flight)
    one.go.set()
    two.go.set()
    answers = [reply.status for reply in await asyncio.gather(*asked)]
    one.status = 500
    for _ in range(20):
        await ask(port)

    async def ejected() -> bool:
        await sums.more()
        return sums.last[WEB].ejected == 1

    await eventually(ejected)
    found = sums.edges[WEB]
    assert found.overflows == answers.count(503) > 0
    assert found.ejections == 1
    assert found.requests == 28
    assert sums.last[WEB].inflight == 0


async def test_grpc_fails_by_code_and_not_by_status(lab: Lab, echo: Echo) -> None:
    port = here()
    key = EdgeKey("web", 4, "echo", 1)
    await lab.apply(
        service("web", edges=(edge("echo", port, release=4, eject_after=0, **GRPC),)),
        service("echo", upstream(1, echo.address, **GRPC)),
    )
    sums = await Sums(lab).begin()
    for code in range(1, 17):
        await refused(port, "Fail", str(code).encode())
    for _ in range(4):
        await call(port, "Say", b"x")
    await asyncio.gather(
        *(refused(port, "Hang", b"", timeout_s=0.3) for _ in range(5))
    )  # each counts, by whomever it ends

    async def all_counted(requests: int) -> bool:
        await sums.more()
        return sums.edges[key].requests >= requests

    await eventually(lambda: all_counted(25))
    found = sums.edges[key]
    # UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS, and the calls that hung
    assert (found.requests, found.failures) == (25, 11)
    await echo.stop()
    await refused(port, "Say", b"")
    await eventually(lambda: all_counted(26))
    assert (sums.edges[key].requests, sums.edges[key].failures) == (
        26,
        12,
    )  # of nobody: once, not by status and by code


@pytest.mark.slow
async def test_each_call_that_hangs_is_counted_however_its_client_rounded_the_deadline(lab: Lab, echo: Echo) -> None:
    """GRPC core rounds up what it sends, and ends the call by what it was told."""
    port, key = here(), EdgeKey("web", 4, "echo", 1)
    await lab.apply(
        service("web", edges=(edge("echo", port, release=4, eject_after=0, **GRPC),)),
        service("echo", upstream(1, echo.address, **GRPC)),
    )
    sums = await Sums(lab).begin()
    deadlines = [each for each in (1.0, 2.003, 5.0, 10.05) for _ in range(5)]
    for _ in range(3):  # a machine that leaves Envoy no time for 20 ms lets a client be first: not three times over
        before = sums.edges[key].requests
        await asyncio.gather(*(refused(port, "Hang", b"", timeout_s=each) for each in deadlines))
        await asyncio.sleep(0.5)
        assert await sums.more()
        assert sums.edges[key].failures == sums.edges[key].requests
        if (counted := sums.edges[key].requests - before) == len(deadlines):
            break
    assert counted == len(deadlines)


async def test_tcp_counts_connections_by_release(lab: Lab) -> None:
    one, port = await lab.backend("one"), here()
    tcp = {"port": "db", "protocol": "tcp"}
    await lab.apply(
        service("web", edges=(edge("store", port, release=4, **tcp),)),
        service("store", upstream(3, one.address, **tcp)),
    )
    sums = await Sums(lab).begin()
    for _ in range(5):
        await ask(port)
    key = EdgeKey("web", 4, "store", 3)

    async def counted() -> bool:
        await sums.more()
        return sums.edges.get(key, Counts()).requests >= 5

    await eventually(counted)
    assert (sums.edges[key].requests, sums.edges[key].failures) == (5, 0)


async def test_a_killed_envoy_is_no_data_and_the_next_one_counts_from_zero(lab: Lab) -> None:
    one = await lab.backend("one")
    entry = service("orders", upstream(1, one.address), routes=(route(),))
    await lab.apply(entry)
    sums = await Sums(lab).begin()
    for _ in range(20):
        await ask(lab.gateway)
    await sums.until_latencies(GATE, 20)
    await lab.kill_envoy()
    assert await lab.proxy.read() is None
    before = lab.proxy.generation()
    await lab.start_envoy()
    await eventually(lambda: lab.proxy.generation() > before)
    await lab.apply(entry)
    for _ in range(3):
        await ask(lab.gateway)
    found = await sums.until_latencies(GATE, 23)
    assert (found.requests, found.latency.total) == (23, 23)


async def test_another_daemon_begins_with_a_gap_and_not_with_a_spike(lab: Lab) -> None:
    one = await lab.backend("one")
    entry = service("orders", upstream(1, one.address), routes=(route(),))
    await lab.apply(entry)
    await (await Sums(lab).begin()).more()
    for _ in range(20):
        await ask(lab.gateway)
    await lab.proxy.close()
    lab.proxy = EnvoyProxy(lab.folder, lab.folder)
    await lab.proxy.start()
    await lab.apply(entry)
    sums = await Sums(lab).begin()
    await ask(lab.gateway)
    await sums.until_latencies(GATE, 1)
    assert sums.edges[GATE].requests == 1


async def test_a_release_that_goes_and_comes_back_counts_from_zero(lab: Lab) -> None:
    one = await lab.backend("one")
    entry = service("orders", upstream(1, one.address), routes=(route(),))
    await lab.apply(entry)
    sums = await Sums(lab).begin()
    for _ in range(5):
        await ask(lab.gateway)
    await sums.until_latencies(GATE, 5)
    await lab.apply(gone=("orders",))

    async def is_gone() -> bool:
        return await sums.more() and GATE not in sums.last

    await eventually(is_gone)
    await asyncio.sleep(1.2)  # what Envoy merges each second has come and gone, too
    assert await is_gone()
    await lab.apply(entry)
    for _ in range(2):
        await ask(lab.gateway)
    found = await sums.until_latencies(GATE, 7)
    assert (found.requests, found.latency.total) == (7, 7)
