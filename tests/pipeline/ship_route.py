"""An artifact on its way to a machine, for the tests of `atoll deploy` to another one."""

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path

from atoll.model.state import Artifact
from atoll.model.wire_artifacts import ArtifactOffer, ArtifactView, ContentsView
from atoll.pipeline.artifacts import seal
from atoll.pipeline.cache.tree import Tree, read
from atoll.pipeline.cache.zstd import compress
from atoll.pipeline.collect import Collected
from atoll.pipeline.ship.depot import Depot
from atoll.pipeline.ship.frames import unpacked
from atoll.pipeline.ship.sending import Sending
from atoll.pipeline.ship.survey import Surveyed, survey
from atoll.pipeline.tools import this_platform

KEYS = [letter * 40 for letter in "abcdef"]


class Route:
    """An artifact's maker on one side, a depot on the other, and what went from the one to the other."""

    def __init__(self, root: Path) -> None:
        self.root, self.theirs = root, root / "machine" / "artifacts"
        self.depot = Depot(self.theirs, lambda *_: Collected())
        self.bodies: list[bytes] = []
        self.answer: Callable[[bytes], bytes | None] = lambda body: body

    def made(self, key: str, files: dict[str, bytes], links: dict[str, str] | None = None) -> Artifact:
        folder = self.root / "here" / key
        folder.mkdir(parents=True)
        for name, data in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(0o755 if name.startswith("bin/") else 0o644)
            os.utime(path, ns=(10**18, 10**18))
        for name, target in (links or {}).items():
            (folder / name).symlink_to(target)
        return self.sealed(key)

    def sealed(self, key: str) -> Artifact:
        folder = self.root / "here" / key
        digest, _ = seal(folder, lambda _: True, threading.Event())
        return Artifact(key=key, digest=digest, builder="command", platform=this_platform(), path=str(folder))

    def offer(self, artifact: Artifact, surveyed: Surveyed | None = None) -> ArtifactOffer:
        surveyed = surveyed or survey(artifact, None, threading.Event())
        tree = compress(surveyed.tree.encoded())
        return ArtifactOffer(service="orders", artifact=artifact, tree=tree, needs=surveyed.needs)

    def take(self, artifact: Artifact) -> ArtifactView:
        return asyncio.run(self.depot.take(self.offer(artifact)))

    def put(self, body: bytes) -> ContentsView:
        self.bodies.append(body)
        if (through := self.answer(body)) is None:
            raise ConnectionError("the line was cut")
        return asyncio.run(self.depot.keep(through))

    def send(self, artifact: Artifact) -> Artifact:
        """As a command does it."""
        surveyed = survey(artifact, None, threading.Event())
        for _ in range(3):
            view = asyncio.run(self.depot.take(self.offer(artifact, surveyed)))
            if view.artifact is not None:
                return view.artifact
            Sending(surveyed.files, self.put, lambda *_: None).send(view.missing, view.begun)
        raise AssertionError(view)

    @property
    def sent(self) -> int:
        """Contents, whole ones and parts."""
        return sum(len(list(unpacked(body))) for body in self.bodies)


def seen(folder: str) -> Tree:
    return read(Path(folder), lambda path: hashlib.sha256(Path(path).read_bytes()).hexdigest())


def artifact(platform: str = "linux-x86_64-glibc2.36", **fields: object) -> Artifact:
    return Artifact(key=KEYS[0], digest="", builder="go", platform=platform, path="/here", **fields)  # type: ignore[arg-type]
