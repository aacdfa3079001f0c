"""From the traffic table to Envoy's resources, by the services that changed. Pure; `switch` calls it.

A resource belongs to the services whose entries made it: an edge's to its caller and its callee, the gateway's routes
to all. So a change of one service makes its endpoint sets, its edges, the routes of its callers' edges towards it, and,
when they differ, the gateway's routes; and a refused resource names who is to blame.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from atoll.model.failures import Failures
from atoll.model.spec import Protocol
from atoll.model.state import Address
from atoll.model.traffic import Edge, Endpoint, GatewayRoute, ServiceTraffic, Table, Upstream
from atoll.proxy import clusters, listeners, routes
from atoll.proxy.names import GATEWAY, PLAIN, ClusterKey, Measured, edge_name, endpoint_set
from atoll.proxy.resources import CDS, EDS, LDS, RDS, Key, Made, Resource
from atoll.proxy.tls import Door

DEFAULT_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"


def translate(
    table: Table, changed: Iterable[str], *, before: Table | None = None, ca_file: str = "", door: Door | None = None
) -> Made:
    """All resources that the entries of `changed` have a part in, and of the gateway when it differs from `before`.

    The entries must not be `untranslatable`.
    """
    names = frozenset(changed)
    made: dict[Key, Resource] = {}
    for service, entry in ((name, table.services[name]) for name in sorted(names) if name in table.services):
        _add(made, _endpoint_sets(service, entry), service)
        _add(made, _gateway_clusters(service, entry), service)
    for caller, edge in _edges(table, names):
        _add(made, _edge(table, caller, edge, ca_file or DEFAULT_CA_FILE), caller, edge.callee)
    if before is None or before.gateway != table.gateway:
        _add(made, [(LDS, GATEWAY, listeners.gateway(table.gateway, door), "")])
        if door is not None and door.plain_port is not None:
            _add(made, [(LDS, PLAIN, listeners.plain(Address(table.gateway.host, door.plain_port)), "")])
    touching = [name for name in names if before is None or _face(before, name) != _face(table, name)]
    if before is None or touching:
        _add(made, [(RDS, GATEWAY, _gateway(table, door.hsts_s if door else 0), "")], *touching)
    return made


def untranslatable(table: Table, names: frozenset[str], *, ca_file: str = DEFAULT_CA_FILE) -> dict[str, str]:
    """Those of these services whose entries cannot be said in Envoy's words, and why. `ca_file` "": there is none."""
    found: dict[str, str] = {}
    for service in sorted(names & table.services.keys()):
        for edge in table.services[service].edges:
            if edge.url is not None:
                try:
                    outside = clusters.External.parse(edge.url)
                except ValueError as exc:
                    found[service] = f"{service} calls {edge.callee}: {exc}"
                    continue
                if outside.tls and not edge.ca and not ca_file:
                    why = "this machine has no certificates of authorities: install ca-certificates, or name a file as `ca`"
                    found[service] = f"{service} calls {edge.callee} by TLS, and {why}"
    return found


def keys(table: Table, names: frozenset[str]) -> set[Key]:
    """The keys of what `translate` makes for these services, the gateway's own two aside."""
    found: set[Key] = set()
    for service in names & table.services.keys():
        entry = table.services[service]
        found |= {(EDS, name) for name in _endpoint_names(service, entry)}
        found |= {(CDS, key.name) for _, key in _gateway_keys(service, entry)}
    for caller, edge in _edges(table, names):
        name = edge_name(caller, edge)
        found.add((LDS, name))
        if edge.protocol != "tcp":
            found.add((RDS, name))
        for key in _edge_keys(table, caller, edge):
            found.add((CDS, key.name))
            if key.callee_release is None:
                found.add((EDS, key.endpoints))
    return found


def measured(table: Table) -> dict[str, Measured]:
    """Every cluster of the table by name, for statistics."""
    found: dict[str, Measured] = {}
    for service, entry in table.services.items():
        for _, key in _gateway_keys(service, entry):
            found[key.name] = _measured(key, "http", entry)
    for caller, edge in _edges(table, frozenset(table.services)):
        callee = None if edge.url is not None else table.services.get(edge.callee)
        for key in _edge_keys(table, caller, edge):
            found[key.name] = _measured(key, edge.protocol, callee)
    return found


def _measured(key: ClusterKey, protocol: Protocol, callee: ServiceTraffic | None) -> Measured:
    """As the release behind it says; one outside the workspace says nothing."""
    for upstream in callee.upstreams if callee else ():
        if (upstream.release, upstream.port) == (key.callee_release, key.port):
            return Measured(key=key, protocol=upstream.protocol, failures=upstream.failures)
    return Measured(key=key, protocol=protocol, failures=Failures())


def widened(old: Table, new: Table, names: frozenset[str]) -> Table:
    """`new`, where what serves in `old` still serves: what Envoy must know before routes leave the old endpoints."""
    services = dict(new.services)
    for name in names & old.services.keys() & new.services.keys():
        services[name] = _widened(old.services[name], new.services[name])
    return msgspec.structs.replace(new, services=services)


def _widened(old: ServiceTraffic, new: ServiceTraffic) -> ServiceTraffic:
    served = {(upstream.release, upstream.port): upstream for upstream in old.upstreams}
    upstreams = []
    for upstream in new.upstreams:
        former = served.get((upstream.release, upstream.port))
        points = {point.address: point for point in upstream.endpoints}
        for point in former.endpoints if former else ():
            if point.state == "serving":
                points[point.address] = point
        upstreams.append(msgspec.structs.replace(upstream, endpoints=tuple(points.values())))
    return msgspec.structs.replace(new, upstreams=tuple(upstreams))


Item = tuple[str, str, Any, str]  # type, name, message, endpoint set of a cluster


def _add(made: dict[Key, Resource], items: Iterable[Item], *owners: str) -> None:
    for kind, name, body, endpoints in items:
        made[kind, name] = Resource.of(body, owners=owners, endpoints=endpoints)


def _edges(table: Table, names: frozenset[str]) -> Iterator[tuple[str, Edge]]:
    for caller, entry in table.services.items():
        for edge in entry.edges:
            if caller in names or (edge.url is None and edge.callee in names):
                yield caller, edge


# --- what a service serves -----------------------------------------------------------------------------------------


def _tcp_ports(entry: ServiceTraffic) -> dict[str, list[Upstream]]:
    ports: dict[str, list[Upstream]] = {}
    for upstream in entry.upstreams:
        if upstream.protocol == "tcp":
            ports.setdefault(upstream.port, []).append(upstream)
    return ports


def _endpoint_sets(service: str, entry: ServiceTraffic) -> Iterator[Item]:
    for upstream in entry.upstreams:
        if upstream.protocol != "tcp":
            body = clusters.endpoints(service, upstream)
            yield EDS, body.cluster_name, body, ""
    for port, upstreams in _tcp_ports(entry).items():
        body = clusters.tcp_endpoints(service, port, upstreams, entry.weights)
        yield EDS, body.cluster_name, body, ""


def _endpoint_names(service: str, entry: ServiceTraffic) -> set[str]:
    return {
        endpoint_set(service, upstream.port, None if upstream.protocol == "tcp" else upstream.release)
        for upstream in entry.upstreams
    }


def _having(entry: ServiceTraffic, port: str) -> list[Upstream]:
    return [upstream for upstream in entry.upstreams if upstream.port == port and upstream.protocol != "tcp"]


def endpoint_sets(table: Table, names: frozenset[str]) -> Made:
    """The endpoint sets of these services alone."""
    made: dict[Key, Resource] = {}
    for service in names & table.services.keys():
        _add(made, _endpoint_sets(service, table.services[service]), service)
    return made


def endpoints_at(table: Table) -> Iterator[tuple[str, Upstream, Endpoint]]:
    """Every endpoint of the table with its service."""
    for service, entry in table.services.items():
        for upstream in entry.upstreams:
            for point in upstream.endpoints:
                yield service, upstream, point


# --- edges ---------------------------------------------------------------------------------------------------------


def _edge_keys(table: Table, caller: str, edge: Edge) -> list[ClusterKey]:
    if edge.protocol == "tcp" or edge.url is not None:
        return [listeners.tcp_cluster(caller, edge)]
    callee = table.services.get(edge.callee)
    return [_edge_key(caller, edge, upstream.release) for upstream in (_having(callee, edge.port) if callee else ())]


def _edge_key(caller: str, edge: Edge, release: int) -> ClusterKey:
    return ClusterKey(
        caller=caller,
        caller_release=edge.caller_release,
        callee=edge.callee,
        port=edge.port,
        callee_release=release,
        variant=str(edge.listen.port),
    )


def _edge(table: Table, caller: str, edge: Edge, ca_file: str) -> Iterator[Item]:
    name = edge_name(caller, edge)
    if edge.url is not None:
        cluster = listeners.tcp_cluster(caller, edge).name
        yield CDS, cluster, clusters.external(cluster, edge, ca_file), ""
        yield from _listen(caller, edge, cluster, _external_target(edge, cluster))
        return
    callee = table.services.get(edge.callee)
    if edge.protocol == "tcp":
        key = listeners.tcp_cluster(caller, edge)
        yield CDS, key.name, clusters.cluster(key, "tcp", edge.policy), key.endpoints
        if callee is None or edge.port not in _tcp_ports(callee):
            body = clusters.tcp_endpoints(edge.callee, edge.port, (), {})
            yield EDS, body.cluster_name, body, ""  # a cluster without an endpoint set would wait for it for ever
        yield LDS, name, listeners.tcp_edge(caller, edge, key.name), ""
        return
    upstreams = _having(callee, edge.port) if callee else []
    for upstream in upstreams:
        key = _edge_key(caller, edge, upstream.release)
        yield CDS, key.name, clusters.cluster(key, upstream.protocol, edge.policy), key.endpoints
    weights = _shares(callee, [upstream.release for upstream in upstreams]) if callee else {}
    target = routes.Target(
        callee=edge.callee,
        protocol=edge.protocol,
        policy=edge.policy,
        clusters={_edge_key(caller, edge, release).name: weight for release, weight in weights.items()},
        reason=_reason(edge.callee, callee),
        caller=caller,
        hold=_hold(edge.callee, callee, {"listener": name}),
        header=callee.header if callee else "",
        fault=_fault(callee, caller),
        asked=_asked(callee, {upstream.release: _edge_key(caller, edge, upstream.release) for upstream in upstreams}),
    )
    yield from _listen(caller, edge, "", target)


def _listen(caller: str, edge: Edge, cluster: str, target: routes.Target) -> Iterator[Item]:
    name = edge_name(caller, edge)
    if edge.protocol == "tcp":
        yield LDS, name, listeners.tcp_edge(caller, edge, cluster), ""
        return
    yield LDS, name, listeners.http_edge(caller, edge), ""
    yield RDS, name, routes.edge_routes(name, target), ""


def _external_target(edge: Edge, cluster: str) -> routes.Target:
    where = clusters.External.parse(edge.url or "")
    return routes.Target(
        callee=edge.callee,
        protocol=edge.protocol,
        policy=edge.policy,
        clusters={cluster: 100},
        authority=where.authority,
        base=where.path,
    )


def _reason(callee: str, entry: ServiceTraffic | None) -> str:
    if entry is None:
        return f'there is no service "{callee}" here'
    return f'no release of "{callee}" takes requests now'


def _shares(entry: ServiceTraffic, releases: Iterable[int]) -> dict[int, int]:
    """Weights among these releases. One alone gets all; without any weight at all the service is down: empty."""
    having = sorted(set(releases))
    if not any(entry.weights.values()):
        return {}
    shares = {release: entry.weights.get(release, 0) for release in having}
    return shares if any(shares.values()) else dict.fromkeys(having, 1)


def _fault(entry: ServiceTraffic | None, caller: str) -> tuple[float, int, int, int]:
    """What the proxy shall do to this caller's requests; of several of one kind the newest holds."""
    latency_s, slow_pct, status, abort_pct = 0.0, 0, 0, 0
    for fault in entry.faults if entry else ():
        if fault.caller not in (None, caller):
            continue
        if fault.kind == "latency":
            latency_s, slow_pct = fault.latency_s, fault.percent
        else:
            status, abort_pct = fault.status, fault.percent
    return latency_s, slow_pct, status, abort_pct


def _asked(entry: ServiceTraffic | None, having: Mapping[int, ClusterKey]) -> dict[str, int]:
    """Where requests with the header go; empty when there is none, or that release does not take them here."""
    if entry is None or not entry.header or entry.header_release not in having:
        return {}
    return {having[entry.header_release].name: 100}


def _hold(callee: str, entry: ServiceTraffic | None, more: Mapping[str, str]) -> dict[str, str]:
    return {"service": callee, **more} if entry is not None and entry.hold else {}


# --- the gateway ---------------------------------------------------------------------------------------------------


def _gateway_key(service: str, route: GatewayRoute, release: int) -> ClusterKey:
    return ClusterKey(
        caller="",
        caller_release=None,
        callee=service,
        port=route.port,
        callee_release=release,
        variant=clusters.variant(route.policy),
    )


def _gateway_keys(service: str, entry: ServiceTraffic) -> Iterator[tuple[GatewayRoute, ClusterKey]]:
    for route in entry.routes:
        having = {upstream.release for upstream in _having(entry, route.port)}
        for release in sorted(having.intersection(route.releases)):
            yield route, _gateway_key(service, route, release)


def _gateway_clusters(service: str, entry: ServiceTraffic) -> Iterator[Item]:
    protocols: dict[tuple[int, str], Protocol] = {(up.release, up.port): up.protocol for up in entry.upstreams}
    for route, key in _gateway_keys(service, entry):
        protocol = protocols[key.callee_release or 0, key.port]
        yield CDS, key.name, clusters.cluster(key, protocol, route.policy), key.endpoints


def _face(table: Table, name: str) -> Any:
    """What of an entry the gateway's routes depend on: not its endpoints."""
    entry = table.services.get(name)
    if entry is None or not entry.routes:
        return None
    live = sorted((upstream.release, upstream.port) for upstream in entry.upstreams)
    return entry.routes, dict(entry.weights), entry.hold, entry.header, entry.faults, live


def _gateway(table: Table, hsts_s: int) -> Any:
    hosts: dict[str | None, dict[str, routes.Target]] = {}
    for service in sorted(table.services):
        entry = table.services[service]
        for target, host in gateway_targets(service, entry):
            # Clashes are refused at admission; should one come through, the first service by name keeps the path.
            hosts.setdefault(host, {}).setdefault(target.prefix, target)
    return routes.gateway_routes({host: list(targets.values()) for host, targets in hosts.items()}, hsts_s)


def gateway_targets(service: str, entry: ServiceTraffic) -> Iterator[tuple[routes.Target, str | None]]:
    """One target a host and path. Where releases declare it differently, the heaviest (then newest) one's policy holds."""
    places: dict[tuple[str | None, str], list[GatewayRoute]] = {}
    for route in entry.routes:
        host = None if route.host == "*" else route.host
        places.setdefault((host, route.path.rstrip("/") or "/"), []).append(route)
    for (host, path), declared in places.items():
        best = max(
            declared, key=lambda route: max(((entry.weights.get(n, 0), n) for n in route.releases), default=(0, 0))
        )
        having = {key.callee_release or 0: key for route in declared for key in _keys_of(service, entry, route)}
        weights = _shares(entry, having)
        yield (
            routes.Target(
                callee=service,
                protocol=best.protocol,
                policy=best.policy,
                clusters={having[release].name: weight for release, weight in weights.items()},
                reason=_reason(service, entry),
                hold=_hold(service, entry, {"listener": GATEWAY, "host": host or "", "path": path}),
                prefix=path,
                strip=best.strip,
                header=entry.header,
                fault=_fault(entry, ""),
                asked=_asked(entry, having),
            ),
            host,
        )


def _keys_of(service: str, entry: ServiceTraffic, route: GatewayRoute) -> list[ClusterKey]:
    having = {upstream.release for upstream in _having(entry, route.port)}
    return [_gateway_key(service, route, release) for release in route.releases if release in having]


def held_choice(table: Table, asked: Mapping[str, str]) -> Mapping[str, int]:
    """Clusters and weights for a request that was held with these facts, by the table of now. Empty: nobody takes it."""
    service, listener = asked.get("service", ""), asked.get("listener", "")
    entry = table.services.get(service)
    if entry is None:
        return {}
    if listener == GATEWAY:
        for target, host in gateway_targets(service, entry):
            if (host or "") == asked.get("host", "") and target.prefix == asked.get("path"):
                return target.clusters
        return {}
    for caller, edge in _edges(table, frozenset({service})):
        if edge_name(caller, edge) == listener:
            shares = _shares(entry, [upstream.release for upstream in _having(entry, edge.port)])
            return {_edge_key(caller, edge, release).name: weight for release, weight in shares.items()}
    return {}
