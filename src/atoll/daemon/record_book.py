"""Records of tasks that ran elsewhere, as the environment holds them: what its gate reads. Part of `Environment`."""

from collections.abc import Iterable, Sequence

from atoll.daemon.pulse import Pulse
from atoll.decide.gate import Sifted, sift, summary
from atoll.model.records import TaskRecord
from atoll.model.rows import Change, RowKind
from atoll.model.state import Author, Event
from atoll.model.wire import RecordsRequest, RecordsView
from atoll.ports import Clock
from atoll.realise.records import Records

_KIND: RowKind = "record"


class RecordBook:
    """One environment's. Nothing here judges: `decide.gate` does."""

    def __init__(self, records: Records, clock: Clock, pulse: Pulse) -> None:
        self._records, self._clock, self._pulse = records, clock, pulse

    async def records(self, service: str | None = None) -> Sequence[TaskRecord]:
        """Those of a service's tasks, or all; newest first."""
        return sorted(self._records.of_tasks(service), key=lambda each: each.wall, reverse=True)

    async def import_records(self, request: RecordsRequest) -> RecordsView:
        """Hold what is new of them: all, and one event, or nothing."""
        change, sifted = self.taken(request.records, request.author)
        await self._records.commit(change)
        if sifted.fresh:
            self._pulse.beat()
        return RecordsView(added=len(sifted.fresh), known=sifted.known, left_out=sifted.left_out)

    def taken(self, given: Iterable[TaskRecord], author: Author) -> tuple[Change, Sifted]:
        """What holding them changes, for a transaction that may change more."""
        sifted = sift(given, self._records.of_tasks())
        if not sifted.fresh:
            return Change(), sifted
        count = len(sifted.fresh)
        event = Event(
            kind="records.imported", author=author, wall=self._clock.now().wall, data=summary(sifted.fresh),
            message=f"{count} record{'s' if count != 1 else ''} of tasks handed over by {author.actor or 'somebody'}",
        )  # fmt: skip
        drops = tuple((_KIND, id) for id in sifted.surplus)
        return Change(puts=sifted.fresh, drops=drops, events=(event,)), sifted
