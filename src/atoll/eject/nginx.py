"""nginx's configuration: the gateway's routes, and on a host a listener for each edge. Pure."""

from collections.abc import Callable, Iterator, Sequence

from atoll.eject.layout import LOOPBACK, Edge, Layout
from atoll.model.spec import EdgePolicy, Port, Route, ServiceSpec

Upstream = Callable[[ServiceSpec, Port], Sequence[str]]  # `server` lines' addresses of a service's port
_HEADERS = (
    "proxy_http_version 1.1;",
    "proxy_set_header Host $http_host;",
    "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
    "proxy_set_header X-Forwarded-Proto $scheme;",
    "proxy_set_header Upgrade $http_upgrade;",
    "proxy_set_header Connection $connection_upgrade;",
)
_UPGRADE = (
    "map $http_upgrade $connection_upgrade {",
    "    default upgrade;",
    '    ""      "";',
    "}",
)


def configuration(
    layout: Layout, listen: str, upstream: Upstream, head: Sequence[str], *, edges: bool, dns: str
) -> str:
    """The whole file. `listen` is the gateway's; `head` are lines of the `http` block; `dns` resolves names anew."""
    blocks = _Blocks(layout, upstream, dns)
    servers = list(blocks.gateway(listen)) if layout.routed else []
    streams: list[str] = []
    for edge in layout.edges if edges else ():
        port = edge.callee.port(edge.call.port) if edge.callee else None
        (streams if port and port.protocol == "tcp" else servers).extend(blocks.edge(edge, port))
    lines = ["# Written by `atoll eject`.", "worker_processes auto;", "pid nginx.pid;", "error_log stderr warn;"]
    lines += ["events {", "    worker_connections 4096;", "}"]
    lines += _block("http", [*head, *_UPGRADE, *blocks.http, *servers])
    if streams:
        lines += ["# Some packages have this as a module of its own (libnginx-mod-stream, nginx-mod-stream)."]
        lines += _block("stream", [*blocks.stream, *streams])
    return "\n".join(lines) + "\n"


class _Blocks:
    """Servers, and the upstreams that they turned out to need."""

    def __init__(self, layout: Layout, upstream: Upstream, dns: str) -> None:
        self._layout, self._upstream, self._dns = layout, upstream, dns
        self.http: list[str] = []
        self.stream: list[str] = []

    def gateway(self, listen: str) -> Iterator[str]:
        """A server for each host; those without a host are everybody's."""
        routes: dict[str | None, list[tuple[ServiceSpec, Route]]] = {None: []}
        for spec, route in gateway_routes(self._layout):
            routes.setdefault(route.host, []).append((spec, route))
        # Requests that no host takes, first: the default.
        for host in sorted(routes, key=lambda host: (host is not None, host or "")):
            inner = [f"listen {listen}{'' if host else ' default_server'};", f"server_name {host or '_'};"]
            mine = {route.path.rstrip("/"): (spec, route) for spec, route in [*routes[None], *routes[host]]}
            for path in sorted(mine, key=lambda path: (-len(path), path)):
                inner += self._location(f"gateway_{host or 'any'}", *mine[path])
            if "" not in mine:
                inner += _block("location /", ["return 404;"])
            yield from _block("server", inner)

    def _location(self, prefix: str, spec: ServiceSpec, route: Route) -> Iterator[str]:
        port = spec.port(route.port)
        assert port is not None  # the loader has checked it
        name = self._name(f"{prefix}_{spec.name}_{route.path}_{port.name}", spec, port, route.policy)
        path = route.path.rstrip("/")
        target = f"http://{name}{'/' if route.strip and path else ''}"
        body = [*_HEADERS, *_policy(route.policy), f"proxy_pass {target};"]
        if path:  # by segment: /orders and what lies below, not /ordersx
            yield from _block(f"location = {path}", body)
        yield from _block(f"location {path}/", body)

    def edge(self, edge: Edge, port: Port | None) -> Iterator[str]:
        """One call. An absent callee is answered for."""
        listen = f"{LOOPBACK}:{edge.port}"
        policy = edge.call.policy
        title = f"# {edge.caller.name} calls {edge.call.callee}"
        if edge.callee is None or port is None:
            yield from [title, *_block("server", [f"listen {listen};", *_block("location /", ["return 503;"])])]
            return
        name = self._name(f"{edge.caller.name}_to_{edge.callee.name}_{port.name}", edge.callee, port, policy)
        yield title
        if port.protocol == "tcp":
            times = [f"proxy_connect_timeout {_time(policy.connect_timeout_s)};"]
            times.append(f"proxy_timeout {_time(policy.idle_timeout_s or 86_400)};")
            yield from _block("server", [f"listen {listen};", *times, f"proxy_pass {name};"])
        elif port.protocol == "grpc":
            location = [*_policy(policy, "grpc"), f"grpc_pass grpc://{name};"]
            yield from _block("server", [f"listen {listen} http2;", *_block("location /", location)])
        else:
            location = [*_HEADERS, *_policy(policy), f"proxy_pass http://{name};"]
            yield from _block("server", [f"listen {listen};", *_block("location /", location)])

    def _name(self, wanted: str, spec: ServiceSpec, port: Port, policy: EdgePolicy) -> str:
        """Adds an upstream; returns its name."""
        name = "".join(mark if mark.isalnum() else "_" for mark in wanted).strip("_")
        fails = f" max_fails={policy.eject_after} fail_timeout={_time(policy.eject_for_s)}"
        most = "" if policy.max_connections == EdgePolicy().max_connections else f" max_conns={policy.max_connections}"
        zone = [f"zone {name} 64k;"] if most or self._dns else []
        again = " resolve" if self._dns else ""
        servers = [f"server {address}{fails}{most}{again};" for address in self._upstream(spec, port)]
        into = self.stream if port.protocol == "tcp" else self.http
        into += _block(f"upstream {name}", [*zone, *servers])
        return name


def gateway_routes(layout: Layout) -> Iterator[tuple[ServiceSpec, Route]]:
    """Routes that nginx can take: those to an HTTP port. See `left` for the others."""
    for spec in layout.services:
        for route in spec.routes:
            port = spec.port(route.port)
            if port is not None and port.protocol == "http":
                yield spec, route


def _policy(policy: EdgePolicy, of: str = "proxy") -> list[str]:
    """What of a policy nginx knows, too."""
    # nginx measures the silence between two reads, not the whole request.
    silence_s = policy.timeout_s or policy.idle_timeout_s or 86_400
    if of == "grpc":
        silence_s = policy.idle_timeout_s or 86_400
    lines = [f"{of}_connect_timeout {_time(policy.connect_timeout_s)};", f"{of}_read_timeout {_time(silence_s)};"]
    if policy.retries:
        lines += [f"{of}_next_upstream error timeout;", f"{of}_next_upstream_tries {policy.retries + 1};"]
    else:
        lines.append(f"{of}_next_upstream off;")
    return [*lines, f"client_max_body_size {policy.max_body_bytes};"]


def _time(seconds: float) -> str:
    return f"{seconds:g}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def _block(title: str, lines: Sequence[str]) -> list[str]:
    return [f"{title} {{", *(f"    {line}" for line in lines), "}"]
