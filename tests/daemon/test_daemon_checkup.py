"""What `atoll doctor` gets of a daemon: in production it also judges how things run."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from tests.daemon.world import World, spec

from atoll.model.machine import MachineFacts, Used
from atoll.model.spec import Limits, SecretRef
from atoll.model.wire import RestartRequest, StopRequest
from atoll.model.wire_access import TokenRequest
from atoll.model.wire_doctor import DoctorView
from atoll.store.vault import SqliteVault
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


def test_who_mended_what_listens_everywhere_is_not_warned_for_the_release_before_that_is_still_warm() -> None:
    world = World()
    world.dev = False
    world.host.script("orders", Behaviour(everywhere=True), release=1)

    async def scenario() -> None:
        first = await world.live(spec())
        port = world.host.launches[0].ports["http"]
        assert [text.split(":")[1] for text in first.warnings] == [str(port)]
        second = await world.live(spec(version="v2"))
        assert len(world.host.running("orders", 1)) == 1
        assert second.warnings == ()
        assert f"0.0.0.0:{port}:" in (await checks(world))["listeners of orders"].text  # and no port of the newer one

    world.run(scenario)


def tampered(vault: SqliteVault, name: str, version: int) -> None:
    with closing(sqlite3.connect(vault.path)) as raw, raw:
        raw.execute("UPDATE secrets SET ciphertext = x'00' WHERE name = ? AND version = ?", (name, version))


def test_what_of_the_secrets_cannot_be_opened_is_told_before_somebody_needs_it(tmp_path: Path) -> None:
    world, vault = World(), SqliteVault(tmp_path)
    world.vault = vault  # type: ignore[assignment]

    async def secrets() -> list[DoctorView]:
        return [view for view in await world.environment.doctor() if view.check == "secrets"]

    async def scenario() -> None:
        assert await secrets() == []
        await vault.set("orders-db", "hunter2")
        await vault.set("unused", "hunter2")
        await world.live(spec(env={"DB": SecretRef("orders-db")}))
        await vault.set("orders-db", "hunter3")
        assert await secrets() == []

        tampered(vault, "unused", 1)
        tampered(vault, "orders-db", 1)  # what runs would not start again
        newest, held = await secrets()
        assert (newest.ok, newest.fix) == (False, "set it again: `atoll secret set unused`")
        assert "The secret orders-db (version 1) cannot be opened" in held.text
        assert held.fix == "set it again: `atoll secret set orders-db`; then `atoll restart orders`"
        await vault.set("unused", "hunter3")
        await world.environment.restart("orders", RestartRequest())
        await world.clock.until(lambda: bool(world.host.running("orders", 2)))
        await world.clock.sleep(60.0)
        assert await secrets() == []

        key = vault.key_path.rename(tmp_path / "aside")
        (missing,) = await secrets()  # once, not once a secret
        assert "key" in missing.text
        key.rename(vault.key_path)

        vault.path.write_bytes(b"nonsense" * 1000)
        (damaged,) = await secrets()
        assert "is damaged: file is not a database" in damaged.text
        assert "put back a copy" in damaged.fix

    world.run(scenario)
