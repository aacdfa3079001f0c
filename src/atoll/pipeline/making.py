"""One task of one service, from its files to its sealed result, or to why it has none.

Called by `work`, which knows when it is a task's turn. `Making.make` reads like the order of events. What a result is on
the disk is `artifacts`' business, what goes in is `inputs`', what is run is `order`'s.
"""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from atoll.model.building import Step
from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import BuildFailed, UserError
from atoll.model.records import Outcome, Undeclared
from atoll.model.state import Artifact
from atoll.model.task import BUILD
from atoll.pipeline import inputs
from atoll.pipeline.artifacts import Artifacts, Record, Stage, disk_trouble, seal
from atoll.pipeline.audit import Audit
from atoll.pipeline.docker import Docker
from atoll.pipeline.environment import build_environment
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import Input
from atoll.pipeline.kept import Found, Kept, anywhere, shared
from atoll.pipeline.key import Manifest
from atoll.pipeline.lock import Lock, lock
from atoll.pipeline.order import Kit, Order, Work, files_of, folder_of, order, trouble_of
from atoll.pipeline.progress import Progress
from atoll.pipeline.provide import Shelf
from atoll.pipeline.run import Output, run, settle
from atoll.pipeline.scope import Scoped
from atoll.pipeline.teller import Teller
from atoll.pipeline.toolchains import Missing

T = TypeVar("T")

LOW_BYTES = 1 << 20  # free space below which a failed step failed for want of it
TRACES = "traces"  # in a stage: what an audit's strace writes
PATIENCE_S = 60.0  # beyond a task's own time limit, for another process that does the same


class Shop(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of one call share."""

    artifacts: Artifacts
    kit: Kit
    shelf: Shelf
    docker: Docker
    namespace: str  # whose results these are
    believed: frozenset[str]  # the namespaces whose results are used
    why: Callable[[Work, Manifest], str]  # what is not as it was when the task last passed; blocking
    on_progress: Callable[[Progress], None]
    tell: Callable[[str], None]  # sentences that a person must know although nothing failed
    began: float  # time.monotonic()
    kept: Kept | None = None  # results of other runs and machines; None does without
    audit: Audit | None = None  # whether what tasks read is looked at


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one task."""

    outcome: Outcome
    key: str = ""  # "" when it could not even be told
    artifact: Artifact | None = None  # None when it did not pass, or what passed cannot be used again
    failure: BuildFailed | None = None
    manifest: Manifest | None = None  # when it ran
    cached: bool = False
    source: str = ""  # of a cached one that was not here: the cache, or the address of a remote one
    why: str = ""  # why it ran, or was not run at all
    seconds: float = 0.0  # of the last attempt; of a cached one of the run that it stands for
    attempts: int = 1
    output: str = ""  # the end of what the last attempt that failed printed
    log: str = ""  # the file with the whole of it
    undeclared: tuple[Undeclared, ...] = ()  # what an audit found


class Making:
    """The run of one task. `needs` are the results of what it needs, by id; `again`: one that is there does not do."""

    def __init__(self, shop: Shop, work: Work, needs: Mapping[str, Made], *, again: bool = False) -> None:
        self.shop, self.work, self.artifacts = shop, work, shop.artifacts
        self.needs, self.again = needs, again
        self.folder = folder_of(work, shop.kit.root)
        self.stop = threading.Event()
        self.made = Made(outcome="failed", attempts=0)  # what is known of it so far
        self.ran = False  # whether the attempt came to its steps: what fails before fails again
        self.teller = Teller(work.spec.name, work.task.name, shop.on_progress, shop.began)
        self.tell = self.teller.tell

    async def result(self) -> Made:
        """How it ended; a failure is this task's own."""
        try:
            return await self.make()
        except BuildFailed as exc:
            failed = exc
        except UserError as exc:
            failed = BuildFailed(self.work.name, trouble_of(exc), fix=exc.fix, id=exc.id)
            failed.__cause__ = exc
        except OSError as exc:
            trouble = disk_trouble(exc, self.artifacts.root)
            failed = BuildFailed(self.work.name, trouble_of(trouble), fix=trouble.fix, id=trouble.id)
            failed.__cause__ = exc
        self.tell("failed", label=failed.what, took_s=self.made.seconds)
        return msgspec.structs.replace(self.made, failure=failed, artifact=None)

    async def make(self) -> Made:
        """Copy the inputs, wait for whoever does the same, run, seal and record it; anew as often as it may fail."""
        while True:
            self.ran = False
            self.made = msgspec.structs.replace(self.made, attempts=self.made.attempts + 1, outcome="failed")
            try:
                return await self.attempt()
            except BuildFailed as exc:
                if not self.ran or self.made.attempts > self.work.task.retries:
                    raise
                self.tell("retrying", label=exc.what)

    async def attempt(self) -> Made:
        """One attempt, in a clean copy of its own."""
        self.tell("queued")
        stage = self.artifacts.stage()  # not in a thread: a cancellation must not lose it
        try:
            taken = await self.thread(lambda: self.take(stage))
            in_place = self.work.task.in_place
            ordered = await self.equipped(self.folder if in_place else stage.tree, taken)
            self.made = msgspec.structs.replace(self.made, key=ordered.key, manifest=ordered.manifest)
            with ExitStack() as held:
                for id, made in self.needs.items():
                    held.enter_context(await self.turn(made.key, shared=True))
                    await self.thread(partial(self.still_there, id, made))
                turn = held.enter_context(await self.turn(ordered.key))
                if not self.again and (record := await self.thread(lambda: self.find(ordered.key))):
                    return self.tell("cached", await self.hand_on(cached(record)))
                if found := await self.thread(lambda: self.restore(ordered, stage)):
                    return self.tell("cached", restored(found), label=f"from {found.source}")
                why = await self.thread(lambda: self.shop.why(self.work, ordered.manifest))
                self.made = msgspec.structs.replace(self.made, why=why)
                begun = time.monotonic()
                artifact = await self.build(ordered, taken, stage, turn)
                outcome: Outcome = "passed" if self.made.attempts == 1 else "flaky"
                if artifact is None:
                    why = f"{why}; its inputs changed while it ran, so that its result is for this once".lstrip("; ")
                seconds = time.monotonic() - begun
                made = msgspec.structs.replace(self.made, outcome=outcome, artifact=artifact, why=why, seconds=seconds)
                return self.tell("done", await self.hand_on(made), label=why, took_s=seconds, attempts=made.attempts)
        finally:
            await self.thread(lambda: self.artifacts.drop(stage))

    async def hand_on(self, made: Made) -> Made:
        """Give what passed to others; most is handed on in the background (`Kept`)."""
        return made

    # --- what goes in ---------------------------------------------------------------------------------------------

    def take(self, stage: Stage) -> tuple[Input, ...]:
        """Copy the inputs; the order is made of the copy, so that the key tells what is built."""
        if self.work.task.in_place:
            return self.fingerprint()
        cut = self.select()
        return inputs.copy(self.folder, cut.entries, stage.tree, self.stop, cut.rewritten)

    def fingerprint(self) -> tuple[Input, ...]:
        """The inputs as they are now."""
        return taken_as_it_is(self.work, self.shop.kit.root, self.artifacts, self.stop)

    def select(self) -> Scoped:
        """The files that go in."""
        return files_of(self.work, self.shop.kit.root, self.artifacts.root)

    def order(self, folder: Path, taken: tuple[Input, ...]) -> Order:
        """The order of what lies in `folder`."""
        keys = {id: made.key for id, made in self.needs.items()}
        return order(self.work, taken, folder, needs=keys, kit=self.shop.kit, fresh=True)

    async def equipped(self, tree: Path, taken: tuple[Input, ...]) -> Order:
        """The order; a toolchain that is missing is fetched first where that is allowed."""
        try:
            return await self.thread(lambda: self.order(tree, taken))
        except Missing as missing:
            if not self.work.spec.build.provide or missing.toolchain.wheel is None:
                raise
            toolchain, wish = missing.toolchain, missing.wish

        def say(text: str) -> None:
            self.tell("fetching", label=text)

        await self.shop.shelf.fetch(toolchain, wish, root=self.shop.kit.root, asker=self.work.name, say=say)
        return await self.thread(lambda: self.order(tree, taken))

    def find(self, key: str) -> Record | None:
        """A result that we may use. Key locked."""
        return self.artifacts.find(key, believed=self.shop.believed)

    def still_there(self, id: str, made: Made) -> None:
        """Raise BuildFailed when the result of a need was removed since it was found; else it counts as used. Key locked.

        Without it a step would run beside a folder that is not there, and might even pass.
        """
        if made.artifact is not None and self.find(made.key) is None:
            what = f"the result of {id} was removed before it was its turn"
            why = "a collection by the limits of [cache] took it, or somebody who removes artifacts by hand"
            raise BuildFailed(
                self.work.name, what, why, fix="run it again; raise max_size if that happens often", id="need-failed"
            )

    def restore(self, ordered: Order, stage: Stage | None = None) -> Found | None:
        """A result that another run or machine made, complete here now. Key locked.

        `stage` has the copy of the inputs, for whoever needs its place.
        """
        del stage  # the cache restores at the final place
        if self.shop.kept is None or self.again or not shared(self.work):
            return None

        def complete(digest: str, size_bytes: int, seconds: float, attempts: int) -> Record:
            return self.record(ordered, digest, size_bytes, seconds, attempts)

        where = anywhere(self.work, ordered)
        return self.shop.kept.restore(self.artifacts, ordered.key, complete, anywhere=where, stop=self.stop)

    async def turn(self, key: str, *, shared: bool = False) -> Lock:
        """The key's lock; somebody else who does the same is waited for."""
        patience_s = self.work.task.timeout_s + PATIENCE_S
        waiting = asyncio.get_running_loop().call_later(0.2, lambda: self.tell("waiting"))
        try:
            return await lock(self.artifacts.lock_path(key), patience_s, shared=shared)
        except TimeoutError as exc:
            raise BuildFailed(
                self.work.name,
                f"another process has been building the same for {patience_s:.0f} s",
                fix=f"end the process that holds {self.artifacts.lock_path(key)}",
                id="build-busy",
            ) from exc
        finally:
            waiting.cancel()

    # --- the run --------------------------------------------------------------------------------------------------

    async def build(self, ordered: Order, taken: tuple[Input, ...], stage: Stage, held: Lock) -> Artifact | None:
        """Run the steps at the final place; there is a complete result after, or nothing at all.

        None: in place, the inputs are no longer those `taken`. That is seen before the result is complete, since whoever
        is killed between the two would leave one that never passed with these bytes.
        """
        began = time.monotonic()
        try:
            folder = await self.thread(lambda: self.artifacts.place(stage, ordered.key))
            await self.run_steps(ordered, self.folder if self.work.task.in_place else folder, stage, held)
            if not folder.is_dir():
                what, fix = "its steps removed the folder that they ran in", "correct the steps"
                raise BuildFailed(self.work.name, what, fix=fix, id="build-step-failed")
            await self.look_at_reads(ordered, folder, stage)
            if self.work.task.in_place and await self.thread(lambda: self.fingerprint() != taken):
                await self.thread(lambda: self.artifacts.remove(ordered.key))
                return None
            self.tell("sealing")
            return await self.thread(lambda: self.finish(ordered, folder, time.monotonic() - began))
        except BaseException:
            self.made = msgspec.structs.replace(self.made, seconds=time.monotonic() - began)
            self.stop.clear()  # the removal is work again
            await self.thread(lambda: self.artifacts.remove(ordered.key))
            raise

    async def run_steps(self, ordered: Order, folder: Path, stage: Stage, held: Lock) -> None:
        """Run them one after the other. Raises BuildFailed for the first that ends badly, or for the time limit."""
        steps, timeout_s = ordered.plan.steps, self.work.task.timeout_s
        if not steps:
            return
        self.ran = True
        again = f".{self.made.attempts}" if self.made.attempts > 1 else ""
        output = Output(self.artifacts.logs / f"{self.work.name}-{ordered.key[:12]}{again}", self.teller.line)
        self.made = msgspec.structs.replace(self.made, log=os.fspath(output.path))
        base = self.environment(ordered, stage)
        limit = asyncio.timeout(timeout_s)
        try:
            async with limit:
                for number, step in enumerate(steps, 1):
                    self.tell("building", step=number, steps=len(steps), label=step.label)
                    output.begin(step.command.text)
                    held_fds = (held.fd, stage.lock.fd)
                    env = {**base, **step.env}
                    try:
                        argv = (*self.traced(stage), *self.argv(step, ordered))
                        status = await run(argv, folder=folder, env=env, output=output, held=held_fds)
                    except OSError as exc:
                        raise self.failure(f"step {number} could not be started: {exc}", output) from exc
                    if status != 0:
                        raise self.failure(f"step {number} of {len(steps)} ({step.label}) {_ended(status)}", output)
        except TimeoutError:
            if not limit.expired():
                raise
            self.made = msgspec.structs.replace(self.made, outcome="timed-out")
            what, where = ("build", "[build]") if self.work.task.name == BUILD else ("task", "its")
            raise self.failure(
                f"the {what} took longer than {timeout_s:g} s", output, f"raise {where} timeout; "
            ) from None
        finally:
            output.close()

    def environment(self, ordered: Order, stage: Stage) -> Mapping[str, str]:
        """The variables of every step."""
        return build_environment(os.environ, ordered.env, os.fspath(stage.temporary))

    def argv(self, step: Step, ordered: Order) -> tuple[str, ...]:
        """What is really started: results of needs have their places now, uv may lie beside Atoll and not on the PATH."""
        if step.command.shell is not None:
            return ("/bin/sh", "-c", self.filled_in(step.command.shell))
        name, *rest = (self.filled_in(word) for word in step.command.argv)
        found = self.shop.kit.tools.find(name, ordered.env) if name == "uv" else None
        return (found or name, *rest)

    def traced(self, stage: Stage) -> tuple[str, ...]:
        """What goes before a command that is audited."""
        if self.shop.audit is None or self.work.image is not None:  # what dockerd reads, no trace here tells
            return ()
        traces = stage.root / TRACES
        traces.mkdir(exist_ok=True)
        return self.shop.audit.wrapper(traces)

    async def look_at_reads(self, ordered: Order, folder: Path, stage: Stage) -> None:
        """Find what the steps read and do not declare."""
        audit, in_place = self.shop.audit, self.work.task.in_place
        if audit is None or not self.ran or self.work.image is not None:
            return

        def look() -> tuple[Undeclared, ...]:
            return audit.found(
                stage.root / TRACES,
                folder=self.folder if in_place else folder,
                context=self.folder,
                results=[self.artifacts.folder(made.key) for made in self.needs.values()],
                private=stage.root,
                inputs=ordered.files if in_place else None,
            )

        self.made = msgspec.structs.replace(self.made, undeclared=await self.thread(look))

    def filled_in(self, text: str) -> str:
        """A word with the folders of results instead of `{needs.NAME}`."""
        for name, id in self.work.needs.items():
            text = text.replace(f"{{needs.{name}}}", os.fspath(self.artifacts.folder(self.needs[id].key)))
        return text

    def failure(self, what: str, output: Output, fix: str = "") -> BuildFailed:
        """A failed run with what it printed last, and with the disk's part in it."""
        said = output.last()
        self.made = msgspec.structs.replace(self.made, output=said)
        id: ErrorId = "build-step-failed"
        if (trouble := self.trouble(said)) is not None:
            what, fix, id = f"{what}; {trouble.what}", f"{trouble.fix}; ", trouble.id
        return BuildFailed(
            self.work.name, what, said, fix=f"{fix}the whole output, with each command, is in {output.path}", id=id
        )

    def trouble(self, said: str) -> UserError | None:
        """What is known to lie behind a failure with that output, besides the step itself."""
        disk = os.statvfs(self.artifacts.root)
        if disk.f_bavail * disk.f_frsize < LOW_BYTES or "ENOSPC" in said or "No space left on device" in said:
            return disk_trouble(OSError(errno.ENOSPC, "no space left"), self.artifacts.root)
        return None

    def finish(self, ordered: Order, folder: Path, seconds: float) -> Artifact:
        """Make it read-only and complete."""
        digest, size_bytes = seal(folder, matcher(self.work.spec.build.outputs), self.stop)
        record = self.record(ordered, digest, size_bytes, seconds, self.made.attempts)
        self.artifacts.finish(record)
        if self.shop.kept is not None and shared(self.work):
            self.shop.kept.keep(record, anywhere=anywhere(self.work, ordered))
        return record.artifact

    def record(self, ordered: Order, digest: str, size_bytes: int, seconds: float, attempts: int) -> Record:
        """What is known of the result, which lies in its folder."""
        return Record(
            artifact=self.artifact(ordered, digest),
            manifest=ordered.manifest,
            service=self.work.spec.name,
            size_bytes=size_bytes,
            seconds=seconds,
            wall=time.time(),
            attempts=attempts,
            namespace=self.shop.namespace,
        )

    def artifact(self, ordered: Order, digest: str) -> Artifact:
        """The result as releases name it."""
        folder, builder = self.artifacts.folder(ordered.key), ordered.plan.builder
        at_run: dict[str, str] = {}
        if self.work.task.name == BUILD:
            at_run = _joined(builder.command_env(self.work.spec, ordered.files, folder), ordered.at_run)
        return Artifact(
            key=ordered.key,
            digest=digest,
            builder=builder.name,
            platform=ordered.manifest.platform,
            path=os.fspath(folder),
            command_env=at_run,
        )

    async def thread(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, which is never left behind: a cancellation tells it to stop and waits."""
        return await settle(asyncio.get_running_loop().run_in_executor(None, work), self.stop.set)


def cached(record: Record) -> Made:
    """A result that was there."""
    return Made(
        outcome="passed" if record.attempts == 1 else "flaky",
        key=record.artifact.key,
        artifact=record.artifact,
        manifest=record.manifest,
        cached=True,
        seconds=record.seconds,
        attempts=record.attempts,
    )


def restored(found: Found) -> Made:
    """A result that was elsewhere."""
    return msgspec.structs.replace(cached(found.record), source=found.source)


def taken_as_it_is(work: Work, root: Path, artifacts: Artifacts, stop: threading.Event) -> tuple[Input, ...]:
    """The inputs as they are in the work tree now, by remembered hashes. Raises UserError and Stopped."""
    memory = artifacts.cache / f"files-{work.name}"
    cut = files_of(work, root, artifacts.root)
    return inputs.fingerprint(folder_of(work, root), cut.entries, memory, stop, cut.rewritten)


def _joined(first: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Two parts of a command's environment; the entries of a path ("PATH+") one after the other."""
    paths = {name: f"{first[name]}:{text}" for name, text in then.items() if name.endswith("+") and name in first}
    return {**then, **first, **paths}


def _ended(status: int) -> str:
    if status == 127:
        return "ended with exit code 127: the command was not found"
    return f"was killed by signal {status - 128}" if status > 128 else f"ended with exit code {status}"
