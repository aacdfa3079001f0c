"""The artifacts of a machine that were built elsewhere: taken when all of their contents have come, checked, in place.

    ARTIFACTS/<key>/, .records/<key>    as if it had been built here (`pipeline.artifacts`)
    ARTIFACTS/.cache/tree-<key>         what lies in it, so that the next one with the same contents finds them
    ARTIFACTS/.arrivals/                contents that have come and lie in no artifact yet

What has no record does not exist: whatever is killed meanwhile, the same offer again goes on. Implements `ports.Depot`.
"""

import asyncio
import hashlib
import io
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from atoll.model.cache import ArtifactsSwept
from atoll.model.environment import DockerSpec
from atoll.model.errors import Conflict, Refused, Retryable, UserError
from atoll.model.state import Artifact
from atoll.model.wire_artifacts import ArtifactOffer, ArtifactView, ContentsView, SweepRequest
from atoll.pipeline.artifacts import Artifacts, Record, disk_trouble, remove_tree
from atoll.pipeline.cache.contents import write_all
from atoll.pipeline.cache.tree import Entry, Tree, Unusable, decoded, write
from atoll.pipeline.cache.zstd import ZstdDecompressor, ZstdError
from atoll.pipeline.collect import Collected
from atoll.pipeline.docker import Docker
from atoll.pipeline.images import tag_of
from atoll.pipeline.imaging import there
from atoll.pipeline.inputs import CHUNK_BYTES
from atoll.pipeline.key import KEY_LENGTH, Manifest
from atoll.pipeline.lock import lock
from atoll.pipeline.run import settle
from atoll.pipeline.ship.arrivals import Arrivals
from atoll.pipeline.ship.footing import footing
from atoll.pipeline.ship.frames import unpacked
from atoll.pipeline.ship.rehome import Rehomed, moved, rehomed

SPARE_BYTES = 256 << 20  # of the disk stay free: logs and databases of what runs go on growing
OTHERS_S = 120.0  # that another offer of the same artifact may take
_MOST_TREE_BYTES = 512 << 20  # of two million long paths
_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_IMAGE = re.compile(r"(?:[a-z0-9][\w.:/-]*@)?sha256:[0-9a-f]{64}")
_NAME = re.compile(r"(?:[a-z0-9][\w.:/-]*)?")

# Removes what no release needs, by limits of age in seconds and of bytes in all. "due": at most once a day; "plan": only tells it.
When = Literal["due", "now", "plan"]
Collect = Callable[[float, int, When], Collected]


class Depot:
    """One folder of artifacts. Its daemon alone calls it."""

    def __init__(self, artifacts: Path, collect: Collect, docker: DockerSpec | None = None) -> None:
        """`docker`: where images are, on an engine of containers."""
        self._docker = docker
        self._place = Artifacts(artifacts.resolve())
        self._arrivals = Arrivals(self._place.root / ".arrivals")
        self._collect = collect

    # --- Depot

    async def held(self, keys: Sequence[str]) -> Sequence[Artifact]:
        """Those that are complete; it counts as a use of each."""
        return await asyncio.to_thread(self._held, keys)

    async def keep(self, body: bytes) -> ContentsView:
        """Keep contents that came. Raises UserError for what is damaged, or when the disk is full."""
        return await asyncio.to_thread(self._keep, body)

    async def take(self, offer: ArtifactOffer) -> ArtifactView:
        """Complete it, or say what is missing. Raises Refused (it would not run here, no room), UserError, Conflict."""
        tree = await asyncio.to_thread(self._understood, offer)
        stands = await asyncio.to_thread(footing, offer.service, offer.artifact, offer.needs, self._place.root)
        key = offer.artifact.key
        try:
            await asyncio.to_thread(self._prepare)
            held = await lock(self._place.lock_path(key), OTHERS_S)
        except TimeoutError as exc:
            raise Conflict(
                f"the artifact {key[:12]} of {offer.service} is being taken by another command",
                f"it did not end within {OTHERS_S:g} s",
                "try again in a moment",
                id="build-busy",
            ) from exc
        except OSError as exc:
            raise _there(disk_trouble(exc, self._place.root)) from exc
        with held:
            stop = threading.Event()
            work = partial(self._taken, offer, tree, stands.pythons, stop)
            if offer.artifact.image is not None:
                work = partial(self._taken_image, offer, stop)
            # Never left behind: the lock is let go when nothing is written any more.
            view = await settle(asyncio.get_running_loop().run_in_executor(None, work), stop.set)
        if view.artifact is not None:
            await asyncio.to_thread(self._tidy, offer.max_age_s, offer.max_bytes, "due")
        return msgspec.structs.replace(view, warnings=stands.warnings)

    async def sweep(self, request: SweepRequest) -> ArtifactsSwept:
        """Now, whenever the last time was. Raises UserError, Retryable."""
        when: When = "plan" if request.plan else "now"
        done = await asyncio.to_thread(self._collect, request.max_age_s, request.max_bytes, when)
        return ArtifactsSwept(removed=len(done.removed), freed_bytes=done.freed_bytes, left_bytes=done.left_bytes)

    # --- in threads

    def _tidy(self, max_age_s: float, max_bytes: int, when: When) -> None:
        """What stands in its way is told by `sweep`, and stops nobody."""
        with suppress(UserError, Retryable, OSError):
            self._collect(max_age_s, max_bytes, when)

    def _prepare(self) -> None:
        try:
            self._place.prepare()
        except UserError as exc:
            raise _there(exc) from exc
        self._arrivals.prepare()

    def _held(self, keys: Sequence[str]) -> list[Artifact]:
        found = (self._place.find(key) for key in keys if _KEY.fullmatch(key))
        docker = Docker(self._docker) if self._docker is not None else None
        return [
            record.artifact
            for record in found
            if record is not None and (docker is None or there(record, docker) is not None)
        ]

    def _keep(self, body: bytes) -> ContentsView:
        try:
            self._prepare()
            self._room(len(body))
            kept, begun = self._arrivals.keep(unpacked(body))
        except Unusable as exc:
            raise UserError(
                "contents of an artifact arrived damaged",
                str(exc),
                "try again: what arrived well is kept, the rest is sent anew",
                id="artifact-damaged",
            ) from exc
        except OSError as exc:
            raise _there(disk_trouble(exc, self._place.root)) from exc
        return ContentsView(kept=kept, begun=begun)

    def _understood(self, offer: ArtifactOffer) -> Tree:
        """Its tree, which is what the artifact's digest says; an image has none. Raises UserError."""
        artifact, image = offer.artifact, offer.artifact.image
        try:
            if not _KEY.fullmatch(artifact.key) or not artifact.path.startswith("/"):
                raise Unusable("its key or its folder is none")
            if image is not None:
                if not _IMAGE.fullmatch(image.id) or not _NAME.fullmatch(offer.image_name):
                    raise Unusable("the name of its image is none")
                return Tree(())
            unpacking = ZstdDecompressor()
            tree = decoded(unpacking.decompress(offer.tree, max_length=_MOST_TREE_BYTES))
            if not unpacking.eof or tree.digest != artifact.digest:
                raise Unusable("its list of files is not that of its digest")
        except (Unusable, ZstdError) as exc:
            raise UserError(
                f"the artifact of {offer.service} is not what it says",
                str(exc),
                f"build it again: `atoll cache verify`, then `atoll deploy {offer.service}`",
                id="artifact-damaged",
            ) from exc
        return tree

    def _taken(
        self, offer: ArtifactOffer, tree: Tree, pythons: Mapping[str, str], stop: threading.Event
    ) -> ArtifactView:
        """The key is locked."""
        key = offer.artifact.key
        if (record := self._place.find(key)) is not None:
            return ArtifactView(artifact=record.artifact)
        try:
            sources = self._sources(tree)
            sizes = {entry.content: entry.size_bytes for entry in tree.files if entry.content not in sources}
            if sizes:
                self._room(tree.size_bytes + sum(sizes.values()), offer)
                return ArtifactView(missing=tuple(sizes), begun=self._arrivals.begun(sizes))
            self._room(tree.size_bytes, offer)
            artifact = self._placed(offer, tree, pythons, sources, stop)
            self._arrivals.drop({entry.content for entry in tree.files})
        except _Gone as exc:  # it was there a moment ago, and is not what it was: it is asked for like the rest
            return ArtifactView(missing=(exc.digest,))
        except OSError as exc:
            raise _there(disk_trouble(exc, self._place.root)) from exc
        return ArtifactView(artifact=artifact)

    def _taken_image(self, offer: ArtifactOffer, stop: threading.Event) -> ArtifactView:
        """One that dockerd has, or gets from the registry; the key is locked."""
        key, image, began = offer.artifact.key, offer.artifact.image, time.time()
        assert image is not None
        if self._docker is None:
            raise Refused(
                f"what was built of {offer.service} is an image, and this environment runs processes",
                "",
                "let its `engine` in atoll.toml be the same as the machine's",
                id="not-possible-here",
            )
        docker = Docker(self._docker)
        name = offer.image_name or (image.id if "@" in image.id else "")
        wanted = bool(name) and not docker.present(image.id)
        why = docker.pull(name, stop) if wanted else ""
        if not Docker(self._docker).present(image.id):
            how = "it was pushed to no registry"
            if name:
                how = f"its registry does not give it as {name}: {why or 'another image has that name there'}"
            raise Refused(
                f"the image of {offer.service} is not in the machine's dockerd",
                f"it is {image.id[:19]}, and {how}",
                "let both machines use one: `docker.registry` of the environment; or run `atoll deploy` on the machine itself",
                id="image-unavailable",
            )
        docker.tag(image.id, tag_of(offer.service, key, self._place.root))
        if wanted and not why and "@" not in name:
            docker.remove(name)
        docker.remember(self._place.cache)
        folder = self._place.folder(key)
        remove_tree(folder)
        folder.mkdir(mode=0o755)
        artifact = msgspec.structs.replace(offer.artifact, path=os.fspath(folder))
        self._place.finish(_record(offer, artifact, int(docker.inspect(image.id, "{{.Size}}")), began))
        return ArtifactView(artifact=artifact)

    def _sources(self, tree: Tree) -> dict[str, str]:
        """Content -> a file that has it, "" for one that has arrived; without those that are missing."""
        wanted = {entry.content for entry in tree.files}
        found = {digest: "" for digest in wanted if self._arrivals.contents.stored_bytes(digest) is not None}
        newest = sorted(self._place.complete(), key=lambda each: -each[1])
        for key, _ in newest:
            if len(found) == len(wanted):
                break
            folder = self._place.folder(key)
            with suppress(OSError, Unusable):  # one that was built here has no such list
                for entry in decoded(self._place.tree_path(key).read_bytes()).files:
                    if entry.content in wanted and entry.content not in found:
                        found[entry.content] = f"{folder}/{entry.path}"
        return found

    def _placed(
        self,
        offer: ArtifactOffer,
        tree: Tree,
        pythons: Mapping[str, str],
        sources: Mapping[str, str],
        stop: threading.Event,
    ) -> Artifact:
        """In its folder, sealed and recorded. Raises _Gone, Stopped, OSError."""
        key, began = offer.artifact.key, time.time()
        folder = self._place.folder(key)

        def original(entry: Entry) -> bytes:
            buffer = io.BytesIO()
            self._copy(entry, sources[entry.content], buffer.write)
            return buffer.getvalue()

        home = rehomed(tree, offer.artifact.path, os.fspath(folder), pythons, original)
        remove_tree(folder)
        try:
            write(home.tree, folder, lambda entry, to: self._fill(entry, to, home, sources), stop)
            self._place.tree_path(key).write_bytes(home.tree.encoded())
        except BaseException:
            remove_tree(folder)
            raise
        artifact = moved(offer.artifact, os.fspath(folder), home.tree.digest)
        self._place.finish(_record(offer, artifact, tree.size_bytes, began))
        return artifact

    def _fill(self, entry: Entry, to: int, home: Rehomed, sources: Mapping[str, str]) -> None:
        if (own := home.contents.get(entry.path)) is not None:
            write_all(to, own)
        else:
            self._copy(entry, sources[entry.content], lambda chunk: write_all(to, chunk))

    def _copy(self, entry: Entry, source: str, put: Callable[[bytes], object]) -> None:
        """A content as it was sent: from another artifact, or from what has arrived; hashed on the way. Raises _Gone."""
        try:
            if source:
                hashed, left = hashlib.sha256(), entry.size_bytes
                with Path(source).open("rb", buffering=0) as file:
                    while chunk := file.read(CHUNK_BYTES):
                        if (left := left - len(chunk)) < 0:
                            break  # of another size than was said, and asked for room for
                        hashed.update(chunk)
                        put(chunk)
                if left or hashed.hexdigest() != entry.content:
                    raise Unusable("it was changed")
            else:
                self._arrivals.contents.read(entry.content, entry.size_bytes, put)
        except (Unusable, FileNotFoundError) as exc:
            if not source:
                self._arrivals.drop([entry.content])
            raise _Gone(entry.content) from exc

    def _room(self, wanted_bytes: int, offer: ArtifactOffer | None = None) -> None:
        """Whether the disk has so much more; what nobody needs goes first. Raises Refused."""
        if self._free() >= wanted_bytes + SPARE_BYTES:
            return
        if offer is not None:
            self._arrivals.tidy()
            self._tidy(offer.max_age_s, 0, "now")
        if (free := self._free()) < wanted_bytes + SPARE_BYTES:
            raise Refused(
                f"the machine's disk has no room for {'the artifact of ' + offer.service if offer else 'more contents'}",
                f"it takes {_mib(wanted_bytes)}, {_mib(free)} are free below {self._place.root}, and {_mib(SPARE_BYTES)} stay free",
                "free some space there; kept releases need their artifacts, so these were not touched",
                id="disk-full",
            )

    def _free(self) -> int:
        return shutil.disk_usage(self._place.root).free


class _Gone(Exception):
    """A content that was there is not."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest


def _record(offer: ArtifactOffer, artifact: Artifact, size_bytes: int, began: float) -> Record:
    """What it was built of is known where it was built."""
    nothing = Manifest(
        builder=artifact.builder,
        recipe=0,
        steps=(),
        outputs=(),
        env={},
        tools={},
        platform=artifact.platform,
        inputs=(),
    )
    now = time.time()
    return Record(
        artifact=artifact,
        manifest=nothing,
        service=offer.service,
        size_bytes=size_bytes,
        seconds=now - began,
        wall=now,
    )


def _there(exc: UserError) -> Refused:
    """The same of this machine, for who sits at another one."""
    return Refused(
        f"the environment's machine cannot keep artifacts: {exc.what}",
        exc.why,
        f"on that machine: {exc.fix}; nothing was changed",
        id=exc.id,
    )


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"
