"""A crowd of requests in virtual time, and a canary that is quick. For the tests of progressive delivery."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

from world import World

from atoll.model.analysis import AnalysisPolicy
from atoll.model.signals import Counts, EdgeKey, Histogram, bucket_of
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.state import Event

QUICK = RolloutSpec(
    steps=(RolloutStep(weight_pct=20, hold_s=3.0), RolloutStep(weight_pct=50, hold_s=3.0)),
    bake_s=60.0,
    deadline_s=60.0,
    analysis=AnalysisPolicy(min_requests=50, detect_failures_pct=5.0),
)


class Crowd:
    """Requests through the fake proxy: each second 100, shared out by the weights in force; r2 may be worse."""

    def __init__(self, world: World, failing: float = 0.0, wait_s: float = 0.03, rps: int = 100) -> None:
        self.world, self.failing, self.wait_s, self.rps = world, failing, wait_s, rps
        self.draw = random.Random(7)
        self.got: Counter[int] = Counter()

    async def come(self) -> None:
        while True:
            entry = self.world.traffic.entry("orders")
            weights = dict(entry.weights) if entry else {}
            for release, weight in weights.items():
                count = self.rps * weight // 100
                if count:
                    self.got[release] += count
                    self.world.traffic.count(EdgeKey("", 0, "orders", release), self.second(release, count))
            await self.world.clock.sleep(1.0)

    def second(self, release: int, count: int) -> Counts:
        bad = sum(self.draw.random() < (self.failing if release == 2 else 0.001) for _ in range(count))
        wait_s = self.wait_s if release == 2 else 0.03
        waits = Counter(bucket_of(wait_s * self.draw.lognormvariate(0, 0.3)) for _ in range(count))
        return Counts(requests=count, failures=bad, latency=Histogram.of(waits))


@contextlib.asynccontextmanager
async def crowded(world: World, **how: Any) -> Any:
    """A crowd that has been there for a while."""
    crowd = Crowd(world, **how)
    task = asyncio.create_task(crowd.come())
    await world.clock.sleep(90)
    try:
        yield crowd
    finally:
        task.cancel()


async def ledger(world: World) -> list[Event]:
    return [event async for event in world.environment.events(service="orders")]


def steps(events: list[Event]) -> Iterator[str]:
    return (event.message for event in events if event.kind == "rollout.step" and " go to " in event.message)
