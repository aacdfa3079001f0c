"""Toolchains that this machine lacks, fetched as wheels from the Python package index into the workspace's own folder.

Called by `build` for a service that says `[build] provide = true`, and by `atoll toolchain`. Each is kept like an
artifact (see `artifacts`): under a key made of exact version and hashes, read-only, complete or not there at all,
whoever was killed meanwhile. Once it is there no network is needed.
"""

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from atoll.model.building import Toolchain, Wheel
from atoll.model.errors import BuildFailed
from atoll.model.state import Artifact
from atoll.pipeline.artifacts import Artifacts, Record, Stage, disk_trouble, seal
from atoll.pipeline.environment import build_environment
from atoll.pipeline.index import index_environment
from atoll.pipeline.key import Manifest, key_of
from atoll.pipeline.lock import Lock, lock, try_lock
from atoll.pipeline.run import Output, run, settle
from atoll.pipeline.tools import find_program, this_platform
from atoll.pipeline.wishes import Wish

T = TypeVar("T")

FETCH_TIMEOUT_S = 900.0  # some hundred MB over a slow line, or another process doing the same
_RECIPE = 1  # raised when the same wheel comes to be kept in another way
_PINNED = re.compile(r"^\S+?==(\S+)", re.MULTILINE)
_INDEX = re.compile(r"^\s+# from (\S+)", re.MULTILINE)
_WHEELS_ONLY = ("--no-deps", "--only-binary", ":all:", "--python", sys.executable)  # nothing of a package is run


class Provided(msgspec.Struct, frozen=True, kw_only=True):
    """A toolchain that was fetched."""

    key: str
    language: str
    version: str  # of the wheel
    home: str  # the folder with its `bin`
    size_bytes: int


class Shelf:
    """The folder of fetched toolchains of one workspace, shared by any number of processes."""

    def __init__(self, folder: Path) -> None:
        self.artifacts = Artifacts(folder.resolve())

    def all(self) -> list[Provided]:
        """What is there, complete. Blocking."""
        if not self.artifacts.records.is_dir():
            return []
        keys = sorted(key for key, _ in self.artifacts.complete())
        return [_provided(record) for key in keys if (record := self.artifacts.find(key, use=False))]

    def homes(self, toolchain: Toolchain) -> list[str]:
        """The home folders of one language. Blocking."""
        return [each.home for each in self.all() if each.language == toolchain.name]

    async def fetch(
        self, toolchain: Toolchain, wish: Wish, *, root: Path, asker: str, say: Callable[[str], None]
    ) -> Provided:
        """Fetch the newest that fits, unless exactly that one is there already.

        Args:
            toolchain: of a language that has a wheel.
            wish: the version.
            root: the workspace's folder; uv and pip may be configured there.
            asker: for whom, as an error names it: a service, or "go@1.24".
            say: takes one line, as soon as it is known what comes from where.

        Raises:
            BuildFailed: no such version, no network, a hash that differs, no space; nothing is left behind.
        """
        assert toolchain.wheel is not None
        try:
            self.artifacts.prepare()
            self.artifacts.sweep()
            stage = self.artifacts.stage()
        except OSError as exc:
            raise _disk(asker, exc, self.artifacts.root) from exc
        fetch = _Fetch(self.artifacts, toolchain, toolchain.wheel, stage, root, asker, wish.version)
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                return await fetch.make(wish, say)
        except TimeoutError as exc:
            raise fetch.failure(f"it took longer than {FETCH_TIMEOUT_S:g} s") from exc
        except OSError as exc:
            raise _disk(asker, exc, self.artifacts.root) from exc
        finally:
            fetch.output.close()
            await fetch.thread(lambda: self.artifacts.drop(stage))

    def users(self, provided: Provided, artifacts: Path) -> list[str]:
        """The services of which a built artifact needs it to run. Blocking."""
        built = Artifacts(artifacts.resolve())
        if not built.records.is_dir():
            return []
        records = (built.find(key, use=False) for key, _ in built.complete())
        needing = {
            record.service
            for record in records
            if record and any(provided.home in text for text in record.artifact.command_env.values())
        }
        return sorted(needing)

    def remove(self, provided: Provided) -> bool:
        """Remove it; False when another process holds it just now. Blocking."""
        if (held := try_lock(self.artifacts.lock_path(provided.key))) is None:
            return False
        with held:
            self.artifacts.remove(provided.key)
            held.path.unlink(missing_ok=True)
        return True


class _Fetch:
    """One toolchain on its way."""

    def __init__(
        self,
        artifacts: Artifacts,
        toolchain: Toolchain,
        wheel: Wheel,
        stage: Stage,
        root: Path,
        asker: str,
        wanted: str,
    ) -> None:
        self.artifacts, self.toolchain, self.wheel, self.stage = artifacts, toolchain, wheel, stage
        self.root, self.asker, self.wanted = root, asker, wanted
        self.output = Output(artifacts.logs / toolchain.name, lambda _: None)
        self.stop = threading.Event()
        self.began = time.monotonic()
        outer = build_environment(os.environ, {}, os.fspath(stage.temporary))
        # Copies, never links into uv's cache: what is kept becomes read-only.
        ours = {"UV_LINK_MODE": "copy", "UV_NO_PROGRESS": "1"}
        self.env = {**outer, **index_environment(outer, root), **ours}

    async def make(self, wish: Wish, say: Callable[[str], None]) -> Provided:
        """Ask for version and hashes, then install exactly that, try it, and make it read-only."""
        pinned = await self.resolve(wish)
        version = pinned[1]
        manifest = Manifest(
            builder=f"toolchain {self.toolchain.name}",
            recipe=_RECIPE,
            steps=(),
            outputs=(),
            env={},
            tools={self.wheel.distribution: " ".join(sorted(re.findall(r"sha256:[0-9a-f]+", pinned[0])))}
            | {"version": version},
            platform=this_platform(),
            inputs=(),
        )
        key = key_of(manifest)
        with await lock(self.artifacts.lock_path(key), FETCH_TIMEOUT_S) as held:
            if record := await self.thread(lambda: self.artifacts.find(key)):
                return _provided(record)
            say(f"fetching {self.toolchain.name}: {self.wheel.distribution} {version} from {pinned[2]}")
            try:
                folder = await self.thread(lambda: self.artifacts.place(self.stage, key))
                await self.install(folder, held)
                await self.check(folder / self.wheel.home, held)
                return _provided(await self.thread(lambda: self.finish(folder, key, manifest)))
            except BaseException:
                self.stop.clear()  # the removal is work again
                await self.thread(lambda: self.artifacts.remove(key))
                raise

    async def resolve(self, wish: Wish) -> tuple[str, str, str]:
        """Requirements with hashes, the exact version, and the index that said so (without a password)."""
        wanted, pinned = self.stage.temporary / "wanted.in", self.stage.temporary / "pinned.txt"
        wanted.write_text(f"{self.wheel.distribution}{wish.requirement}\n")
        options = ("--generate-hashes", "--emit-index-annotation", "--no-annotate", "--no-header", "--quiet")
        await self.uv("compile", *options, *_WHEELS_ONLY, "--output-file", str(pinned), str(wanted))
        text = pinned.read_text()
        version, index = _PINNED.search(text), _INDEX.search(text)
        if version is None or "sha256:" not in text:
            raise self.failure("the package index names no hashes, so that nothing could be verified")
        return text, version[1].rstrip("\\"), index[1] if index else "the configured index"

    async def install(self, folder: Path, held: Lock) -> None:
        """Into its final place, refused when a hash differs; and the links that a wheel cannot hold."""
        pinned = str(self.stage.temporary / "pinned.txt")
        await self.uv("install", "--require-hashes", "-r", pinned, *_WHEELS_ONLY, "--target", str(folder), held=held)
        for name, target in self.wheel.links.items():
            link = folder / self.wheel.home / name
            if (link.parent / target).is_file():
                (link.parent / target).chmod(0o755)
                link.unlink(missing_ok=True)
                link.symlink_to(target)

    async def check(self, home: Path, held: Lock) -> None:
        """Whether it runs on this machine: a wheel may fit by its name and lack a library."""
        argv = (str(home / "bin" / self.toolchain.program), *self.toolchain.version)
        await self.run(argv, {**self.env, **self.toolchain.env}, held)

    def finish(self, folder: Path, key: str, manifest: Manifest) -> Record:
        """Make it read-only and complete."""
        digest, size_bytes = seal(folder, lambda _: True, self.stop)
        artifact = Artifact(
            key=key, digest=digest, builder=manifest.builder, platform=manifest.platform, path=os.fspath(folder)
        )
        record = Record(
            artifact=artifact,
            manifest=manifest,
            service=f"{self.toolchain.name}:{self.wheel.home}",
            size_bytes=size_bytes,
            seconds=time.monotonic() - self.began,
            wall=time.time(),
        )
        self.artifacts.finish(record)
        return record

    async def uv(self, *arguments: str, held: Lock | None = None) -> None:
        """Run `uv pip`."""
        uv = find_program("uv", self.env.get("PATH"))
        if uv is None:
            raise self.failure("uv is missing: it is not on the PATH", "pip install uv; ")
        await self.run((uv, "pip", *arguments), self.env, held)

    async def run(self, argv: tuple[str, ...], env: Mapping[str, str], held: Lock | None) -> None:
        """Run a command in the workspace's folder to its end. Raises BuildFailed when that is a bad one."""
        self.output.begin(" ".join(argv))
        fds = (self.stage.lock.fd, *((held.fd,) if held else ()))
        status = await run(argv, folder=self.root, env=env, output=self.output, held=fds)
        if status != 0:
            raise self.failure(f"`{' '.join((Path(argv[0]).name, *argv[1:3]))}` ended with exit code {status}")

    def failure(self, why: str, fix: str = "") -> BuildFailed:
        """It could not be had."""
        by_hand = self.toolchain.fix.format(version=self.wanted or "VERSION")
        return BuildFailed(
            self.asker,
            f"{self.toolchain.name} could not be fetched ({self.wheel.distribution}): {why}",
            self.output.last(),
            fix=f"{fix}see what uv says, and which index it asks (UV_DEFAULT_INDEX, uv.toml, pip.conf); or {by_hand}",
            id="fetch-failed",
        )

    async def thread(self, work: Callable[[], T]) -> T:
        """Do blocking work in a thread, which is never left behind: a cancellation tells it to stop and waits."""
        return await settle(asyncio.get_running_loop().run_in_executor(None, work), self.stop.set)


def _provided(record: Record) -> Provided:
    language, _, home = record.service.partition(":")
    return Provided(
        key=record.artifact.key,
        language=language,
        version=record.manifest.tools["version"],
        home=f"{record.artifact.path}/{home}",
        size_bytes=record.size_bytes,
    )


def _disk(asker: str, exc: OSError, root: Path) -> BuildFailed:
    trouble = disk_trouble(exc, root)
    return BuildFailed(asker, f"{trouble.what}: {trouble.why}", fix=trouble.fix, id=trouble.id)
