"""Contents that have arrived and lie in no artifact yet: whole ones as the cache keeps them, long ones as far as they came.

    FOLDER/contents, FOLDER/tmp    see `cache.contents`
    FOLDER/parts/DIGEST.STORED     the beginning of a content that is STORED bytes long, compressed

What nobody asked for any more is removed by `tidy`. Blocking; any thread may call it.
"""

import io
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

from atoll.model.wire_artifacts import Begun
from atoll.pipeline.cache.contents import Batch, Contents
from atoll.pipeline.cache.tree import Unusable
from atoll.pipeline.ship.frames import Frame

WAITS_S = 7 * 86_400.0  # that what has arrived is kept for the rest: a transfer that broke on Friday goes on on Monday


class Arrivals:
    """One folder of contents, of one process."""

    def __init__(self, root: Path) -> None:
        self.contents, self.parts = Contents(root), root / "parts"
        self._appending = threading.Lock()

    def prepare(self) -> None:
        """Make the folders. Raises OSError."""
        self.contents.prepare()
        self.parts.mkdir(exist_ok=True)

    def keep(self, frames: Iterable[Frame]) -> tuple[int, dict[str, Begun]]:
        """Keep what came: how many contents are whole now, and how far the others are. Raises Unusable, OSError.

        A part that does not begin where the last one ended changes nothing; the answer says where to go on.
        """
        kept, begun = 0, dict[str, Begun]()
        with Batch(self.contents) as batch:
            for frame in frames:
                if frame.whole:
                    batch.adopt(frame.digest, frame.size_bytes, io.BytesIO(frame.data), frame.stored_bytes)
                    kept += 1
                    continue
                there = self._append(frame)
                if there < frame.stored_bytes:
                    begun[frame.digest] = Begun(stored_bytes=frame.stored_bytes, there_bytes=there)
                    continue
                self._adopt(frame, batch)
                kept += 1
            batch.commit()
        return kept, begun

    def _append(self, frame: Frame) -> int:
        """The bytes that are there of a long content."""
        if self.contents.stored_bytes(frame.digest) is not None:
            return frame.stored_bytes
        with self._appending, self._part(frame).open("ab") as file:
            if file.tell() == frame.offset:
                file.write(frame.data)
            return file.tell()

    def _adopt(self, frame: Frame, batch: Batch) -> None:
        part = self._part(frame)
        try:
            with part.open("rb") as file:
                batch.adopt(frame.digest, frame.size_bytes, file, frame.stored_bytes)
        except FileNotFoundError:
            return  # it was whole already
        except Unusable:
            part.unlink(missing_ok=True)  # else it would never become right
            raise
        part.unlink(missing_ok=True)

    def _part(self, frame: Frame) -> Path:
        return self.parts / f"{frame.digest}.{frame.stored_bytes}"

    def begun(self, wanted: Iterable[str]) -> dict[str, Begun]:
        """How far long contents are, of those that are wanted."""
        wanted = frozenset(wanted)
        found: dict[str, Begun] = {}
        for item in os.scandir(self.parts):
            digest, _, stored = item.name.partition(".")
            if digest in wanted and stored.isdecimal():
                found[digest] = Begun(stored_bytes=int(stored), there_bytes=item.stat().st_size)
        return found

    def drop(self, digests: Iterable[str]) -> None:
        """Forget contents that lie in an artifact now."""
        for digest in digests:
            self.contents.drop(digest)

    def tidy(self) -> None:
        """Remove what dead processes were writing, and what has waited too long for the rest."""
        self.contents.sweep()
        late = time.time() - WAITS_S
        paths = [Path(self.contents.path(digest)) for digest, _ in self.contents.all()]
        for path in (*paths, *self.parts.iterdir()):
            try:
                if path.stat().st_mtime < late:
                    path.unlink()
            except FileNotFoundError:
                continue
