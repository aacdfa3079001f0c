"""A replica with an address of its own: what it is told, and what stands in the traffic table."""

from typing import Any

import msgspec

from atoll.decide.launch import launch
from atoll.decide.traffic import callee_port, edge_key, entry
from atoll.model.launch import Reach
from atoll.model.spec import Call, Command, Plain, Port
from atoll.model.state import LOOPBACK, Address, Image

REACH = Reach(edges="10.201.3.1", network="10.201.3.0/24")
CATALOG = Call(callee="catalog", env={"CATALOG": "{address}"})


def made(orders: Any, **facts: Any) -> Any:
    release = msgspec.structs.replace(orders.release(7, calls=(CATALOG,), **facts))
    record = msgspec.structs.replace(orders.replica("a", ports={"http": 8080}).record, host="10.201.3.2")
    leases = {edge_key("orders", 7, CATALOG): 20001}
    return launch(release, record, leases, {}, reach=REACH)


def test_it_listens_on_all_addresses_and_names_its_own(orders: Any) -> None:
    run = Command(argv=("orders", "--listen={host}:{port}", "--public={url}", "--at={address}"))
    found = made(orders, run=run)
    assert found.command.argv[1:] == (
        "--listen=0.0.0.0:8080",
        "--public=http://10.201.3.2:8080",
        "--at=10.201.3.2:8080",
    )
    assert (found.host, found.ports, found.network) == ("10.201.3.2", {"http": 8080}, None)


def test_it_finds_its_edges_at_the_networks_own_address(orders: Any) -> None:
    found = made(orders, env={"X": Plain("{calls.catalog.url}")})
    assert (found.env["CATALOG"], found.env["X"]) == ("10.201.3.1:20001", "http://10.201.3.1:20001")


def test_a_fixed_port_needs_no_network_besides_its_own(orders: Any) -> None:
    assert made(orders, ports=(Port(number=8080),)).network is None


def test_its_folder_lies_in_its_image(orders: Any) -> None:
    release = orders.release(7)
    image = Image(id="sha256:1", folder="/service")
    artifact = msgspec.structs.replace(release.artifact, image=image)
    release = msgspec.structs.replace(release, artifact=artifact, spec=orders.spec(workdir="app"))
    found = launch(release, orders.replica("a").record, {}, {})
    assert (found.folder, found.image) == ("/service/app", image)


def test_the_table_has_its_address_and_tells_who_may_use_its_edges(orders: Any) -> None:
    one = orders.replica("a", ports={"http": 8080})
    one = msgspec.structs.replace(one, record=msgspec.structs.replace(one.record, host="10.201.3.2"))
    release = orders.release(7, calls=(CATALOG,))
    ports = {edge_key("orders", 7, CATALOG): 20001}
    found = entry(
        orders.want((7, 1, 100)),
        orders.seen(one),
        {7: release},
        ports,
        lambda call: callee_port(call, {}, None),
        reach=REACH,
    )
    assert [endpoint.address for endpoint in found.upstreams[0].endpoints] == [Address("10.201.3.2", 8080)]
    assert (found.edges[0].listen, found.edges[0].sources) == (Address("10.201.3.1", 20001), "10.201.3.0/24")


def test_on_the_loopback_of_all_nobody_is_told_apart(orders: Any) -> None:
    release = orders.release(7, calls=(CATALOG,))
    ports = {edge_key("orders", 7, CATALOG): 20001}
    found = entry(
        orders.want((7, 1, 100)),
        orders.seen(orders.replica("a")),
        {7: release},
        ports,
        lambda c: callee_port(c, {}, None),
    )
    assert (found.edges[0].listen, found.edges[0].sources) == (Address(LOOPBACK, 20001), "")
