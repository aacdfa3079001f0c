"""Contents as one request carries them: whole ones, or a part of a long one, each behind a head of its own.

    magic | (SHA-256 | bytes | bytes compressed | offset | length | that many bytes)...

All numbers are big-endian. What is compressed is what `cache.contents` stores.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from atoll.pipeline.cache.tree import Unusable

MAGIC = b"ATOLLSH1"
BODY_BYTES = (
    4 << 20
)  # of a request, unless one part is longer: seconds on a slow line, which a broken one costs at most
PART_BYTES = 4 << 20  # of a content that is longer
_HEAD = struct.Struct(">32sQQQI")


class Frame(NamedTuple):
    """A content, or a part of one. A whole one has offset 0 and all of its stored bytes."""

    digest: str
    size_bytes: int
    stored_bytes: int
    offset: int
    data: bytes | memoryview

    @property
    def whole(self) -> bool:
        """Whether all of it is here."""
        return self.offset == 0 and len(self.data) == self.stored_bytes


def packed(frame: Frame) -> bytes:
    """As it stands in a request, behind `MAGIC`."""
    digest = bytes.fromhex(frame.digest)
    head = _HEAD.pack(digest, frame.size_bytes, frame.stored_bytes, frame.offset, len(frame.data))
    return head + frame.data


def unpacked(body: bytes) -> Iterator[Frame]:
    """The frames of a request. Raises Unusable for what is none."""
    if not body.startswith(MAGIC):
        raise Unusable("it is no list of contents of this version of Atoll")
    view, at = memoryview(body), len(MAGIC)
    while at < len(view):
        try:
            digest, size_bytes, stored_bytes, offset, length = _HEAD.unpack_from(view, at)
        except struct.error as exc:
            raise Unusable("it ends too early") from exc
        at += _HEAD.size
        if len(view) - at < length or offset + length > stored_bytes:
            raise Unusable("a content is not as long as it says")
        yield Frame(digest.hex(), size_bytes, stored_bytes, offset, view[at : at + length])
        at += length
