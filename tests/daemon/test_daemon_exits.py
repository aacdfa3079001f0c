"""How a daemon learns of ends, and what it says of them."""

import asyncio
from collections.abc import Sequence

from world import ARTIFACT, World, spec

from atoll.model.hosted import Hosted
from atoll.model.spec import Health, Probe
from atoll.model.state import Exit
from atoll.model.wire import Draft, StopRequest, UpRequest
from atoll.ports import Launch
from atoll.testing.fake_host import Behaviour, FakeHost


class LateAnswers(FakeHost):
    """Its answers to `start` and `list` are on their way for a while: exits, on another line, overtake them."""

    dies_meanwhile = ""  # the replica that dies while the next list is under way

    async def start(self, launch: Launch) -> Hosted:
        answer = await super().start(launch)
        await self._clock.sleep(0.2)
        return answer

    async def list(self) -> Sequence[Hosted]:
        answer = await super().list()
        if self.dies_meanwhile in self.running():
            self.kill(self.dies_meanwhile)
        await self._clock.sleep(0.2)
        return answer


def test_a_program_that_ends_at_once_is_a_crash_although_its_exit_overtakes_its_start() -> None:
    world = World()
    world.host = LateAnswers(world.clock)
    world.host.script("worker", Behaviour(exits_after_s=0.05, exit=Exit(code=0)))

    async def scenario() -> None:
        worker = spec(
            "worker",
            ports=(),
            routes=(),
            health=Health(ready=Probe(kind="process"), stable_for_s=1.0, start_budget_s=3.0),
        )
        done = await world.ended(await world.deploy(worker))
        assert done.phase == "undone", done
        assert "exit code 0" in done.text

    world.run(scenario)


def test_an_end_is_not_undone_by_a_list_that_was_under_way() -> None:
    world = World()
    host = world.host = LateAnswers(world.clock)

    async def scenario() -> None:
        await world.live(spec())
        [host.dies_meanwhile] = host.running("orders")
        await world.clock.until(lambda: host.running("orders") == [], within_s=20)
        await world.clock.until(lambda: host.running("orders"), within_s=3, what="it is replaced before the next list")

    world.run(scenario)


class Stuck(FakeHost):
    """Its processes need five seconds to die of SIGKILL, as those that wait for a dead disk do."""

    async def signal(self, replica: str, signal: str) -> bool:
        if signal != "SIGKILL":
            return await super().signal(replica, signal)
        self.signalled.append((replica, signal))
        if len(self.signalled) == 2:
            asyncio.get_running_loop().call_later(5.0, self.kill, replica)
        return True


def test_what_does_not_die_of_sigkill_at_once_is_killed_once_a_second_and_told_once() -> None:
    world = World()
    host = world.host = Stuck(world.clock)
    host.script("orders", Behaviour(ignores_signals=True))

    async def scenario() -> None:
        await world.live(spec())
        await world.environment.stop("orders", StopRequest())
        await world.clock.until(lambda: not host.running("orders"), within_s=30)
        kills = [signal for _, signal in host.signalled if signal == "SIGKILL"]
        assert 2 <= len(kills) <= 7
        told = [event.kind async for event in world.environment.events() if event.kind == "replica.killed"]
        assert len(told) == 1

    world.run(scenario)


def test_a_deploy_that_is_stopped_before_it_is_live_is_no_good_one() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        operation = await world.deploy(spec(version="v2"))
        await world.environment.stop("orders", StopRequest())
        done = await world.ended(operation)
        assert (done.phase, done.good) == ("superseded", False)
        assert "told to go down" in done.text
        await world.clock.until(lambda: not world.host.running("orders"), within_s=30)

    world.run(scenario)


def test_a_live_deploy_that_is_replaced_stays_a_good_one() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        second = await world.live(spec(version="v2"))
        await world.live(spec(version="v3"))
        view = await world.environment.operation(second.id)
        assert (view.phase, view.good, view.text) == ("superseded", True, "")

    world.run(scenario)


def test_two_ups_at_once_follow_one_deploy() -> None:
    world = World()

    async def scenario() -> None:
        request = UpRequest(drafts=(Draft(spec=spec(), artifact=ARTIFACT),))
        views = await asyncio.gather(world.environment.up(request), world.environment.up(request))
        assert [dict(view.refused) for view in views] == [{}, {}]
        [[first], [second]] = [view.operations for view in views]
        assert first.id == second.id
        assert (await world.ended(first)).good

    world.run(scenario)
