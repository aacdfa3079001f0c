"""Listeners: the gateway's and one per edge. Pure; `translate` calls it.

Every filter that may ever be needed is installed up front and disabled, then switched on per route, because a changed
listener does not reach connections that are already open. No access log: it costs more than all the rest together.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from atoll.model.state import Address
from atoll.model.traffic import Edge
from atoll.proxy.clusters import socket
from atoll.proxy.names import GATEWAY, PLAIN, ClusterKey, edge_name, stat_name
from atoll.proxy.protos import extension, message, seconds
from atoll.proxy.tls import Door, transport

HOLD_FILTER = "envoy.filters.http.ext_authz"
BUFFER_FILTER = "envoy.filters.http.buffer"
FAULT_FILTER = "envoy.filters.http.fault"
HOLD_CLUSTER = "atoll.hold"  # static, in the bootstrap
HOLD_MAX_S = 120.0  # Envoy's own bound of a held request; the holder answers long before
MAX_BODY = 1 << 31  # of the disabled buffer filter, which must name one
# Behind TLS the other side is a browser: Envoy's own limits for the edge, instead of a window of 256 MiB each.
_HTTP2 = {
    "max_concurrent_streams": {"value": 100},
    "initial_stream_window_size": {"value": 64 * 1024},
    "initial_connection_window_size": {"value": 1024 * 1024},
}
_FILTERS = "envoy.extensions.filters.http."
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def gateway(listen: Address, door: Door | None = None) -> Any:
    """The way in from outside: clients' x-envoy-* headers are removed, paths are normalised before they are matched."""
    if door is None:
        return _listener(GATEWAY, listen, _outside(GATEWAY))
    return _listener(GATEWAY, listen, _outside(GATEWAY, _HTTP2), transport=transport(door))


def plain(listen: Address) -> Any:
    """Plain HTTP beside a gateway with TLS."""
    return _listener(PLAIN, listen, _outside(PLAIN))


def _outside(name: str, http2: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return _manager(
        name,
        use_remote_address={"value": True},
        normalize_path={"value": True},
        request_headers_timeout=seconds(30),  # a client that dribbles its headers must not hold a connection for ever
        **({"http2_protocol_options": http2} if http2 else {}),
    )


def http_edge(caller: str, edge: Edge) -> Any:
    """The listener through which one release of a caller reaches one callee by HTTP or gRPC."""
    name = edge_name(caller, edge)
    return _listener(name, edge.listen, _manager(name), edge.sources)


def tcp_edge(caller: str, edge: Edge, cluster: str) -> Any:
    """The same for a TCP port. Its weights are the endpoints', so that this listener never changes."""
    name = edge_name(caller, edge)
    proxy = extension(
        "envoy.filters.network.tcp_proxy",
        "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        stat_prefix=stat_name(name),
        cluster=cluster,
        idle_timeout=seconds(edge.policy.idle_timeout_s),
        max_connect_attempts={"value": 1 + max(0, edge.policy.retries)},
    )
    return _listener(name, edge.listen, proxy, edge.sources)


def tcp_cluster(caller: str, edge: Edge) -> ClusterKey:
    """The one cluster of a TCP edge."""
    return ClusterKey(
        caller=caller,
        caller_release=edge.caller_release,
        callee=edge.callee,
        port=edge.port,
        callee_release=None if edge.url is None else 0,
        variant=str(edge.listen.port),
    )


def _listener(
    name: str,
    listen: Address,
    network_filter: dict[str, Any],
    sources: str = "",
    transport: dict[str, Any] | None = None,
) -> Any:
    chain: dict[str, Any] = {"filters": [network_filter]}
    if transport is not None:
        chain["transport_socket"] = transport
    fields: dict[str, Any] = {}
    if sources:
        prefix, _, length = sources.partition("/")
        # A connection that matches no chain is closed.
        chain["filter_chain_match"] = {
            "source_prefix_ranges": [{"address_prefix": prefix, "prefix_len": {"value": int(length)}}]
        }
        fields["freebind"] = {"value": True}  # the caller's network may come after the edge, and go before it
    return message("envoy.config.listener.v3.Listener")(
        name=name,
        address=socket(listen),
        filter_chains=[chain],
        # With SO_REUSEPORT a second Envoy of the same user would silently share the port instead of being refused it.
        enable_reuse_port={"value": False},
        traffic_direction="INBOUND" if name in {GATEWAY, PLAIN} else "OUTBOUND",
        **fields,
    )


def _manager(name: str, **fields: Any) -> dict[str, Any]:
    return extension(
        "envoy.filters.network.http_connection_manager",
        _HCM,
        # `internal_address_config` stays unset: then no client's x-envoy-* header is trusted, on edges neither.
        stat_prefix=stat_name(name),
        rds={"route_config_name": name, "config_source": {"ads": {}, "resource_api_version": "V3"}},
        http_filters=_http_filters(),
        upgrade_configs=[{"upgrade_type": "websocket"}],
        http_protocol_options={"accept_http_10": True},
        server_header_transformation="PASS_THROUGH",
        generate_request_id={"value": False},  # a client's own passes; none is made up
        stream_idle_timeout=seconds(0),  # the routes have it
        **fields,
    )


@cache
def _http_filters() -> tuple[dict[str, Any], ...]:
    hold = extension(
        HOLD_FILTER,
        _FILTERS + "ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={
            "envoy_grpc": {"cluster_name": HOLD_CLUSTER},
            "timeout": seconds(HOLD_MAX_S),
            # The daemon may be replaced meanwhile: what it held asks the next one.
            "retry_policy": {
                "retry_on": "connect-failure,refused-stream,reset,5xx,cancelled,unavailable",
                "num_retries": {"value": 1000},
                "retry_back_off": {"base_interval": seconds(0.1), "max_interval": seconds(0.5)},
            },
        },
        clear_route_cache=True,  # the release that takes the request is chosen when it is let go
        status_on_error={"code": 503},
    )
    fault = extension(FAULT_FILTER, _FILTERS + "fault.v3.HTTPFault")
    buffer = extension(BUFFER_FILTER, _FILTERS + "buffer.v3.Buffer", max_request_bytes={"value": MAX_BODY})
    stats = extension(
        "envoy.filters.http.grpc_stats",
        _FILTERS + "grpc_stats.v3.FilterConfig",
        stats_for_all_methods={"value": False},
    )
    router = extension(
        "envoy.filters.http.router",
        _FILTERS + "router.v3.Router",
        suppress_envoy_headers=True,  # nothing is added that nobody asked for
    )
    return hold | {"disabled": True}, fault | {"disabled": True}, buffer | {"disabled": True}, stats, router
