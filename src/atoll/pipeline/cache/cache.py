"""`Cache`: what builds ask for a result before they make it, and hand one to when they have made it."""

import errno
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import blake2s
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from atoll.model.cache import OFF, CacheSpec, Remote
from atoll.model.cache import remote as remote_at
from atoll.model.errors import UserError
from atoll.pipeline import namespace as namespaces
from atoll.pipeline.artifacts import FULL, remove_tree
from atoll.pipeline.cache.contents import Batch, Contents
from atoll.pipeline.cache.far import Patient, Trouble, far
from atoll.pipeline.cache.index import Index, Row, is_damage
from atoll.pipeline.cache.parcel import Head, pack, unpack
from atoll.pipeline.cache.tree import Entry, Tree, Unusable, read, write
from atoll.pipeline.lock import POLL_S, Lock, try_lock

T = TypeVar("T")

VARIABLE = "ATOLL_CACHE"
FORMAT = "v1"  # of all that lies in the folder; another format lies beside it
FINISH_S = 60.0  # that a command waits, at its end, for what is still being put and sent
UPLOADS = 3  # at one time
LOCKED_S = 20.0  # that a collection may take while others wait for it
SHOWN = 12  # digits of a key


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A result that lies in its folder now, sealed."""

    digest: str  # as `artifacts.seal` gave it, of what was restored
    size_bytes: int
    seconds: float  # that it took to make it
    record: bytes  # of whoever put it there
    source: str  # "the cache", or the remote's address


class _Wish(NamedTuple):
    """What is asked for: the result of `key`, of those that work in one of `places` ("" is any), as the folder `to`."""

    key: str
    to: Path
    places: tuple[str, ...]
    stop: threading.Event


class _Job(msgspec.Struct, frozen=True):
    key: str
    tree: Path
    record: bytes
    digest: str
    anywhere: bool
    seconds: float


def opened(
    root: Path, remote: Remote | None, *, workspace: Path, namespace: str, tell: Callable[[str], None]
) -> "Cache":
    """The cache of a run.

    Args:
        root: its folder on this machine.
        remote: the cache that machines share, by `remote_of`.
        workspace: the folder that a relative remote is relative to.
        namespace: the run's, by `pipeline.namespace`.
        tell: called with a line that a person should read, from any thread.
    """
    patient = None
    if remote is not None:
        try:
            patient = Patient(far(remote, workspace), tell)
        except Trouble as exc:
            tell(f"the remote cache {remote.text} is not used in this run: {exc}")
    return Cache(root, namespace, tell, patient)


def remote_of(spec: CacheSpec, environ: Mapping[str, str]) -> Remote | None:
    """The remote cache of a run: that of ATOLL_CACHE, else that of atoll.toml. Raises UserError."""
    asked = environ.get(VARIABLE, "")
    if not asked:
        return spec.remote
    try:
        return None if asked == OFF else remote_at(asked)
    except ValueError as exc:
        raise UserError(
            f"{VARIABLE} {exc}", "", f'such as {VARIABLE}=s3://acme-builds/shop, or "{OFF}" for none', id="usage"
        ) from None


class Cache:
    """The cache of one run. Any thread may call it; it never raises for anything that is wrong with the cache.

    Args:
        root: the cache's folder on this machine; made when missing.
        namespace: the run's, by `pipeline.namespace`.
        tell: called with a line that a person should read, from any thread.
        remote: the cache that machines share; None is none.
    """

    def __init__(self, root: Path, namespace: str, tell: Callable[[str], None], remote: Patient | None = None) -> None:
        self.root = root / FORMAT
        self.contents, self.index = Contents(self.root), Index(self.root / "index.db")
        self.own, self.believed = namespace, namespaces.readable(namespace)
        self.remote = remote
        self._tell = tell
        self._off = threading.Event()  # it was told why
        self._puts: queue.Queue[Callable[[], None]] = queue.Queue()
        self._sends: queue.Queue[Callable[[], None]] = queue.Queue()
        self._workers: list[threading.Thread] = []
        self._starting = threading.Lock()
        self._with_local(self.contents.prepare)

    # --- asking -----------------------------------------------------------------------------------------------------

    def get(self, key: str, to: Path, *, anywhere: bool, stop: threading.Event) -> Restored | None:
        """Restore the result of a key as the folder `to`, which must not be there; None when there is no sound one.

        Args:
            key: what it is the result of.
            to: its folder, absolute. After None it is not there, either.
            anywhere: whether a result may be used that was made in another folder. One that was found to hold the path
                of its folder never is.
            stop: set when nobody waits any more; then Stopped is raised.
        """
        wish = _Wish(key, to, ("", os.fspath(to)) if anywhere else (os.fspath(to),), stop)
        found = self._with_local(lambda: self._nearby(wish))
        if found is None and self.remote is not None:
            found = self._with_local(lambda: self._from_afar(wish))
        row, restored = found or (None, None)
        self._with_local(lambda: self.index.count(row, remote=restored is not None and restored.source != HERE))
        return restored

    def _nearby(self, wish: _Wish) -> tuple[Row, Restored] | None:
        with self.shared():
            for namespace in self.believed:
                for place in wish.places:
                    row = self.index.find(namespace, wish.key, place)
                    if row is not None and (restored := self._restored(row, wish, HERE)):
                        return row, restored
        return None

    def _from_afar(self, wish: _Wish) -> tuple[Row, Restored] | None:
        assert self.remote is not None
        for namespace in self.believed:
            for place in wish.places:
                with Batch(self.contents) as batch:
                    parcel = batch.folder / "parcel"
                    with parcel.open("wb") as file:
                        there = self.remote.fetch(parcel_name(namespace, wish.key, place), file, wish.stop)
                    with self.shared():
                        if there and (row := self._unpacked(parcel, wish.key, place, batch)):
                            parcel.unlink()
                            if restored := self._restored(row, wish, self.remote.text):
                                return row, restored
        return None

    def _unpacked(self, parcel: Path, key: str, place: str, batch: Batch) -> Row | None:
        """Keep what was fetched, as this run's own: whoever else believes the remote may fetch it, too."""
        try:
            head, tree = unpack(parcel, key, place, batch)
        except Unusable as exc:
            where = self.remote.text if self.remote else ""
            self._tell(f"the result {key[:SHOWN]} in {where} is damaged ({exc}): it is not used")
            return None
        batch.commit()
        self._add(key, place, tree, head, batch)
        return self.index.find(self.own, key, place)

    def _restored(self, row: Row, wish: _Wish, source: str) -> Restored | None:
        """The result in its folder; None, and the row is gone, when something of it is not as it was."""
        try:
            if (tree := self.index.tree(row)) is None:
                return None
            self._restore(tree, wish)
        except Unusable as exc:
            remove_tree(wish.to)
            self._tell(f"the cached result {row.key[:SHOWN]} is damaged ({exc}): it is dropped and made anew")
            self.index.drop([row.id])
            return None
        except BaseException:
            remove_tree(wish.to)
            raise
        return Restored(
            digest=tree.digest, size_bytes=tree.size_bytes, seconds=row.seconds, record=row.record, source=source
        )

    def _restore(self, tree: Tree, wish: _Wish) -> None:
        """Write the tree, sealed like `artifacts.seal` does. Raises Unusable, Stopped, OSError."""

        def content(entry: Entry, to: int) -> None:
            try:
                self.contents.write(entry.content, entry.size_bytes, to)
            except Unusable as exc:
                self.contents.drop(entry.content)  # else nobody would write it again
                raise Unusable(f"{entry.path}: {exc}") from exc

        write(tree, wish.to, content, wish.stop)

    # --- keeping ----------------------------------------------------------------------------------------------------

    def put(self, key: str, tree: Path, record: bytes, *, digest: str, anywhere: bool, seconds: float) -> None:
        """Keep a result, in the background; `close` waits for it.

        Args:
            key: what it is the result of.
            tree: its folder, absolute and sealed.
            record: handed back by `get`.
            digest: what `artifacts.seal` said of the folder; one that is different by then is not kept.
            anywhere: whether it works in another folder, too. Where a file or a link names `tree`, it is taken not to.
            seconds: that it took to make it.
        """
        job = _Job(key, tree, record, digest, anywhere, seconds)
        self._queue(self._puts, lambda: self._with_local(lambda: self._put(job)), 1)

    def _put(self, job: _Job) -> None:
        needle = os.fsencode(job.tree)
        named = False

        def taken(path: str) -> str:
            nonlocal named
            digest, found = batch.add(path, needle)
            named = named or found
            return digest

        with self.shared(), Batch(self.contents) as batch:
            try:
                tree = read(job.tree, taken)
                if tree.digest != job.digest:
                    raise Unusable("it was changed since it was sealed")
            except FileNotFoundError:
                return  # somebody has removed the artifact: nobody needs it, either
            except Unusable as exc:
                self._tell(f"{job.tree} is not kept in the cache: {exc}")
                return
            named = named or any(
                entry.kind == "link" and os.fspath(job.tree) in entry.content for entry in tree.entries
            )
            place = "" if job.anywhere and not named else os.fspath(job.tree)
            batch.commit()
            head = Head(job.key, place, job.seconds, job.record, tree.encoded(), tuple(batch.stored.items()))
            self._add(job.key, place, tree, head, batch)
        if self.remote is not None:
            self._queue(self._sends, lambda: self._with_local(lambda: self._send(head)), UPLOADS)

    def _add(self, key: str, place: str, tree: Tree, head: Head, batch: Batch) -> None:
        """The one place where rows are written: under the run's own namespace, whatever it believes."""
        stored = batch.stored
        self.index.add(self.own, key, place, tree=tree, record=head.record, seconds=head.seconds, stored=stored)

    def _send(self, head: Head) -> None:
        assert self.remote is not None
        with Batch(self.contents) as batch:
            parcel = batch.folder / "parcel"
            try:
                with self.shared(), parcel.open("wb") as file:
                    pack(head, self.contents, file)
            except FileNotFoundError:
                return  # a content was found damaged just now, which was told
            self.remote.send(parcel_name(self.own, head.key, head.place), parcel)

    def close(self, finish_s: float = FINISH_S) -> None:
        """Wait for what is being kept and sent, for at most so many seconds; what is not done by then is told."""
        deadline = time.monotonic() + finish_s
        for jobs in (self._puts, self._sends):
            with jobs.all_tasks_done:
                while jobs.unfinished_tasks and (left_s := deadline - time.monotonic()) > 0:
                    jobs.all_tasks_done.wait(left_s)
        left = self._puts.unfinished_tasks + self._sends.unfinished_tasks
        self._off.set()
        if left:
            self._tell(f"the cache was not done within {finish_s:g} s: {left} results were not kept or not sent")
        else:
            self.index.close()

    def _queue(self, jobs: "queue.Queue[Callable[[], None]]", job: Callable[[], None], workers: int) -> None:
        def work() -> None:
            while True:
                todo = jobs.get()
                try:
                    todo()
                except Exception as exc:  # noqa: BLE001 (a mistake of ours fails no build; without this, `close` would wait)
                    self._give_up(f"{type(exc).__name__}: {exc}")
                finally:
                    jobs.task_done()

        jobs.put(job)
        name = f"cache {id(jobs)}"
        with self._starting:
            if sum(each.name == name for each in self._workers) < workers:
                # Left behind when the process ends: a network file system may never come back.
                self._workers.append(threading.Thread(target=work, name=name, daemon=True))
                self._workers[-1].start()

    # --- what goes wrong --------------------------------------------------------------------------------------------

    def _with_local(self, work: Callable[[], T]) -> T | None:
        """Do something with the folder; once that fails, the cache is done without, and it was told why."""
        if self._off.is_set():
            return None
        try:
            return work()
        except OSError as exc:
            full = exc.errno in FULL
            self._give_up(f"the disk that holds {self.root} is full" if full else str(exc))
        except sqlite3.Error as exc:
            if is_damage(exc):
                self._tell(f"the list of the cache's results is damaged ({exc}): it begins anew")
                self.index.erase()
            else:
                self._give_up(f"{self.index.path}: {exc}")
        return None

    def _give_up(self, why: str) -> None:
        if not self._off.is_set():
            self._off.set()
            self._tell(f"the cache is not used in this run: {why}")

    @contextmanager
    def shared(self) -> Iterator[Lock]:
        """Nobody removes anything meanwhile. Raises OSError."""
        with waited(self.root / "lock", LOCKED_S, shared=True) as lock:
            yield lock


HERE = "the cache"


def parcel_name(namespace: str, key: str, place: str) -> str:
    """The name of a result in a remote cache. The namespace is the first part, so that a bucket's policy can guard it."""
    return f"{namespace}/{key}" + (f"-{blake2s(os.fsencode(place), digest_size=8).hexdigest()}" if place else "")


def waited(path: Path, within_s: float, *, shared: bool) -> Lock:
    """The lock, waited for. Raises OSError when it does not come within so many seconds."""
    deadline = time.monotonic() + within_s
    while (lock := try_lock(path, shared=shared)) is None:
        if time.monotonic() > deadline:
            raise OSError(errno.ETIMEDOUT, f"somebody has been cleaning it up for {within_s:g} s", os.fspath(path))
        time.sleep(POLL_S)
    return lock
