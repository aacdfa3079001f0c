"""What people ask of a running environment besides a deploy, in virtual time: rollback, restart, scale, up, stop; asked twice, or too late."""

import pytest
from world import World, spec

from atoll.model.errors import Conflict, NotFound
from atoll.model.spec import SecretRef
from atoll.model.wire import RestartRequest, RollbackRequest, ScaleRequest, StopRequest, UpRequest
from atoll.model.wire_access import SecretRequest


def test_rollback_of_a_warm_release_is_a_weight_change() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.live(spec(version="v2"))
        before, started = len(world.host.launches), world.clock.now().boot_s
        done = await world.ended(await world.environment.rollback("orders", RollbackRequest()))
        assert done.phase in {"live", "certified"}
        assert len(world.host.launches) == before
        assert world.clock.now().boot_s - started < 1.0
        assert (await world.of()).release == "r1"

    world.run(scenario)


def test_restart_brings_the_newest_secret_and_fails_nothing() -> None:
    world = World()

    async def scenario() -> None:
        await world.environment.set_secret("db", SecretRequest(value="one"))
        await world.live(spec(env={"DB": SecretRef("db")}))
        assert world.host.launches[-1].secrets == {"DB": "one"}
        await world.environment.set_secret("db", SecretRequest(value="two"))
        done = await world.ended(await world.environment.restart("orders", RestartRequest()))
        assert done.phase in {"live", "certified"}
        assert world.host.launches[-1].secrets == {"DB": "two"}

    world.run(scenario)


def test_scale_is_an_override_that_survives_a_deploy() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        await world.environment.scale("orders", ScaleRequest(replicas=3))
        await world.clock.until(lambda: len(world.host.running("orders")) == 3)
        await world.live(spec(version="v2"))
        assert len(world.host.running("orders", 2)) == 3
        await world.environment.scale("orders", ScaleRequest(replicas=None))
        await world.clock.until(lambda: len(world.host.running("orders", 2)) == 1)

    world.run(scenario)


def test_up_deploys_what_is_down_and_only_names_what_was_edited() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        from world import ARTIFACT

        from atoll.model.wire import Draft

        drafts = (
            Draft(spec=spec(version="v2"), artifact=ARTIFACT),
            Draft(spec=spec("web"), artifact=ARTIFACT),
        )
        view = await world.environment.up(UpRequest(drafts=drafts))
        assert view.edited == ("orders",)
        assert [operation.service for operation in view.operations] == ["web"]
        await world.ended(view.operations[0])
        again = await world.environment.up(UpRequest(drafts=(Draft(spec=spec(), artifact=ARTIFACT), drafts[1])))
        assert set(again.unchanged) == {"orders", "web"}

    world.run(scenario)


def test_up_names_a_service_as_edited_when_only_its_secret_is_newer() -> None:
    world = World()

    async def scenario() -> None:
        from world import ARTIFACT

        from atoll.model.wire import Draft

        await world.environment.set_secret("db", SecretRequest(value="one"))
        wanted = spec(env={"DB": SecretRef("db")})
        await world.live(wanted)
        await world.environment.set_secret("db", SecretRequest(value="two"))
        view = await world.environment.up(UpRequest(drafts=(Draft(spec=wanted, artifact=ARTIFACT),)))
        assert view.edited == ("orders",)

    world.run(scenario)


def test_a_repeated_request_with_the_same_key_is_one_deploy() -> None:
    world = World()

    async def scenario() -> None:
        one = await world.deploy(spec(), key="abc")
        two = await world.deploy(spec(), key="abc")
        assert one.id == two.id
        await world.ended(one)
        assert set(world.environment._records.releases_of("orders")) == {1}

    world.run(scenario)


def test_a_repeated_scale_or_stop_changes_nothing_that_was_changed_since() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        seen = (await world.of()).generation
        await world.environment.scale("orders", ScaleRequest(replicas=3, key="a", expect=seen))
        await world.environment.scale("orders", ScaleRequest(replicas=2))
        again = await world.environment.scale("orders", ScaleRequest(replicas=3, key="a", expect=seen))
        assert again.wanted == 2
        await world.environment.stop("orders", StopRequest(key="b"))
        await world.live(spec())
        assert (await world.environment.stop("orders", StopRequest(key="b"))).state == "up"

    world.run(scenario)


def test_a_second_deploy_during_a_rollout_and_a_stale_generation_are_conflicts() -> None:
    world = World()

    async def scenario() -> None:
        await world.deploy(spec())
        with pytest.raises(Conflict):
            await world.deploy(spec(version="v2"))
        await world.clock.sleep(5)
        with pytest.raises(Conflict):
            await world.deploy(spec(version="v2"), expect=0)

    world.run(scenario)


def test_the_same_content_is_unchanged_and_a_missing_secret_names_the_command() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec())
        assert (await world.deploy(spec())).phase == "unchanged"
        with pytest.raises(NotFound, match="atoll secret set db"):
            await world.deploy(spec(env={"DB": SecretRef("db")}))

    world.run(scenario)


def test_stop_drains_and_ends_everything_and_a_restarted_daemon_leaves_it_down() -> None:
    world = World()

    async def scenario() -> None:
        await world.live(spec(replicas=2))
        await world.environment.stop("orders", StopRequest())
        await world.clock.until(lambda: not world.host.running("orders"))
        await world.restart()
        await world.clock.sleep(5)
        assert world.host.running("orders") == []
        assert (await world.of()).state == "down"

    world.run(scenario)
