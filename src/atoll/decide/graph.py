"""Who calls whom, which stores and topics there are, what comes in from outside: a workspace as nodes and edges. Pure.

`atoll graph` draws it. What of a store's address is a secret is not in it.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from atoll.decide.ownership import identity
from atoll.model.environment import WorkspaceSpec
from atoll.model.spec import Call, SecretRef, ServiceSpec, Store
from atoll.model.store_url import BROKERS, without_password

NodeKind = Literal["gateway", "service", "absent", "external", "store", "topic"]
EdgeKind = Literal["route", "call", "store", "publish", "consume"]


class GraphNode(msgspec.Struct, frozen=True, kw_only=True):
    """`name` as the files say it, `detail` what more a person wants to see: owner, URL, type."""

    id: str
    kind: NodeKind
    name: str
    detail: str = ""


class GraphEdge(msgspec.Struct, frozen=True, kw_only=True):
    """From the one that begins (the caller, the publisher, the reader of a topic) to the other, by ids."""

    source: str
    target: str
    kind: EdgeKind
    label: str = ""  # a route's path, a callee's port
    optional: bool = False
    cycle: bool = False  # a call that is part of a cycle of calls


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it. `cycles` are services by name, each calling the next and the last the first."""

    workspace: str
    environment: str
    nodes: tuple[GraphNode, ...] = ()
    edges: tuple[GraphEdge, ...] = ()
    cycles: tuple[tuple[str, ...], ...] = ()
    shared: Mapping[str, tuple[str, ...]] = {}  # store's id -> services, where that was not said to be meant
    unpublished: tuple[str, ...] = ()  # topics that are consumed, and published by nobody known

    def node(self, id: str) -> GraphNode:
        """The node with that id. Raises StopIteration for an unknown one."""
        return next(node for node in self.nodes if node.id == id)


def graph(workspace: WorkspaceSpec) -> Graph:
    """A workspace's graph for its environment; nodes and edges in a stable order."""
    services = workspace.services
    calls = [(spec, call) for spec in services.values() for call in spec.calls if not call.store]
    calling = {
        name: [call.callee for call in spec.calls if call.url is None and call.callee in services]
        for name, spec in services.items()
    }
    groups = _groups(calling)
    nodes: dict[str, GraphNode] = {}
    edges: list[GraphEdge] = []
    if any(spec.routes for spec in services.values()):
        _put(nodes, GraphNode(id="gateway", kind="gateway", name="gateway", detail=str(workspace.environment.gateway)))
    for spec in services.values():
        _put(nodes, GraphNode(id=f"service:{spec.name}", kind="service", name=spec.name, detail=spec.owner))
        edges += _routes(spec)
    for spec, call in calls:
        callee = _callee(call, services)
        _put(nodes, callee)
        cycle = callee.kind == "service" and any({spec.name, call.callee} <= group for group in groups)
        edges.append(
            GraphEdge(
                source=f"service:{spec.name}",
                target=callee.id,
                kind="call",
                label=call.port,
                optional=call.optional,
                cycle=cycle,
            )
        )
    users = _stores(workspace, nodes, edges)
    _topics(services.values(), nodes, edges)
    published = {edge.target for edge in edges if edge.kind == "publish"}
    external = {f"topic:{topic.name}" for spec in services.values() for topic in spec.consumes if topic.external}
    consumed = dict.fromkeys(edge.source for edge in edges if edge.kind == "consume")
    return Graph(
        workspace=workspace.name,
        environment=workspace.environment.name,
        nodes=tuple(nodes.values()),
        edges=tuple(edges),
        cycles=tuple(_cycle(group, calling) for group in groups),
        shared={id: tuple(names) for id, names in users.items() if len(names) > 1},
        unpublished=tuple(nodes[id].name for id in consumed if id not in published | external),
    )


def around(whole: Graph, services: Collection[str]) -> Graph:
    """Only these services, and whatever they have an edge with."""
    wanted = {f"service:{name}" for name in services}
    topics = {
        end for edge in whole.edges for end in (edge.source, edge.target)
        if end.startswith("topic:") and wanted & {edge.source, edge.target}
    }  # fmt: skip
    edges = tuple(edge for edge in whole.edges if (wanted | topics) & {edge.source, edge.target})
    kept = wanted | {end for edge in edges for end in (edge.source, edge.target)}
    names = set(services)
    return msgspec.structs.replace(
        whole,
        nodes=tuple(node for node in whole.nodes if node.id in kept),
        edges=edges,
        cycles=tuple(cycle for cycle in whole.cycles if names & set(cycle)),
        shared={id: users for id, users in whole.shared.items() if names & set(users)},
        unpublished=tuple(name for name in whole.unpublished if f"topic:{name}" in kept),
    )


def _put(nodes: dict[str, GraphNode], node: GraphNode) -> None:
    nodes.setdefault(node.id, node)


def _routes(spec: ServiceSpec) -> Iterator[GraphEdge]:
    for route in spec.routes:
        yield GraphEdge(
            source="gateway", target=f"service:{spec.name}", kind="route", label=f"{route.host or ''}{route.path}"
        )


def _callee(call: Call, services: Mapping[str, ServiceSpec]) -> GraphNode:
    if call.url is not None:
        return GraphNode(id=f"external:{call.url}", kind="external", name=call.callee, detail=call.url)
    if call.callee in services:
        return GraphNode(
            id=f"service:{call.callee}", kind="service", name=call.callee, detail=services[call.callee].owner
        )
    return GraphNode(id=f"absent:{call.callee}", kind="absent", name=call.callee, detail="not in this workspace")


def _stores(workspace: WorkspaceSpec, nodes: dict[str, GraphNode], edges: list[GraphEdge]) -> dict[str, list[str]]:
    """Adds them; returns who uses each, of those that should have one user."""
    known: dict[str, str] = {}  # what identifies the data -> the node's id
    users: dict[str, list[str]] = {}
    for spec in workspace.services.values():
        for store in spec.stores:
            id = known.setdefault(identity(spec, store), f"store:{spec.name}/{store.name}")
            _put(nodes, _store(id, store))
            edges.append(GraphEdge(source=f"service:{spec.name}", target=id, kind="store"))
            if not store.shared and store.type not in BROKERS:
                users.setdefault(id, []).append(spec.name)
    named = {store.name for spec in workspace.services.values() for store in spec.stores}
    for store in workspace.stores.values():
        if store.name not in named:
            _put(nodes, _store(f"store:{store.name}", store))
    return {id: list(dict.fromkeys(names)) for id, names in users.items()}


def _store(id: str, store: Store) -> GraphNode:
    if store.server is not None:
        detail = f"{store.type or 'an image'}, run by Atoll"
    elif isinstance(store.url, SecretRef):
        detail = ", ".join(filter(None, (store.type, f"secret {store.url.name}")))
    else:
        detail = without_password(store.url.value)
    return GraphNode(id=id, kind="store", name=store.name, detail=detail)


def _topics(services: Iterable[ServiceSpec], nodes: dict[str, GraphNode], edges: list[GraphEdge]) -> None:
    for spec in services:
        for topic in spec.publishes:
            _put(nodes, GraphNode(id=f"topic:{topic.name}", kind="topic", name=topic.name))
            edges.append(GraphEdge(source=f"service:{spec.name}", target=f"topic:{topic.name}", kind="publish"))
        for topic in spec.consumes:
            _put(nodes, GraphNode(id=f"topic:{topic.name}", kind="topic", name=topic.name))
            edges.append(GraphEdge(source=f"topic:{topic.name}", target=f"service:{spec.name}", kind="consume"))


# --- cycles -------------------------------------------------------------------------------------------------------


def _groups(calling: Mapping[str, Sequence[str]]) -> list[set[str]]:
    """Services that reach each other by calls, and those that call themselves: each within some cycle."""
    reach = {name: _reached(name, calling) for name in calling}
    groups: list[set[str]] = []
    for name in calling:
        if name in reach[name] and not any(name in group for group in groups):
            groups.append({other for other in reach[name] if name in reach[other]})
    return groups


def _reached(start: str, calling: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    todo = list(calling[start])
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += calling[name]
    return found


def callees_first(services: Mapping[str, ServiceSpec], names: Collection[str]) -> list[str]:
    """The named services, each after those of them that it calls; in a cycle the first by name comes last."""
    ordered: dict[str, None] = {}
    met: set[str] = set()

    def visit(name: str) -> None:
        if name in met or name not in services:
            return
        met.add(name)
        for callee in sorted(call.callee for call in services[name].calls if call.url is None):
            visit(callee)
        ordered[name] = None

    for name in sorted(names):
        visit(name)
    return [name for name in ordered if name in names]


def _cycle(group: Collection[str], calling: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """A shortest cycle through the first service of a group."""
    first = min(group)
    paths: list[tuple[str, ...]] = [(first,)]
    seen: set[str] = set()
    for path in paths:  # grows while it is walked: breadth first
        for callee in calling[path[-1]]:
            if callee == first:
                return path
            if callee in group and callee not in seen:
                seen.add(callee)
                paths.append((*path, callee))
    return tuple(sorted(group))
