"""The run of a task `image`: as any other one, but that its result is dockerd's, and a registry its cache.

Called by `work`. The folder of the result has what Docker said of the image; whoever prunes the image behind our back takes
the result away with it, so both are looked for.
"""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from atoll.model.errors import UserError
from atoll.model.state import Artifact
from atoll.pipeline import images
from atoll.pipeline.artifacts import Artifacts, Record, Stage
from atoll.pipeline.docker import Docker, trouble
from atoll.pipeline.images import Built, image_in
from atoll.pipeline.kept import Found
from atoll.pipeline.making import Made, Making
from atoll.pipeline.order import Order


def there(record: Record | None, docker: Docker) -> Record | None:
    """A record whose image, if it is of one, is still there. Raises UserError when nobody can say."""
    image = record.artifact.image if record else None
    return record if image is None or docker.present(image.id) else None


def settled(record: Record, artifacts: Artifacts, docker: Docker, believed: Iterable[str]) -> bool:
    """Whether nothing is left to do for it: a registry has the image, where one keeps them for others."""
    key = record.artifact.key
    if record.artifact.image is None or not docker.registry or record.manifest.builder == images.PREBUILT:
        return True
    return _text(artifacts.pushed_path(key)) in {
        images.shared_tag(docker.registry, record.service, key, namespace) for namespace in believed
    }


class ImageMaking(Making):
    """See the module."""

    def find(self, key: str) -> Record | None:
        """See `Making.find`: the image must be there, too."""
        return there(super().find(key), self.shop.docker)

    def environment(self, ordered: Order, stage: Stage) -> Mapping[str, str]:
        """Also which dockerd, which of its builders, and what the image shall be called."""
        named = {images.KEY: ordered.key, images.TAG: self.tag(ordered)}
        return {**self.shop.docker.env, **super().environment(ordered, stage), **named}

    def trouble(self, said: str) -> UserError | None:
        """What Docker's words mean; a full disk is dockerd's then."""
        if (found := trouble(said, self.work.image.ref if self.work.image else "")) is not None:
            return UserError(found.what, "", found.fix, id=found.id)
        return super().trouble(said)

    async def hand_on(self, made: Made) -> Made:
        """Push it, where nobody has yet. What stands in the way of that is told and fails nothing: the image is here."""
        docker, artifact = self.shop.docker, made.artifact
        if artifact is None or artifact.image is None or not self.shares:
            return made
        image, mark = artifact.image.id, self.artifacts.pushed_path(artifact.key)
        if _text(mark) in {self.shared(artifact.key, namespace) for namespace in self.shop.believed}:
            return made
        name = self.shared(artifact.key, self.shop.namespace)
        last = len(made.manifest.steps) if made.manifest else 0
        self.tell("building", step=last, steps=last, label=f"push to {docker.registry}")
        if why := await self.thread(lambda: docker.push(image, name, self.stop)):
            self.shop.tell(f"{self.work.name} was not pushed, so that other machines will build it: {why}")
        else:
            mark.write_text(name, encoding="utf-8")
        return made

    def restore(self, ordered: Order, stage: Stage | None = None) -> Found | None:
        """An image that another machine has pushed."""
        if not self.shares or stage is None:
            return None
        began, docker = time.monotonic(), self.shop.docker
        for namespace in sorted(self.shop.believed):
            name = self.shared(ordered.key, namespace)
            if docker.pull(name, self.stop):
                continue  # it is not there, or the registry cannot be used: it is built
            said = docker.inspect(name, images.FORMAT)
            try:
                ours = images.built(said.encode()).key == ordered.key
            except msgspec.MsgspecError:  # somebody else's, under our name
                ours = False
            if ours:
                docker.tag(name, self.tag(ordered))
            docker.remove(name)
            if ours:
                folder = self.artifacts.place(stage, ordered.key)
                images.keep(folder, f"# made by another machine, pulled as {name}\n", said)
                self.finish(ordered, folder, time.monotonic() - began)
                self.artifacts.pushed_path(ordered.key).write_text(name, encoding="utf-8")
                record = self.artifacts.find(ordered.key)
                return Found(record, docker.registry) if record else None
        return None

    @property
    def shares(self) -> bool:
        """Whether a registry has images like this one for other machines."""
        return bool(self.shop.docker.registry) and self.work.image is not None and not self.work.image.ref

    def shared(self, key: str, namespace: str) -> str:
        """What the registry calls it."""
        return images.shared_tag(self.shop.docker.registry, self.work.spec.name, key, namespace)

    def tag(self, ordered: Order) -> str:
        """What dockerd calls it."""
        return images.tag_of(self.work.spec.name, ordered.key, self.artifacts.root)

    def artifact(self, ordered: Order, digest: str) -> Artifact:
        """See `Making.artifact`. What came out is the image, not the folder that tells of it."""
        del digest
        built = self.built(ordered)
        return msgspec.structs.replace(
            super().artifact(ordered, built.digest),
            builder=ordered.manifest.builder,
            image=built.image,
            # Of the image: the usual one of a process would take its place.
            command_env={"PATH": built.path} if built.path else {},
        )

    def record(self, ordered: Order, digest: str, size_bytes: int, seconds: float, attempts: int) -> Record:
        """See `Making.record`. The size is that of the image, with all of its layers."""
        whole_bytes = size_bytes + self.built(ordered).size_bytes
        return super().record(ordered, digest, whole_bytes, seconds, attempts)

    def finish(self, ordered: Order, folder: Path, seconds: float) -> Artifact:
        """See `Making.finish`."""
        self.shop.docker.remember(self.artifacts.cache)
        return super().finish(ordered, folder, seconds)

    def built(self, ordered: Order) -> Built:
        """What Docker said of it."""
        return image_in(self.artifacts.folder(ordered.key))


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
