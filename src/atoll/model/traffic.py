"""The traffic table: everything that the proxy must know, by service. Pure data; `decide.traffic` builds it.

A change of one service is one entry of `Table.services`; the proxy turns an entry into its resources.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.failures import Failures
from atoll.model.signals import Counts, EdgeKey, ReplicaCounts, ReplicaKey
from atoll.model.spec import EdgePolicy, Protocol
from atoll.model.state import Address, Fault


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One replica's port. `draining`: finish what is in flight, get nothing new."""

    replica: str
    address: Address
    state: Literal["serving", "draining"] = "serving"


class Upstream(msgspec.Struct, frozen=True, kw_only=True):
    """A named port of one live release, with the replicas behind it."""

    release: int
    port: str
    protocol: Protocol
    endpoints: tuple[Endpoint, ...] = ()
    failures: Failures = Failures()  # which of its answers count as such


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A listener of one caller release towards one callee. Weights are the callee's, in its own entry."""

    caller_release: int
    callee: str
    port: str  # the callee's port by name, resolved (never "")
    protocol: Protocol
    listen: Address
    policy: EdgePolicy
    sources: str = ""  # the network (CIDR) of the caller; whoever dials it from elsewhere is refused. "" is anybody
    url: str | None = None  # an external callee instead of a service
    ca: str = ""  # certificates (PEM) trusted for it instead of the machine's


class GatewayRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A match at the gateway. `releases` are those live ones that declare it: a path that only one has goes there."""

    path: str
    host: str | None
    port: str
    protocol: Protocol
    strip: bool
    policy: EdgePolicy
    releases: tuple[int, ...]


class ServiceTraffic(msgspec.Struct, frozen=True, kw_only=True):
    """All of the table that changes with one service."""

    service: str
    weights: Mapping[int, int] = {}  # release -> pct; of those that are live
    upstreams: tuple[Upstream, ...] = ()
    edges: tuple[Edge, ...] = ()  # of its live releases, outwards
    routes: tuple[GatewayRoute, ...] = ()
    hold: bool = False  # requests to it wait
    header: str = ""  # `name: value`: requests with it go to `header_release`, whatever the weights
    header_release: int = 0
    faults: tuple[Fault, ...] = ()  # towards it, of those that the proxy makes


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of it. A callee that is not in `services` answers 503 on its edges."""

    gateway: Address
    services: Mapping[str, ServiceTraffic] = {}


class Ack(msgspec.Struct, frozen=True):
    """Envoy acknowledged every resource of the change."""


class Refused(msgspec.Struct, frozen=True):
    """Envoy said no, in its own words; the services' old entries stand again."""

    services: tuple[str, ...]
    text: str


class Disconnected(msgspec.Struct, frozen=True):
    """No Envoy answered before the deadline; it gets the table when it comes back."""

    text: str = ""


Outcome = Ack | Refused | Disconnected


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What one edge did towards one callee release since the last reading."""

    counts: Counts = Counts()
    inflight: int = 0  # now; open connections of TCP
    ejected: int = 0  # replicas taken out now


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What the proxy counted since the last reading. An edge that it knows and nobody used is there, with zeros."""

    seconds: float  # covered, at most those since the last reading
    edges: Mapping[EdgeKey, Sample] = {}
    replicas: Mapping[ReplicaKey, ReplicaCounts] = {}  # read every few seconds only; empty in between
