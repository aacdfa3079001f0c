"""Tasks in the order of what they need, side by side, each once: what is there is found, what is not is made.

`build` (for `up` and `deploy`) and `ci` call it. A `Crew` looks what is known of the files as they are now (`look`), and
does the rest (`run`). How one task is done is `making`'s business, which comes first is `decide.tasks`'.
"""

import asyncio
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import msgspec

from atoll.decide.tasks import Schedule, closure, in_order, ranks
from atoll.model.environment import DockerSpec
from atoll.model.errors import BuildFailed, UserError
from atoll.model.records import TaskRecord
from atoll.model.state import Author
from atoll.model.task import BUILD, IMAGE
from atoll.pipeline.artifacts import Artifacts, Record, disk_trouble
from atoll.pipeline.audit import Audit
from atoll.pipeline.docker import Docker
from atoll.pipeline.imaging import ImageMaking, settled, there
from atoll.pipeline.kept import Kept, shared
from atoll.pipeline.key import Manifest, differences
from atoll.pipeline.keys import Keyed
from atoll.pipeline.lock import try_lock
from atoll.pipeline.making import Made, Making, Shop, cached, restored, taken_as_it_is
from atoll.pipeline.namespace import TRUSTED, readable
from atoll.pipeline.order import Order, Work, folder_of, kit, order
from atoll.pipeline.progress import Phase, Progress
from atoll.pipeline.provenance import Provenance
from atoll.pipeline.provide import Shelf
from atoll.pipeline.records import Records
from atoll.pipeline.run import settle

WHY_SHOWN = 3  # sentences of what changed; the rest is counted
ASKED_AT_ONCE = 16  # questions to the cache: a remote's answer takes some ten milliseconds
FIRST_RUN = "its first run"
NEVER_PASSED = "it never passed"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where a workspace's tasks are done."""

    root: Path  # the workspace's folder; `spec.folder` is relative to it
    artifacts: Path  # shared with other processes, as the next two; made when missing
    toolchains: Path
    records: Path
    docker: DockerSpec = DockerSpec()  # what makes images


class Crew:
    """The tasks of one call. Use it as a context manager, within an event loop."""

    def __init__(
        self,
        works: Mapping[str, Work],
        site: Site,
        *,
        keys: Mapping[str, Keyed | UserError] | None = None,
        namespace: str = TRUSTED,
        on_progress: Callable[[Progress], None] = lambda _: None,
        told: Callable[[str], None] = lambda _: None,
        kept: Kept | None = None,
        audit: Audit | None = None,
    ) -> None:
        """For the tasks `works`, all of the workspace by their ids.

        Args:
            works: what may be done.
            site: where.
            keys: those of the files as they are now, where somebody knows them; the others are reckoned.
            namespace: whose results these are; trusted ones are believed, too.
            on_progress: called on the event loop, often; must not block.
            told: takes sentences that a person must know although nothing failed.
            kept: results of other runs and machines; None does without. Who made it closes it.
            audit: what looks at what tasks read, where that is wanted.
        """
        self.works, self.root, self._told = works, site.root, told
        self.needs = {id: tuple(work.needs.values()) for id, work in works.items()}
        self._keys = keys or {}
        self.known: dict[
            str, Order | Keyed | UserError
        ] = {}  # as the files are now; what could not be told, with the reason
        self.made: dict[str, Made] = {}
        self.author = Author()
        self.artifacts = Artifacts(site.artifacts.resolve())
        self.records = Records(site.records, told)
        self._recording = True
        self._provenance = Provenance(site.root)
        self._stop = threading.Event()
        shelf = Shelf(site.toolchains)
        self.shop = Shop(
            artifacts=self.artifacts,
            kit=kit(site.root, self.artifacts, shelf.homes),
            shelf=shelf,
            docker=Docker(site.docker),
            tell=told,
            namespace=namespace,
            believed=frozenset(readable(namespace)),
            why=self.why,
            on_progress=on_progress,
            began=time.monotonic(),
            kept=kept,
            audit=audit,
        )

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *_: object) -> None:
        self.records.close()

    # --- what is there --------------------------------------------------------------------------------------------

    async def look(self, wanted: Collection[str]) -> None:
        """Find out what is known of these tasks and of what they need: their keys, and those that are green.

        Raises UserError: the artifacts folder cannot be used at all.
        """

        def work() -> None:
            self._open()
            ids = closure(self.needs, wanted)
            self._look_up([id for id in in_order({id: self.needs[id] for id in ids}) if id not in self.known])
            self._settle()

        await settle(asyncio.get_running_loop().run_in_executor(None, work), self._stop.set)

    def _open(self) -> None:
        self.artifacts.prepare()
        try:
            self.artifacts.sweep()
        except OSError as exc:
            raise disk_trouble(exc, self.artifacts.root) from exc

    def _look_up(self, ids: Collection[str]) -> None:
        """The orders of the files as they are now, by remembered hashes and tool versions."""
        for id in ids:
            self.known[id] = self._keys[id] if id in self._keys else self._ordered(id)

    def _ordered(self, id: str) -> Order | UserError:
        """One of these orders, when those of its needs are known."""
        work, keys = self.works[id], dict[str, str]()
        try:
            for need in self.needs[id]:
                if isinstance(found := self.known[need], UserError):
                    raise found  # without its needs' keys it has none
                keys[need] = found.key
            taken = taken_as_it_is(work, self.root, self.artifacts, self._stop)
            return order(work, taken, folder_of(work, self.root), needs=keys, kit=self.shop.kit, fresh=False)
        except UserError as exc:
            return exc  # judged in the copy: the folder around the original may mislead a tool

    def _settle(self) -> None:
        """Those whose key is green, by their records; those that lost theirs by the results themselves."""
        keys = {id: found.key for id, found in self.known.items() if not isinstance(found, UserError)}
        with self._history():
            green = green_of(keys, self.records, self.shop.namespace)
            self.made |= {id: remembered(record) for id, record in green.items()}
        there = self.artifacts.keys()
        for id in keys.keys() - self.made.keys():
            if not self.works[id].task.cache:
                continue  # only what was told of its last run counts
            if keys[id] in there and (found := self._found(keys[id])) is not None:
                self.made[id] = made = cached(found)
                self._record(id, made, found.wall, Author())
        self._from_cache([id for id in keys if id not in self.made])

    def _from_cache(self, ids: Collection[str]) -> None:
        """Those that keep nothing and passed elsewhere: what they need does not have to be there to know that."""
        asked = [id for id in ids if shared(self.works[id]) and not self.works[id].task.outputs]
        if self.shop.kept is None or not asked:
            return
        with ThreadPoolExecutor(ASKED_AT_ONCE, "cache") as pool:
            for id, made in zip(asked, pool.map(self._restored, asked), strict=True):
                if made is not None:
                    self.made[id] = made
                    self._record(id, made, time.time(), Author())

    def _restored(self, id: str) -> Made | None:
        ordered, known = self._ordered(id), self.known[id]
        if isinstance(ordered, UserError) or isinstance(known, UserError) or ordered.key != known.key:
            return None  # the files change right now: what counts is what is copied
        if (held := try_lock(self.artifacts.lock_path(ordered.key))) is None:
            return None  # it will be waited for when it is its turn
        making = Making(self.shop, self.works[id], {})
        making.stop = self._stop
        with held, suppress(OSError):  # a disk that is full will be told when it is its turn
            if found := making.restore(ordered):
                return restored(found)
        return None

    def _found(self, key: str) -> Record | None:
        """The result of that key, if it is there, complete, and to be believed."""
        if (held := try_lock(self.artifacts.lock_path(key), shared=True)) is None:
            return None  # being made or removed right now: wait for our turn
        with held, suppress(UserError):  # no dockerd: who makes it says so
            record = there(self.artifacts.find(key, believed=self.shop.believed), self.shop.docker)
            if record and settled(record, self.artifacts, self.shop.docker, self.shop.believed):
                return record
        return None

    def why(self, work: Work, manifest: Manifest) -> str:
        """What is not as it was when the task passed last: `orders.py changed`. Blocking."""
        before, old, ran = None, None, False
        with self._history():
            if (before := self.records.green(work.id, self.shop.believed)) is not None:
                old = self.records.manifest(before.key)
            else:
                ran = self.records.ran(work.id)
        if before is None:
            return NEVER_PASSED if ran else FIRST_RUN
        if old is None:
            return "something changed"  # since a run whose manifest was forgotten
        said = differences(old, manifest)
        if not said:
            return "its result is no longer there" if work.task.cache else "it runs each time"
        more = len(said) - WHY_SHOWN
        return "; ".join(said[:WHY_SHOWN]) + (f"; and {more} more" if more > 0 else "")

    # --- what is done ---------------------------------------------------------------------------------------------

    async def run(
        self,
        wanted: Collection[str],
        *,
        jobs: int | None = None,
        fail_fast: bool = False,
        results: bool = False,
    ) -> None:
        """Do what of `wanted`, and of what that needs, is not done; `made` tells of each then.

        Cancelled, it ends every process tree and removes what they made before it raises.

        Args:
            wanted: ids; `look` was called with them.
            jobs: tasks at one time, >= 1; None is one a CPU.
            fail_fast: the first failure ends what runs, and nothing begins any more. Without it, only what needs the
                task that failed is skipped: one service's failure is its own.
            results: whether the results of `wanted` themselves are needed, not only that they were there.
        """
        todo = await settle(
            asyncio.get_running_loop().run_in_executor(None, partial(self.todo, wanted, results=results))
        )
        if not todo:
            return
        needs = {id: [need for need in self.needs[id] if need in todo] for id in todo}
        schedule = Schedule(needs, ranks(needs, self.durations()))
        running: dict[asyncio.Task[Made], str] = {}
        free = jobs or os.cpu_count() or 1
        try:
            while running or schedule.left:
                for id in schedule.take(free - len(running)):
                    running[asyncio.create_task(self._making(id).result(), name=id)] = id
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                failed = ""
                for each in done:
                    id = running.pop(each)
                    self.made[id] = made = each.result()
                    await self._ended(id, made)
                    failed = id if made.failure else failed
                    for other in schedule.ended(id, good=made.failure is None):
                        self._never(other, "skipped", f"{id} did not pass")
                if fail_fast and failed:
                    for other in (*schedule.stop(), *running.values()):
                        self._never(other, "cancelled", f"{failed} failed")
                    break
        finally:
            for task in running:
                task.cancel()
            if running:
                await settle(asyncio.gather(*running, return_exceptions=True))

    def durations(self) -> Mapping[str, float]:
        """Task -> how long it takes, in seconds, where that is known. Blocking."""
        took: dict[str, float] = {}
        with self._history():
            took |= self.records.durations()
        return took

    def todo(self, wanted: Collection[str], *, results: bool = False) -> set[str]:
        """Which tasks are to be done: those that are not green, what always runs, and what these need the results of.

        Blocking. `results`: whether those of `wanted` themselves are needed.
        """
        ids = closure(self.needs, wanted)
        todo: set[str] = set()
        needed = set(wanted) if results else set[str]()
        for id in reversed(in_order({id: self.needs[id] for id in ids})):
            made, task = self.made.get(id), self.works[id].task
            if not task.cache and (id in wanted or id in needed):
                made = None
            if made is not None and id in needed and made.artifact is None and task.outputs:
                made = cached(found) if (found := self._found(made.key)) else None
            if made is None:
                self.made.pop(id, None)
                if id in wanted or id in needed:  # else only what is green needs it
                    todo.add(id)
                    needed.update(self.needs[id])
            else:
                self.made[id] = made
        return todo

    def _making(self, id: str) -> Making:
        work = self.works[id]
        needs = {need: self.made[need] for need in self.needs[id]}
        if work.image is not None:
            return ImageMaking(self.shop, work, needs)
        return Making(self.shop, work, needs, again=not work.task.cache)

    def _never(self, id: str, phase: Phase, why: str) -> None:
        """A task that does not run."""
        self.made[id] = Made(outcome="skipped" if phase == "skipped" else "cancelled", why=why, attempts=0)
        work = self.works[id]
        now = time.monotonic() - self.shop.began
        self.shop.on_progress(
            Progress(service=work.spec.name, task=work.task.name, phase=phase, label=why, seconds=now)
        )

    async def _ended(self, id: str, made: Made) -> None:
        """Record it. Whatever goes wrong with the records fails no task."""

        def work() -> None:
            self.author = self._provenance.of(self.works[id].spec)
            if not made.cached:
                self._record(id, made, time.time(), self.author)
            elif made.source or not self._is_green(id, made.key):
                # Here nothing knows of it yet: it came from elsewhere, or a twin was made while we waited for our turn. Who
                # made it, and when, it does not say.
                self._record(id, made, time.time(), Author())

        await settle(asyncio.get_running_loop().run_in_executor(None, work))

    def _is_green(self, id: str, key: str) -> bool:
        last: TaskRecord | None = None
        with self._history():
            last = self.records.green(id, readable(self.shop.namespace))
        return last is not None and last.key == key

    def _record(self, id: str, made: Made, wall: float, author: Author) -> None:
        if not made.key or (made.failure is None and made.artifact is None):
            return  # it has no key, or what it says does not hold for it
        with self._history():
            record = TaskRecord(
                task=id,
                key=made.key,
                outcome=made.outcome,
                seconds=made.seconds,
                wall=wall,
                attempts=made.attempts,
                digest=made.artifact.digest if made.artifact else "",
                author=author,
                namespace=self.shop.namespace,
                reason=made.failure.what if made.failure else "",
            )
            self.records.add(record, made.manifest)

    @contextmanager
    def _history(self) -> Iterator[None]:
        """Records are history: what is wrong with their file is told once, and stops nothing."""
        try:
            yield
        except UserError as exc:
            if self._recording:
                self._told(f"{exc.what}: {exc.why}; results are kept, what became of tasks is not ({exc.fix})")
            self._recording = False


def green_of(keys: Mapping[str, str], records: Records, namespace: str) -> dict[str, TaskRecord]:
    """Of the tasks with these keys (id -> key) those that are green, with the run that says so. Blocking; raises UserError."""
    believed = readable(namespace)
    last = records.greens(believed)
    green = {id: last[id] for id, key in keys.items() if id in last and last[id].key == key}
    if len(green) == len(keys):
        return green
    passed = records.passed({keys[id] for id in keys.keys() - green.keys()}, believed)
    before = {id: passed[key] for id, key in keys.items() if id not in green and key in passed}
    if before:  # files as they were once, or a twin's: what is so is affected no more
        records.renew(before, namespace)
    return green | before


def remembered(record: TaskRecord) -> Made:
    return Made(outcome=record.outcome, key=record.key, cached=True, seconds=record.seconds, attempts=record.attempts)


def failure_of(work: Work, made: Made) -> BuildFailed:
    """Why a task has no result."""
    if made.failure is not None:
        return made.failure
    what = "built" if work.task.name in {BUILD, IMAGE} else "run"
    return BuildFailed(work.name, f"was not {what}: {made.why}", fix="mend that one first", id="need-failed")
