"""Envoy's protobuf messages, from a private descriptor pool.

Owns the only access to them for the whole package. The descriptors are package data made by `scripts/descriptors`;
nothing named `envoy` or `google.rpc` is put into site-packages, because xds-protos collides with the Envoy wheel.
Messages take nested dicts as keyword arguments, which is both readable and several times faster than parsing JSON.
"""

import zlib
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

TYPE_PREFIX = "type.googleapis.com/"
_FILE = Path(__file__).with_name("envoy.pb")


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    files = descriptor_pb2.FileDescriptorSet.FromString(zlib.decompress(_FILE.read_bytes()))
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


@cache
def message(name: str) -> Any:
    """The class of a message by its full name. Raises KeyError for one that `scripts/descriptors` does not collect."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


def pack(body: Any) -> Any:
    """The message as `google.protobuf.Any`, byte for byte the same for the same content."""
    return message("google.protobuf.Any")(
        type_url=TYPE_PREFIX + body.DESCRIPTOR.full_name, value=body.SerializeToString(deterministic=True)
    )


def extension(name: str, kind: str, **fields: Any) -> dict[str, Any]:
    """One of Envoy's extensions as it stands in lists of filters and the like."""
    return {"name": name, "typed_config": pack(message(kind)(**fields))}


def seconds(value_s: float) -> timedelta:
    """A duration as protobuf takes it; below a microsecond is 0."""
    return timedelta(seconds=value_s)
