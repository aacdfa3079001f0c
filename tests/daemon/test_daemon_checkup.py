"""What `atoll doctor` gets of a daemon: in production it also judges how things run."""

import pytest
from tests.daemon.world import World, spec

from atoll.model.machine import MachineFacts, Used
from atoll.model.spec import Limits
from atoll.model.wire import StopRequest
from atoll.model.wire_access import TokenRequest
from atoll.model.wire_doctor import DoctorView
from atoll.testing.fake_host import Behaviour


async def checks(world: World) -> dict[str, DoctorView]:
    return {view.check: view for view in await world.environment.doctor()}


def test_where_people_develop_only_what_is_broken_is_looked_at() -> None:
    world = World()
    world.exposed = {"orders": ("0.0.0.0:20001",)}

    async def scenario() -> None:
        await world.live(spec())
        assert set(await checks(world)) == {"keeper", "proxy"}

    world.run(scenario)


def test_in_production_machine_and_services_are_judged() -> None:
    world = World()
    world.dev = False
    world.facts = MachineFacts(disk=Used(used=99, most=100), memory_bytes=2**30)

    async def scenario() -> None:
        assert (await checks(world))["limits"].ok  # nothing runs yet
        await world.live(spec("orders"))
        await world.live(spec("carts", limits=Limits(memory_bytes=2**28), replicas=2))
        found = await checks(world)
        assert found["disk headroom"].ok is False
        assert found["listeners"].ok
        assert found["limits"].text.startswith("orders: no memory limit")
        assert found["replicas"].text.startswith("orders: one replica")
        assert found["memory promised"].text == (
            "services may use 512 MiB of 1 GiB by their limits, 1 GiB while carts is deployed"
        )
        world.exposed = {"carts": ("0.0.0.0:20001", "0.0.0.0:9229")}
        found = await checks(world)
        assert found["listeners of carts"].ok is False
        assert "listeners" not in found
        await world.environment.stop("orders", StopRequest())
        await world.clock.sleep(60.0)
        assert (await checks(world))["limits"].ok  # what is not wanted is not judged

    world.run(scenario)


@pytest.mark.parametrize("kernel_says", [True, False])
def test_a_service_that_listens_everywhere_is_told_once_with_its_ports(kernel_says: bool) -> None:
    world = World()
    world.dev = False

    async def scenario() -> None:
        world.host.script("orders", Behaviour(everywhere=True))
        await world.live(spec())
        (replica,) = (await world.of()).replicas
        where = f"0.0.0.0:{replica.ports['http']}"
        if kernel_says:
            world.exposed = {"orders": (where,)}
        views = await world.environment.doctor()
        assert [view.text.split(":")[0] + ":" for view in views if "past the" in view.text] == ["0.0.0.0:"]
        assert any(where in view.text for view in views)

    world.run(scenario)


@pytest.mark.parametrize("dev", [True, False])
def test_the_daemon_itself_says_who_may_read_along_with_its_api_and_which_tokens_have_no_end(dev: bool) -> None:
    world = World()
    world.dev, world.api = dev, "10.0.0.5:9180"

    async def scenario() -> None:
        assert (await checks(world))["api"].ok is None
        assert "tokens" not in await checks(world)
        await world.environment.make_token("grafana", TokenRequest(expires_s=None))
        assert (await checks(world))["tokens"].text.startswith("grafana: no end")

    world.run(scenario)


@pytest.mark.parametrize(("dev", "warned"), [(False, True), (True, False)])
def test_a_deploy_that_is_reached_past_the_gateway_says_so_where_it_matters(dev: bool, warned: bool) -> None:
    world = World()
    world.dev = dev
    world.exposed = {"orders": ("0.0.0.0:9229",)}

    async def scenario() -> None:
        first = await world.live(spec())
        text = "0.0.0.0:9229: whoever reaches the machine reaches orders there, past the gateway; `atoll doctor` has the fix"
        assert first.warnings == ((text,) if warned else ())
        world.exposed = {}
        assert (await world.live(spec(version="v2"))).warnings == ()
        world.exposed = {"orders": ("0.0.0.0:9229",)}
        assert (await world.environment.operation(first.id)).warnings == ()  # it is the newest that is told of

    world.run(scenario)
