"""Sends the contents that a machine lacks: small ones together, long ones in parts, from where the last transfer ended.

One request is under way while the next one is compressed. Order is kept, so that parts arrive one after the other.
"""

import tempfile
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

from atoll.model.errors import UserError
from atoll.model.wire_artifacts import Begun, ContentsView
from atoll.pipeline.cache.contents import CHUNK_BYTES, LEVEL, deflated
from atoll.pipeline.cache.zstd import compress
from atoll.pipeline.ship.frames import BODY_BYTES, MAGIC, PART_BYTES, Frame, packed

_AHEAD = 2  # requests that are compressed and wait for their turn


class Sending:
    """One artifact's contents.

    Args:
        files: SHA-256 -> a file of that content.
        put: sends a request and returns its answer; called in a thread of its own, one call at a time.
        tell: called with how many bytes of files, and how many bytes compressed, have been sent since the last call.
    """

    def __init__(
        self, files: Mapping[str, str], put: Callable[[bytes], ContentsView], tell: Callable[[int, int], None]
    ) -> None:
        self._files, self._put, self._tell = files, put, tell
        self._body, self._size_bytes = bytearray(MAGIC), 0
        self._under_way: deque[Future[None]] = deque()

    def send(self, missing: Sequence[str], begun: Mapping[str, Begun]) -> None:
        """Send them. Raises UserError (a part does not arrive), OSError, and what `put` raises."""
        with ThreadPoolExecutor(1, thread_name_prefix="ship") as self._sender:
            try:
                for digest in missing:
                    self._add(digest, begun.get(digest))
                self._flush()
                self._wait()
            except BaseException:
                for future in self._under_way:
                    future.cancel()
                raise

    def _add(self, digest: str, begun: Begun | None) -> None:
        with Path(self._files[digest]).open("rb", buffering=0) as file:
            data = file.read(CHUNK_BYTES)
            if len(data) < CHUNK_BYTES:
                stored = compress(data, LEVEL)
                self._take(Frame(digest, len(data), len(stored), 0, stored))
                return
            file.seek(0)
            with tempfile.SpooledTemporaryFile(max_size=PART_BYTES) as packing:
                for part in deflated(file):
                    packing.write(part)
                size_bytes, stored_bytes = file.tell(), packing.tell()
                packing.seek(0)
                if stored_bytes <= PART_BYTES:
                    self._take(Frame(digest, size_bytes, stored_bytes, 0, packing.read()))
                else:
                    self._flush()
                    self._wait()
                    self._in_parts(digest, size_bytes, stored_bytes, packing, begun)

    def _take(self, frame: Frame) -> None:
        if len(self._body) + len(frame.data) > BODY_BYTES:
            self._flush()
        self._body += packed(frame)
        self._size_bytes += frame.size_bytes

    def _flush(self) -> None:
        if len(self._body) == len(MAGIC):
            return
        body, size_bytes = bytes(self._body), self._size_bytes
        self._body, self._size_bytes = bytearray(MAGIC), 0
        self._under_way.append(self._sender.submit(self._request, body, size_bytes))
        while len(self._under_way) > _AHEAD:
            self._under_way.popleft().result()

    def _request(self, body: bytes, size_bytes: int) -> None:
        self._put(body)
        self._tell(size_bytes, len(body))

    def _wait(self) -> None:
        while self._under_way:
            self._under_way.popleft().result()

    def _in_parts(
        self, digest: str, size_bytes: int, stored_bytes: int, packing: IO[bytes], begun: Begun | None
    ) -> None:
        """From where it ended the last time, if that was the same file compressed in the same way."""
        there = begun.there_bytes if begun is not None and begun.stored_bytes == stored_bytes else 0
        self._tell(size_bytes * there // stored_bytes, 0)
        while True:
            packing.seek(there)
            data = packing.read(PART_BYTES)
            answer = self._sender.submit(
                self._put, MAGIC + packed(Frame(digest, size_bytes, stored_bytes, there, data))
            ).result()
            now = answer.begun[digest].there_bytes if digest in answer.begun else stored_bytes
            self._tell(size_bytes * (now - there) // stored_bytes, len(data))
            if now == stored_bytes:
                return
            if now <= there:
                raise UserError(
                    f"the content {digest[:12]} does not arrive",
                    f"{now} of {stored_bytes} bytes are there, and no more are taken",
                    "another command may be sending the same; try again when it has ended",
                    id="artifact-damaged",
                )
            there = now
