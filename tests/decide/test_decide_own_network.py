"""A service that insists on its port: what its replicas are told, and what of its file does not fit."""

from typing import Any

import msgspec
import pytest

from atoll.decide.launch import launch
from atoll.decide.validate import check
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.launch import Network
from atoll.model.spec import Call, Command, Plain, Port, RenderedFile, ServiceSpec

PORTS = (Port(number=8080, env="PORT"), Port(name="admin"))


def test_the_replica_sees_its_own_numbers_and_the_machine_the_leased_ones(orders: Any) -> None:
    calls = (Call(callee="catalog", env={"CATALOG": "{address}"}), Call(callee="mail"))
    spec = orders.spec(
        ports=PORTS,
        calls=calls,
        run=Command(argv=("serve", "{port}", "{port.http}", "{port.admin}")),
        env={"SELF": Plain("{url}")},
        files={"a": RenderedFile(text="{port}/{env.PORT}")},
    )
    release = msgspec.structs.replace(orders.release(7), spec=spec)
    leases = {"edge:orders-r7->catalog": 23001, "edge:orders-r7->mail": 23002, "edge:other-r1->x": 23003}
    record = orders.replica(ports={"http": 21000, "admin": 21001}).record
    made = launch(release, record, leases, {})
    assert made.command.argv == ("serve", "8080", "8080", "21001")
    assert (made.env["PORT"], made.env["SELF"]) == ("8080", "http://127.0.0.1:8080")
    assert made.env["CATALOG"] == "127.0.0.1:23001", "edges are at the same address inside"
    assert made.files == {"a": "8080/8080"}
    assert made.ports == {"http": 21000, "admin": 21001}
    assert made.network == Network(inward={21000: 8080, 21001: 21001}, outward=(23001, 23002))


def test_others_stay_in_the_machines_network(orders: Any) -> None:
    assert launch(orders.release(7), orders.replica(ports={"http": 21000}).record, {}, {}).network is None


@pytest.mark.parametrize(
    ("ports", "what"),
    [
        ((Port(number=20500),), "ports.http.number = 20500 lies within the ports 20000-29999 that Atoll leases"),
        ((Port(number=8080), Port(name="a", number=8080)), "ports.a.number = 8080 is the number of port 'http', too"),
    ],
)
def test_numbers_that_do_not_fit_are_told(ports: tuple[Port, ...], what: str) -> None:
    spec = ServiceSpec(name="orders", run=Command(shell="x"), folder="orders", ports=ports)
    workspace = WorkspaceSpec(name="w", root="/w", environment=EnvironmentSpec(), services={"orders": spec})
    (problem,) = check(workspace)
    assert problem.what == what
    assert problem.fix


def test_two_services_may_insist_on_the_same_number(orders: Any) -> None:
    services = {
        name: ServiceSpec(name=name, run=Command(shell="x"), folder=name, ports=(Port(number=8080),))
        for name in ("a", "b")
    }
    assert check(WorkspaceSpec(name="w", root="/w", environment=EnvironmentSpec(), services=services)) == []
