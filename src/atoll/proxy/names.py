"""Names of listeners, clusters and endpoint sets, and what a cluster's name says.

Clusters are named by release, never "stable" or "candidate": promotion is then a weight change only, and counters and
connections survive it. Pure.
"""

import msgspec

from atoll.model.failures import Failures
from atoll.model.signals import EdgeKey
from atoll.model.spec import Protocol
from atoll.model.traffic import Edge

GATEWAY = "gateway"
PLAIN = "gateway-plain"  # HTTP beside a gateway with TLS


class ClusterKey(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls whom through one cluster. Caller "" is the gateway; callee release 0 is an external callee.

    A TCP cluster holds the endpoints of all releases, so that a change of weights leaves the listener, and with it the
    open connections, alone; `callee_release` is then None.
    """

    caller: str
    caller_release: int | None
    callee: str
    port: str
    callee_release: int | None
    variant: str  # an edge's listening port; at the gateway, what its policy comes to

    @property
    def name(self) -> str:
        """`edge:orders-r7->catalog.grpc@r3~20011`, `gateway->orders.http@r7~1f3a2b`."""
        source = f"edge:{self.caller}-r{self.caller_release}" if self.caller else GATEWAY
        tail = "@tcp" if self.callee_release is None else f"@r{self.callee_release}"
        return f"{source}->{self.callee}.{self.port}{tail}~{self.variant}"

    @property
    def listener(self) -> str:
        """The listener whose requests it takes."""
        return _edge(self.caller, self.caller_release, self.callee, self.variant) if self.caller else GATEWAY

    @property
    def endpoints(self) -> str:
        """The endpoint set that it uses, shared by all callers."""
        return endpoint_set(self.callee, self.port, self.callee_release)


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """A cluster as it is measured."""

    key: ClusterKey
    protocol: Protocol
    failures: Failures

    @property
    def edge(self) -> EdgeKey:
        """What it counts for. Only of a cluster with one release behind it."""
        return self.edge_to(self.key.callee_release or 0)

    def edge_to(self, release: int) -> EdgeKey:
        """The edge towards a release, of a TCP cluster with several."""
        return EdgeKey(self.key.caller, self.key.caller_release or 0, self.key.callee, release)


def endpoint_set(callee: str, port: str, release: int | None) -> str:
    """`catalog.grpc@r3`, or `catalog.db@tcp`: the releases of a TCP port, weighted, in one set."""
    return f"{callee}.{port}{'@tcp' if release is None else f'@r{release}'}"


def edge_name(caller: str, edge: Edge) -> str:
    """`edge:orders-r7->catalog@20011`: a listener and its routes.

    By its port and not by the callee's, which is only known once there is a callee: the same listener then serves it.
    """
    return _edge(caller, edge.caller_release, edge.callee, str(edge.listen.port))


def _edge(caller: str, release: int | None, callee: str, port: str) -> str:
    return f"edge:{caller}-r{release}->{callee}@{port}"


def stat_name(name: str) -> str:
    """A name as it stands in Envoy's statistics, where a colon separates tags."""
    return name.replace(":", "_")
