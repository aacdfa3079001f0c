"""What the API says of signals, in virtual time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from world import World, spec

from atoll.daemon.exposition import BOUNDS_S, cumulative
from atoll.model.errors import NotFound, UserError
from atoll.model.signals import Counts, EdgeKey, Histogram, ReplicaCounts, ReplicaKey, bounds, bucket_of

GATE, WEB = EdgeKey("", 0, "orders", 1), EdgeKey("web", 2, "orders", 1)
CANDIDATE = EdgeKey("", 0, "orders", 2)
FAST, SLOW = Histogram.of({bucket_of(0.004): 9}), Histogram.of({bucket_of(0.5): 1})


async def traffic(world: World, seconds: int) -> None:
    """Ten requests a second through the gateway, one of them slow and failed; two from web; one to the candidate."""
    for _ in range(seconds):
        world.traffic.count(GATE, Counts(requests=10, failures=1, latency=FAST + SLOW), inflight=3)
        world.traffic.count(WEB, Counts(requests=2, retries=1, retries_won=1))
        world.traffic.count(CANDIDATE, Counts(requests=1, failures=1))
        world.traffic.count_replica(
            ReplicaKey("orders", 1, "orders-r1-1"), ReplicaCounts(seconds=1, requests=12, failures=1)
        )
        await world.clock.sleep(1)


def test_services_releases_edges_and_replicas_add_up() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await traffic(world, 70)
        view = await world.environment.signals(seconds=10)
        (service,) = view.services
        assert (service.service, service.release, service.caller) == ("orders", None, None)
        assert service.rps == pytest.approx(13, abs=0.1)
        assert service.failure_pct == pytest.approx(100 * 2 / 13, abs=0.1)
        stable, candidate = view.releases
        assert (stable.release, candidate.release) == (1, 2)
        assert stable.rps == pytest.approx(12, abs=0.1)
        assert candidate.failure_pct == 100.0
        assert stable.seconds == candidate.seconds == service.seconds  # the same window for both
        assert [(row.caller, row.release, row.inflight) for row in view.edges] == [
            ("", 1, 3),
            ("", 2, 0),
            ("web", 1, 0),
        ]
        assert view.edges[0].p50_ms is not None
        assert view.edges[0].p50_ms < 6
        assert view.edges[0].p99_ms == pytest.approx(509, abs=1)
        assert view.edges[2].retries_per_s == pytest.approx(1, abs=0.01)
        replica = next(row for row in view.replicas if row.replica == "orders-r1-1")
        assert replica.rps == pytest.approx(12, abs=0.1)
        assert {row.replica for row in view.replicas if row.memory_bytes is not None} != set()  # those that run, too
        only = await world.environment.signals("orders", 2, "", 10)
        assert (only.services, len(only.releases), len(only.edges)) == ((), 1, 1)

    world.run(scenario)


def test_a_proxy_that_is_away_is_no_data() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await traffic(world, 5)
        world.traffic.disconnect()
        await world.clock.sleep(90)
        (row,) = (await world.environment.signals(seconds=30)).services
        assert (row.seconds, row.requests, row.rps, row.failure_pct, row.p95_ms) == (0, 0, None, None, None)
        assert (await world.of()).rps is None
        world.traffic.connect(restarted=False)
        await world.clock.sleep(5)
        (row,) = (await world.environment.signals(seconds=3)).services
        assert (row.seconds > 0, row.rps) == (True, 0.0)

    world.run(scenario)


def test_another_daemon_has_a_gap_and_no_spike() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await traffic(world, 5)
        world.traffic.count(GATE, Counts(requests=10_000))
        await world.restart()
        await traffic(world, 5)
        (row,) = (await world.environment.signals(seconds=60)).services
        assert row.seconds <= 6
        assert row.rps is not None
        assert 8 < row.rps < 14

    world.run(scenario)


def test_a_series_has_its_steps_and_leaves_out_the_one_that_goes_on() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await traffic(world, 130)
        series = await world.environment.series("orders", seconds=120, step=10)
        assert len(series.points) == 12
        assert [point.rps for point in series.points[1:]] == pytest.approx([13.0] * 11, abs=0.2)
        steps = {
            round(after.wall - before.wall) for before, after in zip(series.points, series.points[1:], strict=False)
        }
        assert steps == {10}
        assert (await world.environment.series("orders", seconds=86_400, step=60)).points == ()  # kept by no file here
        for asked, what in (({"step": 7, "seconds": 7200}, "too fine"), ({"seconds": 3600, "step": 1}, "points")):
            with pytest.raises(UserError, match=what):
                await world.environment.series("orders", **asked)
        with pytest.raises(NotFound, match="order"):
            await world.environment.series("order")
        with pytest.raises(NotFound, match="r7"):
            await world.environment.signals("orders", 7)
        with pytest.raises(UserError, match="seconds=0"):
            await world.environment.signals(seconds=0)

    world.run(scenario)


def test_totals_only_grow_and_say_how_old_they_are() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await traffic(world, 5)
        first = await world.environment.totals()
        world.traffic.disconnect()
        await world.clock.sleep(30)
        second = await world.environment.totals()
        requests = [{row.edge: row.counts.requests for row in view.edges} for view in (first, second)]
        assert requests[0] == requests[1]
        assert requests[0][GATE] in {40, 50}
        assert (first.age_s or 0) < 2 < 30 <= (second.age_s or 0)

    world.run(scenario)


@given(st.dictionaries(st.integers(0, 400), st.integers(1, 1000), max_size=20).map(Histogram.of))
def test_prometheus_buckets_are_exact_since_their_bounds_are_ours(latency: Histogram) -> None:
    found, total_s = cumulative(latency)
    assert found[-1] == ("+Inf", latency.total)
    for bound, (_, count) in zip(BOUNDS_S, found, strict=False):
        assert count == sum(n for bucket, n in latency.counts if bounds(bucket)[1] <= bound)
        assert bucket_of(bound - 1e-4) + 1 == bucket_of(bound)
    assert total_s == pytest.approx(sum(n * sum(bounds(bucket)) / 2 for bucket, n in latency.counts))
