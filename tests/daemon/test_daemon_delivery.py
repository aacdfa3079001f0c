"""Progressive delivery in virtual time: what the daemon does with the numbers that the proxy counts."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from world import World, spec

from atoll.daemon.analyst import Analyst
from atoll.model.analysis import AnalysisPolicy, Check
from atoll.model.environment import Freeze
from atoll.model.errors import Conflict, Refused
from atoll.model.signals import Counts, EdgeKey, Histogram, bucket_of
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.state import Event
from atoll.model.wire import RollbackRequest, ScaleRequest, SteerRequest

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


def test_traffic_chooses_the_canary_and_a_good_candidate_takes_each_step_with_a_verdict() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        async with crowded(world):
            begun = await world.deploy(spec(version="v2"))
            assert begun.stepping is not None
            assert begun.stepping.strategy == "canary"
            assert begun.stepping.why.startswith("100 requests a second let a verdict be reached")
            done = await world.ended(begun, 1000)
            assert done.phase == "live"
        events = await ledger(world)
        assert [text.partition(" of")[0] for text in steps(events)] == ["10 %", "50 %", "100 %"]
        started = next(event for event in events if event.kind == "rollout.started" and event.release == 2)
        assert "canary: 100 requests a second" in started.message
        passed = [event.data["verdict"] for event in events if event.data.get("verdict", {}).get("outcome") == "pass"]
        assert all(verdict["requests"] >= 50 for verdict in passed)
        assert passed

    world.run(scenario)


@pytest.mark.parametrize("bad", [{"failing": 0.05}, {"wait_s": 0.06}], ids=["failing", "slow"])
def test_a_bad_candidate_is_undone_and_why_is_in_the_ledger(bad: dict[str, float]) -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        async with crowded(world, **bad) as crowd:
            done = await world.ended(await world.deploy(spec(version="v2")), 1000)
            assert done.phase == "undone"
            assert done.text.startswith("orders r2 is worse than orders r1")
            assert done.receipt is not None
            assert done.receipt.outcome == "undone"
            assert crowd.got[2] < 0.12 * (crowd.got[1] + crowd.got[2])
        undoing = next(event for event in await ledger(world) if event.kind == "rollout.undoing")
        convicted = [one for one in undoing.data["verdict"]["findings"] if one["outcome"] == "fail"]
        assert convicted
        assert all(one["chance"] <= one["alpha"] and one["test"] for one in convicted)

    world.run(scenario)


def test_a_candidate_that_turns_bad_in_its_bake_is_taken_back_while_the_old_release_is_warm() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world) as crowd:
            done = await world.ended(await world.deploy(spec(version="v2", rollout=QUICK)), 1000)
            assert done.phase == "live"
            crowd.failing = 0.2
            await world.clock.sleep(20)
            after = await world.environment.operation(done.id)
            assert after.phase == "undone"
        assert (await world.of()).release == "r1"

    world.run(scenario)


def test_few_requests_are_rolled_and_certified_only_as_what_they_are() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.ended(await world.deploy(spec(version="v2", replicas=2)))
        assert operation.stepping is not None
        assert (operation.stepping.strategy, operation.phase) == ("rolling", "live")
        await world.clock.sleep(700)
        certified = await world.environment.operation(operation.id)
        assert (certified.phase, certified.measured) == ("certified", False)

    world.run(scenario)


def test_a_canary_in_silence_waits_for_a_person() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        operation = await world.deploy(spec(version="v2", rollout=QUICK))
        await world.clock.sleep(120)
        waiting = await world.environment.operation(operation.id)
        assert waiting.stepping is not None
        assert (waiting.phase, waiting.stepping.paused) == ("stepping", "undecided")
        assert not waiting.ended
        await world.environment.steer("orders", SteerRequest(word="promote"))
        assert (await world.ended(operation)).phase == "live"

    world.run(scenario)


def test_people_steer_and_each_word_is_in_the_ledger() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            paused = await world.environment.steer("orders", SteerRequest(word="pause"))
            assert paused.stepping is not None
            assert paused.stepping.paused == "by hand"
            await world.clock.sleep(200)
            still = await world.environment.operation(operation.id)
            assert still.stepping is not None
            assert still.stepping.step == 0
            await world.environment.steer("orders", SteerRequest(word="resume"))
            assert (await world.ended(operation, 600)).phase == "live"
        kinds = [event.kind for event in await ledger(world)]
        assert {"rollout.paused", "rollout.resumed"} <= set(kinds)
        await world.clock.sleep(100)
        with pytest.raises(Conflict):
            await world.environment.steer("orders", SteerRequest(word="pause"))

    world.run(scenario)


def test_a_word_that_comes_again_after_its_answer_was_lost_is_said_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            say = world.environment.steer
            await say("orders", SteerRequest(word="pause", key="a"))
            await say("orders", SteerRequest(word="resume", key="b"))
            await world.restart()  # what was heard outlives the daemon
            again = await world.environment.steer("orders", SteerRequest(word="pause", key="a"))
            assert again.stepping is not None
            assert again.stepping.paused == ""
        said = [event.kind for event in await ledger(world) if event.kind in {"rollout.paused", "rollout.resumed"}]
        assert said == ["rollout.paused", "rollout.resumed"]

    world.run(scenario)


def test_a_rollback_that_comes_again_goes_back_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec(version="v2"))
        async with crowded(world):
            operation = await world.deploy(spec(version="v3", rollout=QUICK))
            await world.clock.sleep(3)
            await world.environment.rollback("orders", RollbackRequest(key="a"))
            assert (await world.ended(operation)).phase == "undone"
            again = await world.environment.rollback("orders", RollbackRequest(key="a"))
            assert (again.id, again.phase) == (operation.id, "undone")
            assert (await world.of()).release == "r2"

    world.run(scenario)


def test_a_rollback_at_a_step_ends_the_rollout_at_once() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            await world.clock.sleep(3)
            await world.environment.rollback("orders", RollbackRequest())
            await world.clock.sleep(1)
            entry = world.traffic.entry("orders")
            assert entry is not None
            assert entry.weights.get(2, 0) == 0
            assert (await world.ended(operation)).phase == "undone"
            retried = await world.environment.steer("orders", SteerRequest(word="retry"))
            assert retried.release == "r2"
            assert (await world.ended(retried, 600)).phase == "live"

    world.run(scenario)


def test_a_crowd_that_has_left_is_not_waited_for() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        async with crowded(world):
            pass
        await world.clock.sleep(20)
        operation = await world.ended(await world.deploy(spec(version="v2")))
        assert operation.stepping is not None
        assert (operation.stepping.strategy, operation.phase) == ("rolling", "live")

    world.run(scenario)


def test_the_same_deploy_again_is_the_one_that_is_under_way() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        first = await world.deploy(spec(version="v2", rollout=QUICK))
        await world.clock.sleep(3)
        assert (await world.deploy(spec(version="v2", rollout=QUICK))).id == first.id

    world.run(scenario)


def test_a_newer_deploy_takes_the_place_of_one_at_its_first_step() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        first = await world.deploy(spec(version="v2", rollout=QUICK))
        await world.clock.sleep(3)
        done = await world.ended(await world.deploy(spec(version="v3", rollout=RolloutSpec(strategy="blue-green"))))
        assert (done.phase, done.release) == ("live", "r3")
        assert (await world.environment.operation(first.id)).phase == "superseded"
        assert world.traffic.serving("orders").keys() == {1, 3}

    world.run(scenario)


def test_a_daemon_that_is_killed_at_every_commit_goes_on_with_the_step_and_takes_none_twice() -> None:
    n, done = 0, False
    while not done:
        world = World()
        finished: list[bool] = []

        async def scenario(n: int = n, world: World = world, finished: list[bool] = finished) -> None:
            await world.live(spec(rollout=QUICK))
            async with crowded(world):
                start = world.disk.commits
                operation = await world.deploy(spec(version="v2", rollout=QUICK))

                def over() -> bool:
                    return world.disk.commits - start > n or _is_live(world)

                await world.clock.until(over, every_s=0.01)
                finished.append(_is_live(world))
                await world.restart()
                view = await world.ended(operation, 1000)
                assert view.phase in {"live", "certified"}, (n, view)
                assert [applied.dead for applied in world.traffic.history if applied.dead] == [], n
            told = [text.partition(" of")[0] for text in steps(await ledger(world))]
            assert told == ["20 %", "50 %", "100 %"], n

        world.run(scenario)
        done = finished[0]
        n += 1
    assert n > 8


def _is_live(world: World) -> bool:
    rollout = world.environment._records.rollout_of("orders")
    return rollout is not None and rollout.candidate == 2 and rollout.phase in {"live", "certified"}


def test_evidence_outlives_the_daemon() -> None:
    world = World()
    slow = replace(QUICK, steps=(RolloutStep(weight_pct=20, hold_s=300.0),))

    async def scenario() -> None:
        await world.live(spec(rollout=slow))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=slow))
            await world.clock.sleep(40)
            before = (await world.environment.operation(operation.id)).stepping
            await world.restart()
            await world.clock.sleep(2)
            after = (await world.environment.operation(operation.id)).stepping
        assert before is not None
        assert before.verdict is not None
        assert after is not None
        assert after.verdict is not None
        assert after.verdict.requests >= before.verdict.requests - 16 * 20
        assert after.verdict.requests > 0

    world.run(scenario)


def test_a_freeze_holds_for_another_try_too_and_going_back_is_never_frozen() -> None:
    world = World()
    waiting = RolloutSpec(steps=(RolloutStep(weight_pct=10, hold_s=1000.0),))

    async def scenario() -> None:
        await world.live(spec())
        await world.deploy(spec(version="v2", rollout=waiting))
        await world.clock.sleep(5)
        world.freezes = (Freeze(first="2020-01-01", last="2099-12-31"),)
        await world.restart()
        await world.environment.rollback("orders", RollbackRequest())
        await world.clock.sleep(20)
        for refused in (
            world.environment.steer("orders", SteerRequest(word="retry")),
            world.environment.plan(SteerRequest(word="retry"), "orders"),
            world.deploy(spec(version="v3")),
        ):
            with pytest.raises(Refused, match="is not deployed now"):
                await refused
        assert (await world.ended(await world.deploy(spec(version="v3"), override_freeze="an outage"))).phase == "live"

    world.run(scenario)


def test_what_is_scaled_to_none_is_deployed_all_the_same_and_in_the_middle_too() -> None:
    world = World()
    canary = RolloutSpec(strategy="canary", on_no_data="promote", deadline_s=10.0)

    async def scenario() -> None:
        await world.live(spec())
        await world.environment.scale("orders", ScaleRequest(replicas=0))
        assert (await world.ended(await world.deploy(spec(version="v2", rollout=canary)))).phase == "live"
        await world.environment.scale("orders", ScaleRequest(replicas=1))
        await world.clock.sleep(5)
        operation = await world.deploy(spec(version="v3", rollout=canary))
        await world.clock.sleep(3)
        await world.environment.scale("orders", ScaleRequest(replicas=0))
        assert (await world.ended(operation)).phase == "live"

    world.run(scenario)


def test_who_asks_for_the_candidate_by_a_header_is_not_compared_with_the_rest() -> None:
    """Testers are no sample: all of theirs may fail, and the step after begins with no evidence of them."""
    world = World()
    steps = (RolloutStep(header="x-canary: yes", hold_s=40.0), RolloutStep(weight_pct=20, hold_s=3.0))

    async def scenario() -> None:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            operation = await world.deploy(spec(version="v2", rollout=replace(QUICK, steps=steps)))
            for _ in range(35):
                await world.clock.sleep(1)
                counts = Counts(requests=20, failures=20, latency=Histogram())
                world.traffic.count(EdgeKey("", 0, "orders", 2), counts)
            asked = (await world.environment.operation(operation.id)).stepping
            assert asked is not None
            assert (asked.step, asked.verdict and asked.verdict.requests) in {(0, 0), (0, None)}
            assert (await world.ended(operation, 600)).phase == "live"

    world.run(scenario)


def test_a_check_is_not_asked_again_before_it_has_answered() -> None:
    world = World()
    slow = Check(name="smoke", http="http://127.0.0.1:9/", every_s=10.0, timeout_s=60.0)

    async def scenario() -> None:
        policy = replace(QUICK, checks=(slow,))
        await world.live(spec(rollout=policy))
        await world.deploy(spec(version="v2", rollout=policy))
        await world.clock.sleep(3)
        rollout = world.environment._records.rollout_of("orders")
        assert rollout is not None
        assert rollout.stage == "watching"
        candidate = world.environment._records.releases_of("orders")[2]
        analyst, began = Analyst("orders", world.environment._signals, lambda _: None), world.clock.now()

        def due(after_s: float) -> list[str]:
            now = replace(began, boot_s=began.boot_s + after_s)
            analyst.look(rollout, candidate, now)
            return [check.name for check in analyst.due(rollout, candidate, now)]

        assert (due(0), due(10), due(30)) == (["smoke"], [], [])
        analyst.answered(rollout.id, "smoke", True, "status 200")
        assert (due(31), due(32)) == (["smoke"], [])

    world.run(scenario)


@pytest.mark.parametrize(
    ("failing", "outcome"), [(1, "undone"), (2, "live")], ids=["its-settled-release", "its-candidate"]
)
def test_a_caller_that_suffers_speaks_by_its_settled_release_only(failing: int, outcome: str) -> None:
    """What a canary of web breaks at web is no reason to take orders back; what orders breaks at web is."""
    world = World()
    policy = replace(QUICK, strategy="all-at-once", steps=(), bake_s=120.0)

    async def come() -> None:
        draw = random.Random(7)
        while True:
            baking = world.environment._records.rollout_of("orders")
            bad = baking is not None and baking.candidate == 2
            for release, count in ((1, 90), (2, 10)):
                failed = sum(draw.random() < 0.5 for _ in range(count)) if bad and release == failing else 0
                world.traffic.count(EdgeKey("", 0, "web", release), Counts(requests=count, failures=failed))
                for version in (1, 2):
                    world.traffic.count(EdgeKey("web", release, "orders", version), Counts(requests=count))
            await world.clock.sleep(1.0)

    async def scenario() -> None:
        await world.live(spec(rollout=policy))
        await world.live(spec(name="web"))
        task = asyncio.create_task(come())
        await world.clock.sleep(700)
        paused = replace(QUICK, steps=(RolloutStep(weight_pct=10, hold_s=3000.0, approve=True),))
        await world.deploy(spec(name="web", version="v2", rollout=paused))
        await world.clock.sleep(5)
        await world.deploy(spec(version="v2", rollout=policy))
        await world.clock.sleep(90)
        rollout = world.environment._records.rollout_of("orders")
        task.cancel()
        assert rollout is not None
        assert rollout.phase == outcome, rollout.reason

    world.run(scenario)
