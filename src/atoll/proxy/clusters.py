"""Clusters and endpoint sets: what a policy means for connections, breakers and ejection. Pure; `translate` calls it.

Ejection never takes the last ready replica: Envoy ejects while (ejected + 1) / all <= `max_ejection_percent`, so 99
means none of one, one of two, n - 1 of n. (`always_eject_one_host` would take the only one.) Draining endpoints count
as hosts there: while one drains, Envoy may eject the last that serves, for `eject_for_s`.
"""

import hashlib
import ipaddress
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from atoll.model.spec import EdgePolicy, Protocol
from atoll.model.state import Address
from atoll.model.traffic import Edge, Upstream
from atoll.proxy.names import ClusterKey, endpoint_set
from atoll.proxy.protos import extension, message, pack, seconds

HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MIN_RETRIES = 10  # concurrent retries that the budget never forbids: a quiet edge has too few requests for 20 % of it
UPSTREAM_IDLE_S = 1.0  # below every server's keep-alive (2 to 75 s), or a request meets a connection just being closed
DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443}


class External(msgspec.Struct, frozen=True, kw_only=True):
    """An external callee's URL, taken apart."""

    host: str
    port: int
    tls: bool
    path: str  # "" or "/v1"
    authority: str  # for the Host header; the port only when it is not the scheme's own

    @classmethod
    def parse(cls, url: str) -> "External":
        """Takes http, https, grpc, grpcs and tcp URLs. Raises ValueError when it has no host, or no port for tcp."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        host, own = parts.hostname or "", DEFAULT_PORTS.get(parts.scheme)
        port = parts.port or own
        if not host or port is None:
            raise ValueError(f"`{url}` is not an address: a host and a port are needed")
        shown = f"[{host}]" if ":" in host else host
        return cls(
            host=host,
            port=port,
            tls=parts.scheme in ("https", "grpcs"),
            path=parts.path.rstrip("/"),
            authority=shown if port == own else f"{shown}:{port}",
        )


def endpoints(callee: str, upstream: Upstream) -> Any:
    """The endpoint set of one port of one release."""
    hosts = [_endpoint(point.address, point.state == "draining") for point in upstream.endpoints]
    return _load(endpoint_set(callee, upstream.port, upstream.release), hosts)


def tcp_endpoints(callee: str, port: str, upstreams: Sequence[Upstream], weights: Mapping[int, int]) -> Any:
    """The endpoint set of a TCP port: all releases, each with its share; a release of weight 0 drains."""
    hosts = []
    for upstream in upstreams:
        serving = sum(point.state == "serving" for point in upstream.endpoints)
        share = weights.get(upstream.release, 0)
        for point in upstream.endpoints:
            draining = point.state == "draining" or share == 0
            weight = 1 if draining else max(1, round(share * 100 / serving))
            hosts.append(_endpoint(point.address, draining, weight))
    return _load(endpoint_set(callee, port, None), hosts)


def _load(name: str, hosts: Sequence[Mapping[str, Any]]) -> Any:
    groups = [{"lb_endpoints": hosts}] if hosts else []
    return message("envoy.config.endpoint.v3.ClusterLoadAssignment")(cluster_name=name, endpoints=groups)


def _endpoint(address: Address, draining: bool, weight: int = 0) -> dict[str, Any]:
    host: dict[str, Any] = {"endpoint": {"address": socket(address)}}
    if draining:
        host["health_status"] = "DRAINING"
    if weight:
        host["load_balancing_weight"] = {"value": weight}
    return host


def socket(address: Address) -> dict[str, Any]:
    """An address as Envoy writes it."""
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def cluster(key: ClusterKey, protocol: Protocol, policy: EdgePolicy) -> Any:
    """The cluster of one caller towards one callee release; its endpoints come by EDS under a shared name."""
    source = {"eds_config": {"ads": {}, "resource_api_version": "V3"}, "service_name": key.endpoints}
    return _cluster(key.name, protocol, policy, type="EDS", eds_cluster_config=source)


def external(name: str, edge: Edge, ca_file: str) -> Any:
    """The cluster of an external callee: by DNS unless it is an IP; with TLS its certificate is verified."""
    target = External.parse(edge.url or "")
    literal = _is_ip(target.host)
    fields: dict[str, Any] = {
        "type": "STATIC" if literal else "LOGICAL_DNS",
        "load_assignment": _load(name, [_endpoint(Address(target.host, target.port), False)]),
    }
    if not literal:
        fields["dns_lookup_family"] = "ALL"
    if target.tls:
        kind = "IP_ADDRESS" if literal else "DNS"
        validation = {
            "trusted_ca": {"inline_string": edge.ca} if edge.ca else {"filename": ca_file},
            "match_typed_subject_alt_names": [{"san_type": kind, "matcher": {"exact": target.host}}],
        }
        alpn = ["h2"] if edge.protocol == "grpc" else ["http/1.1"]
        fields["transport_socket"] = extension(
            "envoy.transport_sockets.tls",
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            sni="" if literal else target.host,
            common_tls_context={
                "validation_context": validation,
                "alpn_protocols": [] if edge.protocol == "tcp" else alpn,
            },
        )
    return _cluster(name, edge.protocol, msgspec.structs.replace(edge.policy, eject_after=0), **fields)


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _cluster(name: str, protocol: Protocol, policy: EdgePolicy, **fields: Any) -> Any:
    breaker = {
        "max_connections": {"value": policy.max_connections},
        "max_pending_requests": {"value": policy.max_pending},
        "max_requests": {"value": policy.max_requests},
        **_retries(policy),
    }
    if protocol != "tcp":
        fields["typed_extension_protocol_options"] = {HTTP_OPTIONS: _http_options(protocol)}
    if policy.eject_after > 0:
        fields["outlier_detection"] = _ejection(policy)
    return message("envoy.config.cluster.v3.Cluster")(
        name=name,
        connect_timeout=seconds(policy.connect_timeout_s),
        lb_policy="LEAST_REQUEST",
        common_lb_config={
            # Without it half of the traffic reaches endpoints that are not ready as soon as most are not.
            "healthy_panic_threshold": {"value": 0.0},
            # Without it a second change within a second (draining, ejection) reaches the workers late, though it was
            # acknowledged: Envoy merges them.
            "update_merge_window": seconds(0),
        },
        circuit_breakers={"thresholds": [breaker]},
        **fields,
    )


def _retries(policy: EdgePolicy) -> dict[str, Any]:
    """How many retries may be under way at a time.

    A budget keeps work from being done twice when there is too much of it already. What was never sent is no work yet: when
    an address falls silent (a container's, once its network is gone), all that waited for it fails in one instant, and a
    budget would let most of it fail for good. Envoy cannot tell the two apart, so that an edge that repeats both has its budget.
    """
    if not policy.retry_on:
        return {"max_retries": {"value": policy.max_requests + policy.max_pending}}  # all that there can be
    budget = {"value": policy.retry_budget_pct}
    return {"retry_budget": {"budget_percent": budget, "min_retry_concurrency": {"value": MIN_RETRIES}}}


@cache
def _http_options(protocol: Protocol) -> Any:
    if protocol == "grpc":
        version: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    else:
        version = {
            "common_http_protocol_options": {"idle_timeout": seconds(UPSTREAM_IDLE_S)},
            "explicit_http_config": {"http_protocol_options": {}},
        }
    return pack(message(HTTP_OPTIONS)(**version))


def _ejection(policy: EdgePolicy) -> dict[str, Any]:
    return {
        "consecutive_5xx": {"value": policy.eject_after},
        "interval": seconds(1),  # how often the ejected are let back; Envoy's 10 s would stretch `eject_for_s`
        "base_ejection_time": seconds(policy.eject_for_s),
        "max_ejection_percent": {"value": 99},
        "always_eject_one_host": {"value": False},
        # Off: statistics over hosts mean nothing with the two or three that a service has.
        "enforcing_success_rate": {"value": 0},
    }


def variant(policy: EdgePolicy) -> str:
    """A short name for what of a policy stands in a cluster: gateway routes that agree in it share one."""
    fields = (
        policy.connect_timeout_s,
        policy.retry_budget_pct if policy.retry_on else None,
        policy.max_connections,
        policy.max_pending,
        policy.max_requests,
        policy.eject_after,
        policy.eject_for_s,
    )
    return hashlib.blake2b(repr(fields).encode(), digest_size=3).hexdigest()
