"""A workspace as nodes and edges, and as text: cycles, shared stores, topics of nobody, nothing that is secret."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli import drawing
from atoll.decide.graph import Graph, around, callees_first, graph
from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
from atoll.model.spec import Call, Command, Plain, Route, SecretRef, ServiceSpec, Store, Topic


def of(*services: ServiceSpec, stores: Mapping[str, Store] | None = None) -> Graph:
    named = {spec.name: spec for spec in services}
    return graph(
        WorkspaceSpec(name="shop", root="/ws", environment=EnvironmentSpec(), services=named, stores=stores or {})
    )


def service(name: str, calls: Sequence[str] = (), **fields: object) -> ServiceSpec:
    made = tuple(Call(callee=callee) for callee in calls)
    return ServiceSpec(**{"name": name, "run": Command(shell="x"), "calls": made, **fields})  # type: ignore[arg-type]


DB = Store(name="db", type="postgres", url=Plain("postgres://ada:hunter2@db/x?password=hunter2"))
SECRET = Store(name="vault", type="redis", url=SecretRef("cache"))


def test_every_kind_of_edge_is_there() -> None:
    web = service("web", routes=(Route(path="/", host="shop.test"),), calls=("orders",))
    outside = (Call(callee="bank", url="https://bank.test"), Call(callee="later", optional=True))
    orders = service("orders", stores=(DB,), publishes=(Topic(name="placed"),))
    orders = ServiceSpec(name="orders", run=orders.run, calls=outside, stores=(DB,), publishes=(Topic(name="placed"),))
    mailer = service("mailer", consumes=(Topic(name="placed"),))
    found = of(web, orders, mailer)
    assert {(edge.source, edge.kind, edge.target, edge.label, edge.optional) for edge in found.edges} == {
        ("gateway", "route", "service:web", "shop.test/", False),
        ("service:web", "call", "service:orders", "", False),
        ("service:orders", "call", "external:https://bank.test", "", False),
        ("service:orders", "call", "absent:later", "", True),
        ("service:orders", "store", "store:orders/db", "", False),
        ("service:orders", "publish", "topic:placed", "", False),
        ("topic:placed", "consume", "service:mailer", "", False),
    }
    ends = {end for edge in found.edges for end in (edge.source, edge.target)}
    assert ends == {node.id for node in found.nodes}
    assert (found.cycles, found.shared, found.unpublished) == ((), {}, ())


@pytest.mark.parametrize(
    ("calls", "cycles"),
    [
        ({"a": ("b",), "b": ("c",), "c": ("a",), "d": ("a",)}, [("a", "b", "c")]),
        ({"a": ("a",)}, [("a",)]),
        ({"a": ("b",), "b": ("a", "c"), "c": ("b",)}, [("a", "b")]),
        ({"a": ("b",), "b": ("a",), "c": ("d",), "d": ("c",)}, [("a", "b"), ("c", "d")]),
        ({"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}, []),
    ],
)
def test_calls_in_a_cycle_are_found(calls: Mapping[str, Sequence[str]], cycles: Sequence[tuple[str, ...]]) -> None:
    found = of(*(service(name, callees) for name, callees in calls.items()))
    assert list(found.cycles) == cycles
    marked = {edge.source for edge in found.edges if edge.cycle}
    assert {f"service:{name}" for cycle in cycles for name in cycle} <= marked


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=4), min_size=1))
def test_a_cycle_is_one_whose_services_call_each_other_in_turn(calls: dict[str, list[str]]) -> None:
    known = {name: [callee for callee in callees if callee in calls] for name, callees in calls.items()}
    for cycle in of(*(service(name, callees) for name, callees in known.items())).cycles:
        assert all(callee in known[name] for name, callee in zip(cycle, (*cycle[1:], cycle[0]), strict=True))
        assert len(set(cycle)) == len(cycle)


def test_a_store_of_two_services_is_one_node_and_told() -> None:
    found = of(service("a", stores=(DB,)), service("b", stores=(Store(name="other", type="postgres", url=DB.url),)))
    assert found.shared == {"store:a/db": ("a", "b")}
    assert [node.name for node in found.nodes if node.kind == "store"] == ["db"]


def test_what_is_shared_on_purpose_is_not_told() -> None:
    broker = Store(name="broker", type="amqp", url=Plain("amqp://mq"))
    cache = Store(name="cache", type="redis", url=Plain("redis://c"), shared=True)
    assert of(service("a", stores=(broker, cache)), service("b", stores=(broker, cache))).shared == {}


def test_a_store_that_nobody_uses_is_there() -> None:
    unused = Store(name="old", type="redis", url=Plain("redis://c"))
    assert [node.id for node in of(service("a"), stores={"old": unused}).nodes] == ["service:a", "store:old"]


def test_a_topic_that_nobody_publishes_is_told_unless_it_comes_from_outside() -> None:
    topics = (Topic(name="mine"), Topic(name="theirs", external=True))
    assert of(service("a", consumes=topics)).unpublished == ("mine",)


@pytest.mark.parametrize("draw", [drawing.mermaid, drawing.dot, str])
def test_no_drawing_shows_a_password(draw: object) -> None:
    text = draw(of(service("a", stores=(DB, SECRET))))  # type: ignore[operator]
    assert "hunter2" not in text
    assert "ada" not in text
    assert "postgres://db/x" in text
    assert "secret cache" in text


def test_around_a_service_is_what_it_has_to_do_with() -> None:
    whole = of(
        service("a", ("b",), publishes=(Topic(name="t"),)),
        service("b", ("c",)),
        service("c"),
        service("d", consumes=(Topic(name="t"),)),
    )
    assert {node.name for node in around(whole, ["a"]).nodes} == {"a", "b", "t", "d"}
    assert {node.name for node in around(whole, ["c"]).nodes} == {"b", "c"}


def test_mermaid_is_written_word_by_word() -> None:
    found = of(service("a", ("b",), routes=(Route(path='/"<'),), stores=(DB,)), service("b", ("a",), stores=(DB,)))
    assert (
        drawing.mermaid(found)
        == """\
flowchart LR
    n0(["gateway<br>127.0.0.1:8080"])
    n1["a"]
    n2["b"]
    n3[("db<br>postgres://db/x")]
    n0 -->|"/#quot;#lt;"| n1
    n1 ==> n2
    n2 ==> n1
    n1 --> n3
    n2 --> n3
    classDef shared stroke:#c00,stroke-width:3px
    class n3 shared
"""
    )


def test_dot_is_written_word_by_word() -> None:
    found = of(service("a", ("b",), consumes=(Topic(name='t"'),)), service("b", ("a",)))
    assert (
        drawing.dot(found)
        == r"""digraph {
    rankdir=LR;
    "service:a" [shape=box, label="a"];
    "service:b" [shape=box, label="b"];
    "topic:t\"" [shape=hexagon, label="t\""];
    "service:a" -> "service:b" [color=red, penwidth=2];
    "service:b" -> "service:a" [color=red, penwidth=2];
    "topic:t\"" -> "service:a" [style=dashed];
}
"""
    )


def test_those_who_are_called_come_first_and_a_cycle_ends() -> None:
    def calling(name: str, *callees: str) -> ServiceSpec:
        return ServiceSpec(name=name, run=Command(shell="x"), calls=tuple(Call(callee=each) for each in callees))

    specs = (calling("a", "b", "elsewhere"), calling("b", "c"), calling("c"), calling("x", "y"), calling("y", "x"))
    services = {spec.name: spec for spec in specs}
    assert callees_first(services, services) == ["c", "b", "a", "y", "x"]
    assert callees_first(services, {"c", "a"}) == ["c", "a"]
