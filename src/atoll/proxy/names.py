"""Names of listeners, clusters and endpoint sets, and what a cluster's name says.

Clusters are named by release, never "stable" or "candidate": promotion is then a weight change only, and counters and
connections survive it. Pure.
"""

import msgspec

from atoll.model.traffic import Edge

GATEWAY = "gateway"


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
    variant: str = ""  # tells apart the gateway's clusters of one release with different policies

    @property
    def name(self) -> str:
        """`edge:orders-r7->catalog.grpc@r3`, `gateway->orders.http@r7~1f3a`."""
        source = f"edge:{self.caller}-r{self.caller_release}" if self.caller else GATEWAY
        tail = "@tcp" if self.callee_release is None else f"@r{self.callee_release}"
        return f"{source}->{self.callee}.{self.port}{tail}{f'~{self.variant}' if self.variant else ''}"

    @property
    def endpoints(self) -> str:
        """The endpoint set that it uses, shared by all callers."""
        return endpoint_set(self.callee, self.port, self.callee_release)


def endpoint_set(callee: str, port: str, release: int | None) -> str:
    """`catalog.grpc@r3`, or `catalog.db@tcp`: the releases of a TCP port, weighted, in one set."""
    return f"{callee}.{port}{'@tcp' if release is None else f'@r{release}'}"


def edge_name(caller: str, edge: Edge) -> str:
    """`edge:orders-r7->catalog.grpc`: a listener and its routes; the holder of its port's lease."""
    return f"edge:{caller}-r{edge.caller_release}->{edge.callee}.{edge.port}"


def stat_name(name: str) -> str:
    """A name as it stands in Envoy's statistics, where a colon separates tags."""
    return name.replace(":", "_")
