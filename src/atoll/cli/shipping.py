"""Artifacts on their way to another machine: what is there already is not sent, what broke off goes on. `drafts` uses it.

The machine takes an artifact as a whole or not at all, and answers how it lies there; that is what a draft then carries.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atoll.cli.failed import Failed, taken_over
from atoll.cli.output import counted, duration, escape, live_table, size
from atoll.cli.progress import spinner, unmarked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from rich.console import RenderableType

    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.spec import ServiceSpec
    from atoll.model.state import Artifact
    from atoll.model.wire_artifacts import ArtifactOffer, ArtifactView
    from atoll.pipeline.ship.survey import Surveyed

LONG_BYTES = 8 << 20  # worth a line before it is sent
OFFERS = 4  # of one artifact: what was there a moment ago may be gone, and is sent then


def shipped(
    session: Session, workspace: WorkspaceSpec, built: Mapping[str, Artifact], *, send: bool = True
) -> tuple[dict[str, Artifact], dict[str, Failed]]:
    """The artifacts of these services as they lie on the environment's machine; one that cannot stops no other.

    Without `send` those that are not there are left as they lie here.
    """
    held = {artifact.key: artifact for artifact in session.client.artifacts([each.key for each in built.values()])}
    done = {name: held.get(artifact.key, artifact) for name, artifact in built.items()}
    failures: dict[str, Failed] = {}
    if not send:
        return done, failures
    with _shown(session) as (tell, say):
        for name, artifact in built.items():
            if artifact.key in held:
                continue
            try:
                done[name] = _Shipment(session, workspace, name, artifact, tell, say).shipped()
            except Exception as exc:
                if (failed := taken_over(exc)) is None:
                    raise
                del done[name]
                failures[name] = failed
    return done, failures


class _Shipment:
    """One artifact."""

    def __init__(
        self,
        session: Session,
        workspace: WorkspaceSpec,
        service: str,
        artifact: Artifact,
        tell: Callable[[str, str], None],
        say: Callable[[str], None],
    ) -> None:
        self._session, self._workspace, self._service, self._artifact = session, workspace, service, artifact
        self._tell, self._say = tell, say
        self._total_bytes = self._sent_bytes = self._wire_bytes = 0

    def shipped(self) -> Artifact:
        """Offered, its missing contents sent, until it is complete there."""
        if self._artifact.image is not None:
            return self._image()
        from atoll.pipeline.ship.sending import Sending

        began = time.monotonic()
        self._tell(self._service, "looking what is there")
        surveyed = self._surveyed()
        offer = self._offer(surveyed)
        sizes = {entry.content: entry.size_bytes for entry in surveyed.tree.files}
        contents = 0
        for _ in range(OFFERS):
            view = self._session.client.take_artifact(offer)
            if view.artifact is not None:
                self._end(surveyed, view, contents, time.monotonic() - began)
                return view.artifact
            contents += len(view.missing)
            self._total_bytes = self._sent_bytes + sum(sizes[digest] for digest in view.missing)
            if not self._wire_bytes and self._total_bytes >= LONG_BYTES:
                self._say(f"{self._service}: sending {_amount(self._total_bytes)} to {self._machine}")
            self._progress(0, 0)
            Sending(surveyed.files, self._session.client.keep_contents, self._progress).send(view.missing, view.begun)
        raise Failed(
            f"the artifact of {self._service} does not become complete on {self._machine}",
            f"{counted(len(view.missing), 'content')} were sent, and are not there",
            "somebody may be removing files below its artifacts folder; see the daemon's log there",
            id="artifact-damaged",
        )

    def _image(self) -> Artifact:
        """An image goes by a registry: its machine's dockerd has it, or pulls it."""
        from atoll.model.wire_artifacts import ArtifactOffer
        from atoll.pipeline.artifacts import Artifacts
        from atoll.pipeline.provenance import author

        self._tell(self._service, "its dockerd gets the image")
        try:
            name = Artifacts(self._session.places.artifacts.resolve()).pushed_path(self._artifact.key).read_text()
        except FileNotFoundError:
            name = ""
        cache = self._workspace.cache
        offer = ArtifactOffer(
            service=self._service,
            artifact=self._artifact,
            image_name=name,
            max_age_s=cache.max_age_s,
            max_bytes=cache.max_bytes,
            author=author(self._session.root),
        )
        artifact = self._session.client.take_artifact(offer).artifact
        assert artifact is not None, "of an image nothing is missing"
        return artifact

    @property
    def _machine(self) -> str:
        return self._session.places.machine or self._session.environment

    def _surveyed(self) -> Surveyed:
        from atoll.pipeline.cache.tree import Unusable
        from atoll.pipeline.ship.survey import survey

        spec = self._workspace.services[self._service]
        try:
            return survey(self._artifact, spec.run if _path_is_ours(spec) else None, threading.Event())
        except (Unusable, OSError) as exc:
            raise Failed(
                f"the artifact of {self._service} cannot be sent",
                str(exc),
                f"build it again: remove {self._artifact.path}, then `atoll deploy {self._service}`",
                id="artifact-damaged",
            ) from exc

    def _offer(self, surveyed: Surveyed) -> ArtifactOffer:
        from atoll.model.wire_artifacts import ArtifactOffer
        from atoll.pipeline.cache.zstd import compress
        from atoll.pipeline.provenance import author

        cache = self._workspace.cache
        return ArtifactOffer(
            service=self._service,
            artifact=self._artifact,
            tree=compress(surveyed.tree.encoded()),
            needs=surveyed.needs,
            max_age_s=cache.max_age_s,
            max_bytes=cache.max_bytes,
            author=author(self._session.root),
        )

    def _progress(self, size_bytes: int, wire_bytes: int) -> None:
        self._sent_bytes += size_bytes
        self._wire_bytes += wire_bytes
        self._tell(self._service, f"{_amount(self._sent_bytes)} of {_amount(self._total_bytes)}")

    def _end(self, surveyed: Surveyed, view: ArtifactView, contents: int, seconds: float) -> None:
        files = sum(1 for _ in surveyed.tree.files)
        sent = (
            f"{counted(contents, 'content')} of {counted(files, 'file')} sent, {_amount(self._wire_bytes)} compressed"
        )
        self._say(
            f"{self._service}: on {self._machine} in {duration(seconds)}: {sent if contents else 'all was there'}"
        )
        for warning in view.warnings:
            self._session.warn(f"warning: {warning}")
        if surveyed.named:
            more = f", and {counted(len(surveyed.named) - 1, 'other file')}" if surveyed.named[1:] else ""
            self._session.warn(
                f"warning: {self._service}: {surveyed.named[0]}{more} named the folder where it was built; it lies elsewhere now"
            )


def _path_is_ours(spec: ServiceSpec) -> bool:
    """Whether programs are looked for where Atoll says, and not where the service's own file does."""
    return "PATH" not in spec.env and "PATH" not in spec.inherit


def _amount(count: int) -> str:
    return size(count) if count >= 2**20 else f"{count / 2**10:.0f} KiB"


@contextmanager
def _shown(session: Session) -> Iterator[tuple[Callable[[str, str], None], Callable[[str], None]]]:
    """Show what is being sent: who is told of each step, and who of each line that stays."""
    if session.quiet or not session.lively:
        yield lambda _name, _text: None, session.say
        return
    row: list[tuple[str, str]] = []

    def rows() -> Iterator[Sequence[RenderableType]]:
        for name, text in row:
            yield spinner(), escape(name), "sending", escape(text)

    with live_table(rows) as out:

        def tell(name: str, text: str) -> None:
            row[:] = [(name, text)]

        yield tell, lambda line: out.print(unmarked(line))
