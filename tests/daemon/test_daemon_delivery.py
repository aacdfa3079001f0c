"""Progressive delivery in virtual time: what the daemon does with the numbers that the proxy counts."""

import asyncio
import random

import pytest
from crowd import QUICK, crowded, ledger, steps
from msgspec.structs import replace
from world import World, at_every_commit, spec

from atoll.daemon.analyst import Analyst
from atoll.model.analysis import Check
from atoll.model.signals import Counts, EdgeKey, Histogram
from atoll.model.spec import RolloutSpec, RolloutStep
from atoll.model.wire import ScaleRequest, SteerRequest


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


def test_a_daemon_that_is_killed_at_every_commit_goes_on_with_the_step_and_takes_none_twice() -> None:
    async def play(world: World, n: int) -> bool:
        await world.live(spec(rollout=QUICK))
        async with crowded(world):
            start = world.disk.commits
            operation = await world.deploy(spec(version="v2", rollout=QUICK))
            finished = await world.killed_after(start + n, lambda: world.has_moved_to(2), every_s=0.01)
            view = await world.ended(operation, 1000)
            assert view.phase in {"live", "certified"}, (n, view)
            assert [applied.dead for applied in world.traffic.history if applied.dead] == [], n
        told = [text.partition(" of")[0] for text in steps(await ledger(world))]
        assert told == ["20 %", "50 %", "100 %"], n
        return finished

    assert at_every_commit(play) > 8


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
