"""A result as one file, as it lies in a remote cache: fetched with one request, there as a whole or not at all.

    magic | length of the head | SHA-256 of the head | head | contents, as the local cache stores them, one after another

The head, compressed JSON, has the tree, the record and each content's length. Nothing is compressed anew on the way.
"""

import hashlib
import os
import shutil
import struct
from pathlib import Path
from typing import IO

import msgspec

from atoll.pipeline.cache.contents import CHUNK_BYTES, Batch, Contents
from atoll.pipeline.cache.tree import Tree, Unusable, decoded
from atoll.pipeline.cache.zstd import ZstdDecompressor, ZstdError, compress

MAGIC = b"ATOLLRES"
VERSION = 1
_FRONT = struct.Struct(">8sHQ32s")
_MOST_HEAD_BYTES = 512 << 20  # of two million long paths


class Head(msgspec.Struct, frozen=True):
    """What stands before the contents."""

    key: str
    place: str  # the only folder where the result works; "" is any
    seconds: float  # that it took to make it
    record: bytes  # of whoever put it there
    tree: bytes
    lengths: tuple[tuple[str, int], ...]  # digest, stored bytes; in the order of the contents


def pack(head: Head, contents: Contents, to: IO[bytes]) -> None:
    """Write a result's parcel. Raises OSError, also for a content that was removed meanwhile."""
    data = compress(msgspec.json.encode(head))
    to.write(_FRONT.pack(MAGIC, VERSION, len(data), hashlib.sha256(data).digest()))
    to.write(data)
    for digest, length in head.lengths:
        with open(contents.path(digest), "rb") as file:
            shutil.copyfileobj(file, to, CHUNK_BYTES)
            if file.tell() != length:
                raise OSError(0, "it changed while it was read", contents.path(digest))
    to.flush()


def unpack(file: Path, key: str, place: str, batch: Batch) -> tuple[Head, Tree]:
    """Take a parcel's contents into `batch`, each one checked. Raises Unusable, OSError."""
    with file.open("rb") as data:
        front = data.read(_FRONT.size)
        if len(front) < _FRONT.size:
            raise Unusable("it ends too early")
        magic, version, length, digest = _FRONT.unpack(front)
        if magic != MAGIC or version != VERSION or length > _MOST_HEAD_BYTES:
            raise Unusable("it is no result of this version of Atoll")
        packed = data.read(length)
        if hashlib.sha256(packed).digest() != digest:
            raise Unusable("its head has changed")
        try:
            plain = ZstdDecompressor().decompress(packed, max_length=_MOST_HEAD_BYTES)
            head = msgspec.json.decode(plain, type=Head)
        except (ZstdError, msgspec.MsgspecError) as exc:
            raise Unusable("its head cannot be read") from exc
        if (head.key, head.place) != (key, place):
            raise Unusable("it is the result of something else")
        tree = decoded(head.tree)
        sizes = {entry.content: entry.size_bytes for entry in tree.files}
        if sizes.keys() != dict(head.lengths).keys():
            raise Unusable("its contents are not those of its files")
        for content, stored in head.lengths:
            batch.adopt(content, sizes[content], data, stored)
        if data.read(1) or data.tell() != os.fstat(data.fileno()).st_size:
            raise Unusable("something is behind its end")
    return head, tree
