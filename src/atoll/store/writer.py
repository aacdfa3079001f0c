"""The one thread that writes: what is waiting goes into one transaction, so that one fsync serves all of it.

Each piece of work has a savepoint of its own: one that is refused (`Conflict`) leaves its neighbours alone. When the
transaction itself fails, nobody's work was written and everybody is told. Owned by `sqlite`.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine

from atoll.store import failures

MAX_BATCH: Final = 256  # pieces of work per transaction: bounds how long the first of them waits for the last
_AFTER_TROUBLE_S: Final = 600.0  # until the idle work is tried again when it failed

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Piece:
    work: Callable[[Connection], Any]
    done: Future[Any]
    result: Any = None


class Writer:
    """Runs work on the writer's connection. `submit` from any thread; results come after the commit is on the disk."""

    def __init__(
        self,
        engine: Engine,
        path: Path,
        guard: Callable[[Connection], None],
        idle: Callable[[Connection], float],
        first_idle_s: float,
    ) -> None:
        """`guard` opens each transaction (and raises to refuse it); `idle` is done now and then, returning the
        seconds until its next turn, the first after `first_idle_s`.
        """
        self._engine, self._path, self._guard, self._idle = engine, path, guard, idle
        self._idle_at = time.monotonic() + first_idle_s
        self._queue: SimpleQueue[_Piece | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="atoll-store-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], _T]) -> Future[_T]:
        """Queue work. A future cancelled before its turn is skipped; after that it is too late."""
        done: Future[_T] = Future()
        self._queue.put(_Piece(work, done))
        return done

    def stop(self) -> None:
        """Finish what is queued, then end the thread. Blocks."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch, last = self._take()
            if batch:
                self._write(batch)
            if last:
                return
            if time.monotonic() >= self._idle_at:
                self._idle_at = time.monotonic() + self._tidy()

    def _take(self) -> tuple[list[_Piece], bool]:
        batch: list[_Piece] = []
        try:
            piece = self._queue.get(timeout=max(0.0, self._idle_at - time.monotonic()))
            while piece is not None:
                if piece.done.set_running_or_notify_cancel():
                    batch.append(piece)
                if len(batch) == MAX_BATCH:
                    return batch, False
                piece = self._queue.get_nowait()
        except Empty:
            return batch, False
        return batch, True

    def _write(self, batch: list[_Piece]) -> None:
        refused: list[tuple[_Piece, BaseException]] = []
        try:
            with self._engine.begin() as connection:
                self._guard(connection)
                for piece in batch:
                    try:
                        with connection.begin_nested():
                            piece.result = piece.work(connection)
                    except Exception as exc:
                        if failures.explain(exc, self._path) is not None:
                            raise  # the disk's trouble, not this piece's: SQLite may have rolled back everything
                        refused.append((piece, exc))
        except BaseException as exc:  # noqa: BLE001 - given to everybody who waits; the thread must outlive it
            for piece in batch:
                piece.done.set_exception(_told(exc, self._path))
            return
        for piece, error in refused:
            piece.done.set_exception(error)
        failed = {id(piece) for piece, _ in refused}
        for piece in batch:
            if id(piece) not in failed:
                piece.done.set_result(piece.result)

    def _tidy(self) -> float:
        try:
            with self._engine.begin() as connection:
                self._guard(connection)
                return self._idle(connection)
        except Exception:  # noqa: BLE001 - whoever commits next is told of the same trouble
            _log.warning("the ledger of %s could not be tidied", self._path, exc_info=True)
            return _AFTER_TROUBLE_S


def _told(exc: BaseException, path: Path) -> BaseException:
    error = failures.explain(exc, path)
    if error is None:
        return exc
    error.__cause__ = exc
    return error
