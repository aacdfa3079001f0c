"""Routes: which release takes a request, for how long, and what may be tried again. Pure; `translate` calls it.

Time-outs. An ordinary request has the policy's `timeout_s`. A stream has none, only `idle_timeout_s`: everything on a
gRPC port (the client's own `grpc-timeout` is honoured: Envoy ends the call, and counts it, a moment before the client gives
up, since a call that its client ended counts nowhere), a request that accepts `text/event-stream`, and an upgraded
connection (Envoy counts the time-out from the request's end, which an upgraded one does not have).

Retries. Every method is tried again when no byte of it was sent; the policy's `retry_on` counts for GET and HEAD alone.
On gRPC edges every condition counts as it is given: there each call is a POST, and whoever declares one for an edge says
that its calls may be repeated. Conditions of gRPC (`unavailable`, ...) count nowhere else. `unavailable` is what a callee
answered; a callee that died has answered nothing: that is `reset`.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from atoll.model.spec import EdgePolicy, Protocol
from atoll.proxy.listeners import BUFFER_FILTER, FAULT_FILTER, HOLD_FILTER
from atoll.proxy.names import GATEWAY
from atoll.proxy.protos import extension, message, pack, seconds

CALLER_HEADER = "x-atoll-caller"
CLUSTER_HEADER = "x-atoll-cluster"  # set by the holder when it lets a request go; never leaves Envoy
# Of a `grpc-timeout` that is longer: so long a call may take to be read, and its end to be sent.
BEFORE_DEADLINE_S = 0.005
# From a second on there is time for a busy machine, too: 20 ms. And what gRPC core (C++, Python, Ruby, PHP) sends is longer
# than the client waits: it rounds up to 10 ms, from ten seconds on to 100 ms, from a hundred on to a second
# (`Timeout::FromMillis`); others send milliseconds or finer. By what is sent, the first that matches.
BEFORE_LONG_DEADLINE_S = {
    "[1-9][0-9]{2}0m|[1-9]S": 0.02 + 0.01,
    "[1-9][0-9]{2}00m|[1-9][0-9]S|1M": 0.02 + 0.1,
    "[0-9]{3,8}S|[0-9]{1,8}[MH]": 0.02 + 1.0,
    "[0-9]{4,8}m|[0-9]{7,8}u": 0.02,
}
NOTHING_SENT = ("connect-failure", "refused-stream", "reset-before-request")
GRPC_CONDITIONS = frozenset({"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"})
_SAFE_METHODS = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
_EVENT_STREAM = {"name": "accept", "string_match": {"contains": "text/event-stream"}}


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where the requests of one match go. `clusters` maps a cluster to its weight; empty answers 503 with `reason`."""

    callee: str
    protocol: Protocol
    policy: EdgePolicy
    clusters: Mapping[str, int]
    reason: str = ""
    caller: str | None = None  # for the callee to see; None removes what the client claims
    fault: tuple[float, int, int, int] = (0.0, 0, 0, 0)  # latency in seconds, its percent, status, its percent
    asked: Mapping[str, int] = {}  # clusters of the requests that have `header`, instead of `clusters`
    header: str = ""  # `name: value`
    hold: Mapping[str, str] = {}  # what the holder must know of a request; empty is no hold
    prefix: str = "/"
    strip: bool = False
    authority: str = ""  # an external callee's Host header
    base: str = ""  # an external callee's path


def edge_routes(name: str, target: Target) -> Any:
    """The route configuration of one edge."""
    return _configuration(name, [_host("*", target_routes(target))])


def gateway_routes(hosts: Mapping[str | None, Sequence[Target]], hsts_s: int = 0) -> Any:
    """The gateway's: by host, where routes of that host stand before those without; the longest path first.

    `hsts_s` is for how long browsers shall refuse plain HTTP (RFC 6797), where a service says nothing else.
    """
    anywhere = _longest_first(hosts.get(None, ()))
    virtual = []
    for host in sorted(host for host in hosts if host is not None):
        routes = [route for target in [*_longest_first(hosts[host]), *anywhere] for route in target_routes(target)]
        virtual.append(_host(host, [*routes, _not_found()]))
    routes = [route for target in anywhere for route in target_routes(target)]
    made = _configuration(GATEWAY, [*virtual, _host("*", [*routes, _not_found()])])
    if hsts_s:
        value = {"key": "strict-transport-security", "value": f"max-age={hsts_s}"}
        made.response_headers_to_add.add(header=value, append_action="ADD_IF_ABSENT")
    return made


def _longest_first(targets: Sequence[Target]) -> list[Target]:
    return sorted(targets, key=lambda target: (-len(target.prefix), target.prefix))


def _configuration(name: str, hosts: Sequence[Any]) -> Any:
    return message("envoy.config.route.v3.RouteConfiguration")(
        name=name,
        virtual_hosts=hosts,
        ignore_port_in_host_matching=True,
        # A cluster that is not there is answered with 503; translation never makes one, a race at most.
        validate_clusters={"value": False},
    )


def _host(domain: str, routes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"name": domain, "domains": [domain.lower()], "routes": routes}


def _not_found() -> dict[str, Any]:
    body = "atoll: no service has a route for this path [no-route]\n"
    return {
        "match": {"prefix": "/"},
        "direct_response": {"status": 404, "body": {"inline_string": body}},
    }


def target_routes(target: Target) -> list[dict[str, Any]]:
    """The routes of one match, the most specific first; they differ in time-outs and retries only, but for those who ask
    for another release by a header.
    """
    policy, always = target.policy, NOTHING_SENT
    if target.asked:
        those = msgspec.structs.replace(target, clusters=target.asked, asked={})
        return [*target_routes(those), *target_routes(msgspec.structs.replace(target, asked={}, header=""))]
    if not target.clusters and not target.hold:
        return [_unavailable(target)]
    if target.protocol == "grpc":
        return _grpc_routes(target, _action(target, 0.0, always + policy.retry_on))
    routes = []
    if policy.max_body_bytes:
        too_long = {"name": "content-length", "range_match": {"start": policy.max_body_bytes + 1, "end": 1 << 62}}
        body = f"atoll: more than {policy.max_body_bytes} bytes [body-too-large]\n"
        routes.append(
            {
                "match": _match(target, (too_long,)),
                "direct_response": {"status": 413, "body": {"inline_string": body}},
            }
        )
    routes.append(_route(target, (_EVENT_STREAM,), _action(target, 0.0, always)))
    if policy.retry_on:
        retried = tuple(condition for condition in policy.retry_on if condition not in GRPC_CONDITIONS)
        routes.append(_route(target, (_SAFE_METHODS,), _action(target, policy.timeout_s, always + retried)))
    routes.append(_route(target, (), _action(target, policy.timeout_s, always)))
    return routes


def _grpc_routes(target: Target, action: dict[str, Any]) -> list[dict[str, Any]]:
    """They differ in how long before the client's deadline a call ends."""

    def until(early_s: float) -> dict[str, Any]:
        most = {"grpc_timeout_header_max": seconds(0), "grpc_timeout_header_offset": seconds(early_s)}
        return action | {"max_stream_duration": most}

    long = [
        _route(
            target,
            ({"name": "grpc-timeout", "string_match": {"safe_regex": {"regex": form}}},),
            until(early_s),
        )
        for form, early_s in BEFORE_LONG_DEADLINE_S.items()
    ]
    return [*long, _route(target, (), until(BEFORE_DEADLINE_S))]


def _unavailable(target: Target) -> dict[str, Any]:
    return {
        "match": _match(target, ()),
        "direct_response": {"status": 503, "body": {"inline_string": f"atoll: {target.reason} [no-ready-replica]\n"}},
    }


def _match(target: Target, headers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    path = target.prefix.rstrip("/")
    # By segment: "/orders" takes /orders and /orders/x, not /ordersx.
    match: dict[str, Any] = {"path_separated_prefix": path} if path else {"prefix": "/"}
    if target.header:
        name, _, value = target.header.partition(":")
        headers = [*headers, {"name": name.strip().lower(), "string_match": {"exact": value.strip()}}]
    return match | ({"headers": headers} if headers else {})


def _route(target: Target, headers: Sequence[Mapping[str, Any]], action: dict[str, Any]) -> dict[str, Any]:
    route: dict[str, Any] = {"match": _match(target, headers), "route": action}
    removed = [CLUSTER_HEADER]
    if target.caller:
        route["request_headers_to_add"] = [
            {
                "header": {"key": CALLER_HEADER, "value": target.caller},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ]
    else:
        removed.append(CALLER_HEADER)
    route["request_headers_to_remove"] = removed
    filters: dict[str, Any] = {}
    if target.hold:
        kind = "envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
        filters[HOLD_FILTER] = pack(message(kind)(check_settings={"context_extensions": target.hold}))
    if target.policy.max_body_bytes and target.protocol == "http":
        kind = "envoy.extensions.filters.http.buffer.v3.BufferPerRoute"
        limit = {"value": target.policy.max_body_bytes}
        filters[BUFFER_FILTER] = pack(message(kind)(buffer={"max_request_bytes": limit}))
    if any(target.fault):
        filters[FAULT_FILTER] = pack(_fault(*target.fault))
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _fault(latency_s: float, slow_pct: int, status: int, abort_pct: int) -> Any:
    fields: dict[str, Any] = {}
    if latency_s:
        fields["delay"] = {"fixed_delay": seconds(latency_s), "percentage": {"numerator": slow_pct}}
    if status:
        fields["abort"] = {"http_status": status, "percentage": {"numerator": abort_pct}}
    return message("envoy.extensions.filters.http.fault.v3.HTTPFault")(**fields)


def _action(target: Target, timeout_s: float, retry_on: Sequence[str]) -> dict[str, Any]:
    policy = target.policy
    action: dict[str, Any] = {
        "timeout": seconds(timeout_s),
        # A request that may take longer than a stream may be silent is not silent: it is being worked on.
        "idle_timeout": seconds(max(policy.idle_timeout_s, timeout_s)),
    }
    if target.hold:
        # Envoy keeps a request's route table as it was when it came. The header, set when it is let go, is what makes
        # it reach a release that was not there yet.
        action["cluster_header"] = CLUSTER_HEADER
    else:
        weights = [{"name": name, "weight": {"value": weight}} for name, weight in target.clusters.items()]
        action["weighted_clusters"] = {"clusters": weights}
    if target.strip and target.prefix.rstrip("/"):
        pattern = f"^{re.escape(target.prefix.rstrip('/'))}/*"
        action["regex_rewrite"] = {"pattern": {"regex": pattern}, "substitution": "/"}
    if target.authority:
        action["host_rewrite_literal"] = target.authority
    if target.base:
        action["prefix_rewrite"] = f"{target.base}/"
    if policy.retries > 0:
        action["retry_policy"] = {
            "retry_on": ",".join(retry_on),
            "num_retries": {"value": policy.retries},
            "retry_host_predicate": [_another_host()],
            # Draws until one finds another host. Least requests prefers one that does not answer, since it has none: of two
            # replicas a draw finds the other in one of four.
            "host_selection_retry_max_attempts": 40,
            "retry_back_off": {"base_interval": seconds(0.005), "max_interval": seconds(0.1)},
        }
    return action


@cache
def _another_host() -> dict[str, Any]:
    return extension(
        "envoy.retry_host_predicates.previous_hosts",
        "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    )
