"""Builds services, in parallel and each on its own: one service's failure is its own.

Called by the CLI; needs no daemon. `build_all` is the way in; `_Build.make` reads like the order of events. What an
artifact is on the disk is `artifacts`' business, what goes in is `inputs`', what is run is `detect`'s.
"""

import asyncio
import errno
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from atoll.model.catalogue.ids import ErrorId
from atoll.model.errors import BuildFailed, UserError
from atoll.model.spec import ServiceSpec
from atoll.model.state import Artifact
from atoll.pipeline import inputs
from atoll.pipeline.artifacts import Artifacts, Record, Stage, disk_trouble, seal
from atoll.pipeline.detect import TOOLCHAINS, Plan, plan
from atoll.pipeline.environment import build_environment
from atoll.pipeline.globs import matcher
from atoll.pipeline.inputs import Input
from atoll.pipeline.key import Manifest, differences, key_of
from atoll.pipeline.lock import Lock, lock, try_lock
from atoll.pipeline.provide import Shelf
from atoll.pipeline.run import Output, run, settle
from atoll.pipeline.scope import Scoped, scoped
from atoll.pipeline.toolchains import Chosen, Missing, Toolchains, asked_language
from atoll.pipeline.tools import Tools, this_platform
from atoll.ports import Step

T = TypeVar("T")
Phase = Literal["hashing", "queued", "waiting", "fetching", "building", "sealing", "cached", "done", "failed"]

WHY_SHOWN = 3  # sentences of what changed; the rest is counted
LINE_EVERY_S = 0.1  # a terminal shows no more
LOW_BYTES = 1 << 20  # free space below which a failed step failed for want of it

# The run description is no input: changing it needs no rebuild.
OURS = frozenset({"service.toml", "atoll.toml"})


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where one service's build is. The last one of each service is cached, done or failed."""

    service: str
    phase: Phase
    step: int = 0  # 1 .. steps, while building
    steps: int = 0
    label: str = ""  # of the step; what is fetched; why it failed; when done, what changed since the build before
    seconds: float = 0.0  # since build_all began
    line: str = ""  # the last one that was printed


async def build_all(
    specs: Sequence[ServiceSpec],
    *,
    root: Path,
    artifacts: Path,
    toolchains: Path,
    jobs: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> Mapping[str, Artifact | BuildFailed]:
    """Build every service that is not built yet, and return each one's artifact or why it has none.

    Cancelled, it ends every build's process tree and removes what they made before it raises.

    Args:
        specs: the services, for one environment.
        root: the workspace's folder, absolute; `spec.folder` is relative to it.
        artifacts: the artifacts folder, shared with other processes; made when missing.
        toolchains: the folder of toolchains that were fetched for the workspace; the same.
        jobs: builds at one time, >= 1; None is one a CPU.
        on_progress: called on the event loop, often; must not block.

    Raises:
        UserError: the artifacts folder cannot be used at all.
    """
    place = Artifacts(artifacts.resolve())
    await settle(asyncio.get_running_loop().run_in_executor(None, _open, place))
    environment = build_environment(os.environ, {}, os.fspath(place.staging))
    shelf = Shelf(toolchains)
    shop = _Shop(
        root=root.absolute(),
        artifacts=place,
        tools=Tools(place.cache / "tools", environment),
        toolchains=Toolchains(environment, shelf.homes),
        shelf=shelf,
        path=environment["PATH"],
        slots=asyncio.Semaphore(jobs or os.cpu_count() or 1),
        on_progress=on_progress,
        began=time.monotonic(),
    )
    results: dict[str, Artifact | BuildFailed] = {}

    async def one(spec: ServiceSpec) -> None:
        results[spec.name] = await _Build(shop, spec).result()

    async with asyncio.TaskGroup() as tasks:
        for spec in specs:
            tasks.create_task(one(spec), name=f"build {spec.name}")
    return {spec.name: results[spec.name] for spec in specs}


def _open(place: Artifacts) -> None:
    place.prepare()
    try:
        place.sweep()
    except OSError as exc:
        raise disk_trouble(exc, place.root) from exc


class _Shop(msgspec.Struct, frozen=True, kw_only=True):
    """What the builds of one call share."""

    root: Path
    artifacts: Artifacts
    tools: Tools
    toolchains: Toolchains
    shelf: Shelf
    path: str  # the PATH of builds
    slots: asyncio.Semaphore
    on_progress: Callable[[Progress], None]
    began: float


class _Order(msgspec.Struct, frozen=True, kw_only=True):
    """One build, fully said: its key, what the key stands for, and what to run."""

    key: str
    manifest: Manifest
    plan: Plan
    files: frozenset[str]
    env: Mapping[str, str]  # variables of its steps: of the toolchain, and declared
    at_run: Mapping[str, str]  # what the finished service needs of the toolchain, like Builder.command_env


class _Build:
    """The build of one service."""

    def __init__(self, shop: _Shop, spec: ServiceSpec) -> None:
        self.shop, self.spec, self.artifacts = shop, spec, shop.artifacts
        self.folder = Path(os.path.normpath(shop.root / spec.folder / spec.build.context))
        self.stop = threading.Event()
        self.now = Progress(service=spec.name, phase="hashing")
        self._line = ""
        self._line_due: asyncio.TimerHandle | None = None

    async def result(self) -> Artifact | BuildFailed:
        """The artifact, or the failure that is this service's own."""
        try:
            return await self.make()
        except BuildFailed as exc:
            failed = exc
        except UserError as exc:
            failed = BuildFailed(
                self.spec.name, f"{exc.what}: {exc.why}" if exc.why else exc.what, fix=exc.fix, id=exc.id
            )
            failed.__cause__ = exc
        except OSError as exc:
            trouble = disk_trouble(exc, self.artifacts.root)
            failed = BuildFailed(self.spec.name, f"{trouble.what}: {trouble.why}", fix=trouble.fix, id=trouble.id)
            failed.__cause__ = exc
        self.tell("failed", label=failed.what)
        return failed

    async def make(self) -> Artifact:
        """Find it, or copy the inputs, wait for whoever builds the same, build, seal and record it."""
        self.tell("hashing")
        if record := await self.thread(self.look_up):
            return self.tell("cached", record.artifact)
        self.tell("queued")
        async with self.shop.slots:
            stage = self.artifacts.stage()  # not in a thread: a cancellation must not lose it
            try:
                taken = await self.thread(lambda: self.copy(stage))
                order = await self.equipped(stage.tree, taken)
                with await self.turn(order.key) as held:
                    if record := await self.thread(lambda: self.artifacts.find(order.key)):
                        return self.tell("cached", record.artifact)
                    why = await self.thread(lambda: self.why(order))
                    artifact = await self.build(order, stage, held)
                    await self.thread(lambda: self.newest.write_text(order.key))
                    return self.tell("done", artifact, label=why)
            finally:
                await self.thread(lambda: self.artifacts.drop(stage))

    @property
    def newest(self) -> Path:
        """Names the artifact that was built last for this service: only to say what has changed since."""
        return self.artifacts.cache / f"newest-{self.spec.name}"

    def why(self, order: _Order) -> str:
        """What is not as it was in the build before: `orders.py changed`; "" when there was none."""
        try:
            before = self.artifacts.find(self.newest.read_text(), use=False)
        except OSError:
            return ""
        said = differences(before.manifest, order.manifest) if before else ()
        more = len(said) - WHY_SHOWN
        return "; ".join(said[:WHY_SHOWN]) + (f"; and {more} more" if more > 0 else "")

    def look_up(self) -> Record | None:
        """The artifact of the files as they are now, by remembered hashes and tool versions."""
        memory = self.artifacts.cache / f"files-{self.spec.name}"
        try:
            cut = self.select()
            taken = inputs.fingerprint(self.folder, cut.entries, memory, self.stop, cut.rewritten)
            key = self.order(self.folder, taken, fresh=False).key
        except UserError:
            return None  # judged where it counts, in the copy: the folder around the original may mislead a tool
        held = try_lock(self.artifacts.lock_path(key), shared=True)
        if held is None:
            return None  # being built or removed right now: wait for our turn
        with held:
            return self.artifacts.find(key)

    def copy(self, stage: Stage) -> tuple[Input, ...]:
        """Copy the inputs; the order is made of the copy, so that the key tells what is built."""
        cut = self.select()
        return inputs.copy(self.folder, cut.entries, stage.tree, self.stop, cut.rewritten)

    async def equipped(self, tree: Path, taken: tuple[Input, ...]) -> _Order:
        """The order; a toolchain that is missing is fetched first where that is allowed."""
        try:
            return await self.thread(lambda: self.order(tree, taken, fresh=True))
        except Missing as missing:
            if not self.spec.build.provide or missing.toolchain.wheel is None:
                raise
            toolchain, wish = missing.toolchain, missing.wish

        def say(text: str) -> None:
            self.tell("fetching", label=text)

        await self.shop.shelf.fetch(toolchain, wish, root=self.shop.root, asker=self.spec.name, say=say)
        return await self.thread(lambda: self.order(tree, taken, fresh=True))

    def select(self) -> Scoped:
        """The service's files, cut to what it reaches. A repository's top, or a context above the service, holds others': theirs are no input."""
        found = inputs.select(
            self.folder,
            self.spec.build.inputs,
            root=Path(os.path.normpath(self.shop.root / self.spec.root)),
            skip=OURS,
            artifacts=self.artifacts.root,
        )
        if self.spec.build.context == "." and self.spec.folder != self.spec.root:
            return Scoped(found)
        return scoped(self.spec, [entry for entry in found if entry.path.rpartition("/")[2] not in OURS], self.folder)

    def order(self, folder: Path, taken: tuple[Input, ...], *, fresh: bool) -> _Order:
        """The build of the inputs `taken` that lie in `folder`."""
        files = frozenset(item.path for item in taken)
        planned = plan(self.spec, files, folder)
        toolchain = asked_language(self.spec, TOOLCHAINS) or planned.builder.toolchain
        chosen = self.shop.toolchains.choose(self.spec, toolchain, self.shop.root) if toolchain else Chosen()
        env = chosen.environment(self.spec.build.env, self.shop.path)
        tools = self.shop.tools.identify(planned.tools, folder, taken, env, fresh=fresh)
        if chosen.found is not None:
            tools["toolchain"] = f"{chosen.found.version} in {chosen.found.bin}"
        manifest = Manifest(
            builder=planned.builder.name,
            recipe=planned.builder.recipe,
            steps=planned.steps,
            outputs=self.spec.build.outputs,
            env=self.spec.build.env,
            tools=tools,
            platform=this_platform(),
            inputs=taken,
        )
        return _Order(key=key_of(manifest), manifest=manifest, plan=planned, files=files, env=env, at_run=chosen.at_run)

    async def turn(self, key: str) -> Lock:
        """The key's lock; somebody else who builds the same is waited for."""
        patience_s = self.spec.build.timeout_s + 60.0
        waiting = asyncio.get_running_loop().call_later(0.2, lambda: self.tell("waiting"))
        try:
            return await lock(self.artifacts.lock_path(key), patience_s)
        except TimeoutError as exc:
            raise BuildFailed(
                self.spec.name,
                f"another process has been building the same for {patience_s:.0f} s",
                fix=f"end the process that holds {self.artifacts.lock_path(key)}",
                id="build-busy",
            ) from exc
        finally:
            waiting.cancel()

    async def build(self, order: _Order, stage: Stage, held: Lock) -> Artifact:
        """Run the steps at the final place; there is a complete artifact after, or nothing at all."""
        began = time.monotonic()
        try:
            folder = await self.thread(lambda: self.artifacts.place(stage, order.key))
            await self.run_steps(order, folder, stage, held)
            self.tell("sealing")
            return await self.thread(lambda: self.finish(order, folder, time.monotonic() - began))
        except BaseException:
            self.stop.clear()  # the removal is work again
            await self.thread(lambda: self.artifacts.remove(order.key))
            raise

    async def run_steps(self, order: _Order, folder: Path, stage: Stage, held: Lock) -> None:
        """Run them one after the other. Raises BuildFailed for the first that ends badly, or for the time limit."""
        steps = order.plan.steps
        if not steps:
            return
        output = Output(self.artifacts.logs / f"{self.spec.name}-{order.key[:12]}", self.line)
        base = build_environment(os.environ, order.env, os.fspath(stage.temporary))
        limit = asyncio.timeout(self.spec.build.timeout_s)
        try:
            async with limit:
                for number, step in enumerate(steps, 1):
                    self.tell("building", step=number, steps=len(steps), label=step.label)
                    output.begin(step.command.text)
                    held_fds = (held.fd, stage.lock.fd)
                    env = {**base, **step.env}
                    try:
                        status = await run(self.argv(step, order), folder=folder, env=env, output=output, held=held_fds)
                    except OSError as exc:
                        raise self.failure(f"step {number} could not be started: {exc}", output) from exc
                    if status != 0:
                        raise self.failure(f"step {number} of {len(steps)} ({step.label}) {_ended(status)}", output)
        except TimeoutError:
            if not limit.expired():
                raise
            raise self.failure(
                f"the build took longer than {self.spec.build.timeout_s:g} s", output, "raise [build] timeout; "
            ) from None
        finally:
            output.close()

    def argv(self, step: Step, order: _Order) -> tuple[str, ...]:
        """What is really started: uv may lie beside Atoll and not on the PATH."""
        if step.command.shell is not None:
            return ("/bin/sh", "-c", step.command.shell)
        name, *rest = step.command.argv
        found = self.shop.tools.find(name, order.env) if name == "uv" else None
        return (found or name, *rest)

    def failure(self, what: str, output: Output, fix: str = "") -> BuildFailed:
        """A failed build with what it printed last, and with the disk's part in it."""
        disk = os.statvfs(self.artifacts.root)
        said = output.last()
        id: ErrorId = "build-step-failed"
        if disk.f_bavail * disk.f_frsize < LOW_BYTES or "ENOSPC" in said or "No space left on device" in said:
            trouble = disk_trouble(OSError(errno.ENOSPC, "no space left"), self.artifacts.root)
            what, fix = f"{what}; {trouble.what}", f"{trouble.fix}; "
            id = trouble.id
        return BuildFailed(self.spec.name, what, said, fix=f"{fix}the whole output is in {output.path}", id=id)

    def finish(self, order: _Order, folder: Path, seconds: float) -> Artifact:
        """Make it read-only and complete."""
        digest, size_bytes = seal(folder, matcher(self.spec.build.outputs), self.stop)
        builder = order.plan.builder
        artifact = Artifact(
            key=order.key,
            digest=digest,
            builder=builder.name,
            platform=order.manifest.platform,
            path=os.fspath(folder),
            command_env=_joined(builder.command_env(self.spec, order.files, folder), order.at_run),
        )
        self.artifacts.finish(
            Record(
                artifact=artifact,
                manifest=order.manifest,
                service=self.spec.name,
                size_bytes=size_bytes,
                seconds=seconds,
                wall=time.time(),
            )
        )
        return artifact

    # --- telling --------------------------------------------------------------------------------------------------

    def tell(self, phase: Phase, result: T = None, *, step: int = 0, steps: int = 0, label: str = "") -> T:  # type: ignore[assignment]
        """Say where the build is; returns `result`."""
        if self._line_due is not None:
            self._line_due.cancel()
            self._line_due = None
        self.now = Progress(
            service=self.spec.name, phase=phase, step=step, steps=steps, label=label, seconds=self.seconds()
        )
        self.shop.on_progress(self.now)
        return result

    def line(self, text: str) -> None:
        """Show a line of output: soon, and not too often; the newest one then."""
        self._line = text
        if self._line_due is None:
            self._line_due = asyncio.get_running_loop().call_later(LINE_EVERY_S, self.show_line)

    def show_line(self) -> None:
        """Show the newest line."""
        self._line_due = None
        self.now = msgspec.structs.replace(self.now, line=self._line, seconds=self.seconds())
        self.shop.on_progress(self.now)

    def seconds(self) -> float:
        """Since build_all began."""
        return time.monotonic() - self.shop.began

    async def thread(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, which is never left behind: a cancellation tells it to stop and waits."""
        return await settle(asyncio.get_running_loop().run_in_executor(None, work), self.stop.set)


def _joined(first: Mapping[str, str], then: Mapping[str, str]) -> dict[str, str]:
    """Two parts of a command's environment; the entries of a path ("PATH+") one after the other."""
    paths = {name: f"{first[name]}:{text}" for name, text in then.items() if name.endswith("+") and name in first}
    return {**then, **first, **paths}


def _ended(status: int) -> str:
    if status == 127:
        return "ended with exit code 127: the command was not found"
    return f"was killed by signal {status - 128}" if status > 128 else f"ended with exit code {status}"
