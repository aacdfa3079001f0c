"""Looks after the cache's folder: what is in it, what nobody needs, what is damaged. `atoll cache` and the end of a run.

Removing needs the folder for itself, for the second or so that it takes; reading shares it.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from atoll.model.cache import CacheChecked, CacheSpec, CacheSwept, CacheView
from atoll.model.errors import Conflict, UserError
from atoll.pipeline.artifacts import disk_trouble
from atoll.pipeline.cache.cache import FORMAT, SHOWN, waited
from atoll.pipeline.cache.contents import Contents
from atoll.pipeline.cache.index import Index, Row
from atoll.pipeline.cache.tree import Unusable
from atoll.pipeline.lock import try_lock

OTHERS_S = 10.0  # that a collection waits for those who read and write
ROOM = 0.9  # of `max_bytes` is left after a collection, so that the next run does not have to collect again


def stats(root: Path, spec: CacheSpec, namespace: str) -> CacheView:
    """What is in the folder, and what a run of `namespace` has there. Raises UserError."""
    with _opened(root) as (_, index):
        rows = index.rows()
        contents, stored_bytes = index.stored()
        counts = index.counts()
    return CacheView(
        folder=os.fspath(root),
        namespace=namespace,
        remote=spec.remote.text if spec.remote else "",
        results=len(rows),
        by_namespace=dict(sorted(Counter(row.namespace for row in rows).items())),
        contents=contents,
        stored_bytes=stored_bytes,
        size_bytes=sum(row.size_bytes for row in rows),
        max_bytes=spec.max_bytes,
        max_age_s=spec.max_age_s,
        oldest_use=rows[0].used if rows else 0.0,
        hits=counts.hits,
        remote_hits=counts.remote_hits,
        misses=counts.misses,
        saved_s=counts.saved_s,
    )


def collect(root: Path, spec: CacheSpec, *, plan: bool = False) -> CacheSwept:
    """Remove results unused for longer than `max_age_s`, then the least recently used ones above `max_bytes` in all.

    With `plan` it removes nothing. Raises UserError, and Conflict when others use the folder all the time.
    """
    with _opened(root) as (contents, index), _alone(root):
        return _collected(contents, index, spec, plan=plan)


def tidy(root: Path, spec: CacheSpec) -> None:
    """What a run does at its end: collect, if there is too much, and nobody else is there. Raises nothing."""
    with suppress(OSError, sqlite3.Error, UserError), _opened(root) as (contents, index):
        rows = index.rows()
        if index.stored()[1] <= spec.max_bytes and (not rows or rows[0].used > time.time() - spec.max_age_s):
            return
        if (lock := try_lock(root / FORMAT / "lock")) is not None:
            with lock:
                _collected(contents, index, spec, plan=False)


def _collected(contents: Contents, index: Index, spec: CacheSpec, *, plan: bool) -> CacheSwept:
    if not plan:
        contents.sweep()
    there = dict(contents.all())
    rows, now = index.rows(), time.time()
    digests = {row.id: _digests(index, row) for row in rows}
    users = Counter(digest for each in digests.values() for digest in each)
    stored = sum(there.values())
    left = sum(there.get(digest, 0) for digest in users)
    gone: list[Row] = []
    for row in rows:
        late = now - row.used > spec.max_age_s
        if not late and stored <= spec.max_bytes:
            break
        if not late and left <= spec.max_bytes * ROOM:
            break
        gone.append(row)
        for digest in digests[row.id]:
            users[digest] -= 1
            if not users[digest]:
                left -= there.get(digest, 0)
    unused = [digest for digest in there if not users[digest]]
    if not plan:
        index.drop([row.id for row in gone], unused)
        for digest in unused:
            contents.drop(digest)
    return CacheSwept(
        plan=plan, removed=len(gone), freed_bytes=stored - left, results=len(rows) - len(gone), stored_bytes=left
    )


def verify(root: Path, *, plan: bool = False) -> CacheChecked:
    """Read all of it, and drop what is damaged, unless `plan`. Raises UserError, Conflict."""
    with _opened(root) as (contents, index), _alone(root, shared=True):
        bad: set[str] = set()
        damaged: list[str] = []
        there: set[str] = set()
        for digest, _ in contents.all():
            try:
                contents.check(digest)
                there.add(digest)
            except Unusable as exc:
                bad.add(digest)
                damaged.append(f"{contents.path(digest)}: {exc}")
        if trouble := index.trouble():
            damaged.append(f"{index.path}: {trouble}; it begins anew")
            if not plan:
                index.erase()
        rows = [] if trouble else index.rows()
        lost: list[int] = []
        for row in rows:
            try:
                tree = index.tree(row)
                missing = [entry.path for entry in tree.files if entry.content not in there] if tree else []
                if missing:
                    raise Unusable(f"{missing[0]} has no sound content" + _more(len(missing) - 1))
            except Unusable as exc:
                lost.append(row.id)
                damaged.append(f"the result {row.key[:SHOWN]} of {row.namespace}: {exc}")
        if not plan and damaged:
            index.drop(lost, sorted(bad))
            for digest in bad:
                contents.drop(digest)
        return CacheChecked(plan=plan, results=len(rows) - len(lost), contents=len(there), damaged=tuple(damaged))


def _more(count: int) -> str:
    return f", and {count} more" if count > 0 else ""


def _digests(index: Index, row: Row) -> Sequence[str]:
    try:
        tree = index.tree(row)
    except Unusable:
        return ()  # nobody can restore it; its contents go, and who asks for it is told
    return tuple({entry.content for entry in tree.files}) if tree else ()


@contextmanager
def _opened(root: Path) -> Iterator[tuple[Contents, Index]]:
    contents, index = Contents(root / FORMAT), Index(root / FORMAT / "index.db")
    try:
        contents.prepare()
        yield contents, index
    except OSError as exc:
        raise disk_trouble(exc, root) from exc
    except sqlite3.Error as exc:
        raise UserError(
            f"the cache {root} cannot be read",
            str(exc),
            f"remove the folder {root}: everything in it can be made anew",
            id="cache-unusable",
        ) from exc
    finally:
        index.close()


@contextmanager
def _alone(root: Path, *, shared: bool = False) -> Iterator[None]:
    try:
        lock = waited(root / FORMAT / "lock", OTHERS_S, shared=shared)
    except TimeoutError as exc:
        raise Conflict(
            "the cache is in use", str(exc.strerror), "try again when no build runs", id="cache-unusable"
        ) from exc
    with lock:
        yield
