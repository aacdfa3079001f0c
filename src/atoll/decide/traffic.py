"""From releases, replicas and leases to the traffic table, one entry a service.

A cell of `realise` calls `entry` for its service after every change. Nothing here speaks to a proxy or leases a port.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from atoll.model.launch import Reach
from atoll.model.spec import Call, Port, Protocol, Route
from atoll.model.state import Address, Observation, Release, Replica, ServiceDesired
from atoll.model.traffic import Edge, Endpoint, GatewayRoute, ServiceTraffic, Upstream

LOCAL = Reach()
_BY_SCHEME: Mapping[str, Protocol] = {"grpc": "grpc", "grpcs": "grpc", "tcp": "tcp"}  # of an external callee; else http


def entry(
    desired: ServiceDesired,
    seen: Observation,
    releases: Mapping[int, Release],
    edge_ports: Mapping[str, int],
    callee_port: Callable[[Call], Port],
    callers: Collection[int] = (),
    reach: Reach = LOCAL,
) -> ServiceTraffic:
    """All of the table that changes with one service.

    `edge_ports` maps `edge_key` to the leased port of each outward edge; an edge without a lease is left out.
    `callee_port` is the port that a call means now, by its callee's live release; `callers` are releases with jobs that
    run, whose edges listen, too; `reach` says where.
    """
    planned = [rev.release for rev in desired.revisions if rev.replicas > 0 or rev.weight_pct > 0]
    running = [one.record.release for one in seen.replicas if _may_live(one)]
    live = [releases[n] for n in sorted({*planned, *running}) if n in releases]
    calling = [releases[n] for n in sorted({*planned, *running, *callers}) if n in releases]
    weights = {rev.release: rev.weight_pct for rev in desired.revisions if rev.release in planned}
    return ServiceTraffic(
        service=desired.service,
        weights=weights,
        upstreams=tuple(upstream for release in live for upstream in _upstreams(release, seen)),
        edges=tuple(edge for release in calling for edge in _edges(release, edge_ports, callee_port, reach)),
        routes=_routes([release for release in live if release.n in planned], weights),
        hold=desired.hold,
        faults=tuple(fault for fault in desired.faults if fault.kind != "pause"),
        header=desired.header,
        header_release=desired.revisions[-1].release if desired.header else 0,
    )


def edge_key(service: str, release: int, call: Call) -> str:
    """The lease holder of an edge's listener: `edge:orders-r7->catalog.grpc`, without the port when none is named.

    By the caller's own words, never by what the callee has at the moment: the caller keeps the address it was started
    with when the callee comes, goes or changes its ports.
    """
    port = f".{call.port}" if call.port else ""
    return f"edge:{service}-r{release}->{call.callee}{port}"


def edge_keys(release: Release) -> tuple[str, ...]:
    """Every lease that a release's edges need."""
    return tuple(dict.fromkeys(edge_key(release.service, release.n, call) for call in release.spec.calls))


def callee_port(call: Call, releases: Mapping[int, Release], target: int | None) -> Port:
    """The port that a call means, by the callee's `releases`: as the `target` has it, else the newest; one that never ran
    speaks what the call says, and one outside what its URL says.
    """
    if call.url is not None:
        protocol = _BY_SCHEME.get(call.url.partition(":")[0], "http")
        return Port(name=protocol, protocol=protocol)
    n = target if target is not None and target in releases else max(releases, default=0)
    found = releases[n].spec.port(call.port) if n in releases else None
    return found or Port(name=call.port or "http", protocol=call.protocol or "http")


def _may_live(replica: Replica) -> bool:
    return replica.alive is not False and replica.exit is None


def _upstreams(release: Release, seen: Observation) -> Iterable[Upstream]:
    mine = [one for one in seen.replicas if one.record.release == release.n and _may_live(one)]
    published = [one for one in mine if one.record.phase == "serving"]
    # Readiness lost everywhere, or nobody asked yet: those that may live stay; an empty release fails everything.
    serving = [one for one in published if one.ready and one.alive] or published
    draining = [one for one in mine if one.record.phase == "draining"]
    for port in release.spec.ports:
        endpoints = (*_endpoints(serving, port, "serving"), *_endpoints(draining, port, "draining"))
        yield Upstream(
            release=release.n,
            port=port.name,
            protocol=port.protocol,
            endpoints=endpoints,
            failures=release.spec.failures,
        )


def _endpoints(replicas: Iterable[Replica], port: Port, state: Literal["serving", "draining"]) -> Iterable[Endpoint]:
    for one in sorted(replicas, key=lambda replica: replica.id):
        number = one.record.ports.get(port.name)
        if number is not None:
            yield Endpoint(replica=one.id, address=Address(one.record.host, number), state=state)


def _edges(
    release: Release, ports: Mapping[str, int], callee_port: Callable[[Call], Port], reach: Reach
) -> Iterable[Edge]:
    done: set[str] = set()
    for call in release.spec.calls:
        key = edge_key(release.service, release.n, call)
        if key in done or key not in ports:
            continue
        done.add(key)
        port = callee_port(call)
        yield Edge(
            caller_release=release.n,
            callee=call.callee,
            port=port.name,
            protocol=port.protocol,
            listen=Address(reach.edges, ports[key]),
            policy=call.policy,
            sources=reach.network,
            url=call.url,
            ca=call.ca,
        )


def _routes(live: list[Release], weights: Mapping[int, int]) -> tuple[GatewayRoute, ...]:
    declared: dict[tuple[str, str], list[tuple[Release, Route]]] = {}
    # The release with most traffic says how a path is treated that several declare; a path of one only goes there.
    for release in sorted(live, key=lambda one: (-weights.get(one.n, 0), -one.n)):
        for route in release.spec.routes:
            declared.setdefault((route.host or "", route.path), []).append((release, route))
    return tuple(table for key in sorted(declared) if (table := _route(declared[key])) is not None)


def _route(declared: list[tuple[Release, Route]]) -> GatewayRoute | None:
    release, route = declared[0]
    port = release.spec.port(route.port)
    if port is None:
        return None
    behind = [one.n for one, _ in declared if one.spec.port(port.name) is not None]
    return GatewayRoute(
        path=route.path,
        host=route.host,
        port=port.name,
        protocol=port.protocol,
        strip=route.strip,
        policy=route.policy,
        releases=tuple(sorted(set(behind))),
    )
