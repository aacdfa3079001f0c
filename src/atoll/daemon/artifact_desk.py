"""What comes from the machine of whoever deploys: artifacts that were built there, and questions for stores. Part of `Environment`.

Whether an artifact fits and is whole, the depot says; here it is told in the ledger who brought it.
"""

from collections.abc import Sequence

from atoll.daemon.pulse import Pulse
from atoll.model.cache import ArtifactsSwept
from atoll.model.errors import Refused, UserError
from atoll.model.rows import Change
from atoll.model.state import Artifact, Event
from atoll.model.wire_artifacts import (
    ArtifactOffer,
    ArtifactView,
    ContentsView,
    StoresRequest,
    StoresView,
    SweepRequest,
)
from atoll.ports import Clock, Depot, Servers
from atoll.realise.records import Records


class ArtifactDesk:
    """One environment's."""

    def __init__(
        self, depot: Depot | None, servers: Servers | None, records: Records, clock: Clock, pulse: Pulse
    ) -> None:
        self._depot, self._servers = depot, servers
        self._records, self._clock, self._pulse = records, clock, pulse

    async def artifacts(self, keys: Sequence[str]) -> Sequence[Artifact]:
        """Those of the keys that lie here, complete."""
        return await self._at_depot().held(keys)

    async def take_artifact(self, key: str, offer: ArtifactOffer) -> ArtifactView:
        """Complete an artifact, or say what is missing."""
        if offer.artifact.key != key:
            raise UserError(
                f"the offer is of '{offer.artifact.key}', the address says '{key}'",
                "an artifact has one key",
                "put it at the address of its own key",
                id="bad-request",
            )
        depot = self._at_depot()
        if known := await depot.held([key]):
            return ArtifactView(artifact=known[0])
        view = await depot.take(offer)
        if view.artifact is not None:
            event = Event(
                kind="artifact.taken",
                service=offer.service,
                message=f"{offer.service}: the artifact {key[:12]} arrived, and is complete",
                author=offer.author,
                wall=self._clock.now().wall,
            )
            await self._records.commit(Change(events=(event,)))
            self._pulse.beat(offer.service)
        return view

    async def keep_contents(self, body: bytes) -> ContentsView:
        """Keep contents of artifacts that are offered."""
        return await self._at_depot().keep(body)

    async def sweep_artifacts(self, request: SweepRequest) -> ArtifactsSwept:
        """Remove those that no release needs, or tell what would be removed."""
        swept = await self._at_depot().sweep(request)
        if swept.removed and not request.plan:
            text = f"{swept.removed} artifacts that no release needs were removed, {swept.freed_bytes / 2**20:,.0f} MiB"
            event = Event(kind="artifacts.removed", message=text, author=request.author, wall=self._clock.now().wall)
            await self._records.commit(Change(events=(event,)))
            self._pulse.beat()
        return swept

    async def store_drafts(self, request: StoresRequest) -> StoresView:
        """What would be run for these stores on this machine."""
        if self._servers is None:
            raise _nowhere("runs no stores of its own")
        return await self._servers.drafts(request)

    def _at_depot(self) -> Depot:
        if self._depot is None:
            raise _nowhere("keeps no artifacts")
        return self._depot


def _nowhere(what: str) -> Refused:
    return Refused(
        f"this environment {what}", "", "deploy to one that a daemon of Atoll serves", id="not-possible-here"
    )
