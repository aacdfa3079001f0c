"""A resource as the xDS server keeps it: packed, with a version made from its content. Pure."""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from atoll.proxy.protos import TYPE_PREFIX, message, pack

CDS = TYPE_PREFIX + "envoy.config.cluster.v3.Cluster"
EDS = TYPE_PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
LDS = TYPE_PREFIX + "envoy.config.listener.v3.Listener"
RDS = TYPE_PREFIX + "envoy.config.route.v3.RouteConfiguration"
SDS = TYPE_PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
TYPES = (CDS, EDS, SDS, LDS, RDS)  # the order in which Envoy must learn of new things

Key = tuple[str, str]  # type URL and name


class Resource(msgspec.Struct, frozen=True):
    """One resource. The version is its content's hash, so that a reconnecting Envoy is sent only what differs."""

    body: Any  # google.protobuf.Any
    version: str
    owners: tuple[str, ...]  # the services whose entries made it, who is to blame first
    endpoints: str  # of a cluster: the name of its endpoint set

    @classmethod
    def of(cls, body: Any, *, owners: tuple[str, ...], endpoints: str) -> "Resource":
        """Pack a message."""
        packed = pack(body)
        version = hashlib.blake2b(packed.value, digest_size=8).hexdigest()
        return cls(packed, version, owners, endpoints)


Made = Mapping[Key, Resource]


def listen_port(listener: Resource) -> int:
    """The port of a packed listener."""
    body = message("envoy.config.listener.v3.Listener").FromString(listener.body.value)
    return int(body.address.socket_address.port_value)
