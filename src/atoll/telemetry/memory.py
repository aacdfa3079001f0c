"""The last hour, second by second. Pure: time is an argument (CLOCK_BOOTTIME, in seconds).

Bounded: an edge that nobody knew for an hour is gone, a busy one takes some 60 KiB. A second counts as seen when a
reading of the proxy covers it. A reading that covers more than `MAX_GAP_S` says how much went through, not when: it is
no data, as is the time in which nobody looked.
"""

import math
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from atoll.model.signals import Counts, EdgeKey, ReplicaCounts, ReplicaKey, Window, merged
from atoll.model.traffic import Reading, Sample
from atoll.telemetry.minute import COUNTED, FULL, MINUTE_S, NOTHING, Minute, Part, Second

KEEP_MINUTES = 60
MAX_GAP_S = 5.0


class Stored(NamedTuple):
    """A minute as it goes into the file and comes back."""

    key: EdgeKey
    minute: int
    seen: int
    seconds: Mapping[int, Second]


_REPLICA = struct.Struct("<BIIf")  # second, requests, failures, seconds in flight


class Memory:
    """Minutes by edge and by replica. A minute's number is boot time in seconds over 60."""

    def __init__(self) -> None:
        self._edges: dict[EdgeKey, dict[int, Minute]] = {}
        self._replicas: dict[ReplicaKey, dict[int, bytearray]] = {}
        self._totals: dict[EdgeKey, Counts] = {}
        self._now: dict[EdgeKey, Sample] = {}
        self._open = 0  # the newest minute
        self._dirty: set[tuple[EdgeKey, int]] = set()

    # --- what comes in ---------------------------------------------------------------------------------------------

    def record(self, reading: Reading, at_s: float) -> None:
        """A reading that ended at `at_s`."""
        first, second = max(0, round(at_s - reading.seconds)), max(0, round(at_s) - 1)
        if second < first:  # asked twice within a second
            first = second = max(0, math.floor(at_s - reading.seconds / 2))
        minute = second // MINUTE_S
        if minute > self._open:
            self._close(minute, reading.edges.keys())
        for key, sample in reading.edges.items():
            if sample.counts is not NOTHING.counts:
                self._totals[key] = self._totals.get(key, NOTHING.counts) + sample.counts
        self._now = dict(reading.edges)
        if reading.seconds > MAX_GAP_S:
            return
        covered = range(first, second + 1)
        for key, sample in reading.edges.items():
            what = NOTHING if _idle(sample) else Second(sample.counts, float(sample.inflight))
            self._see(key, covered, second, what)
        for replica, counts in reading.replicas.items():
            if counts.requests or counts.failures or counts.inflight_s:
                rows = self._replicas.setdefault(replica, {}).setdefault(minute, bytearray())
                rows += _REPLICA.pack(second % MINUTE_S, counts.requests, counts.failures, counts.inflight_s)

    def _see(self, key: EdgeKey, covered: range, second: int, what: Second) -> None:
        minutes = self._edges.setdefault(key, {})
        for number in {covered[0] // MINUTE_S, second // MINUTE_S}:
            bits = sum(1 << at % MINUTE_S for at in covered if at // MINUTE_S == number)
            mine = number == second // MINUTE_S
            minutes.setdefault(number, Minute()).add(second % MINUTE_S, bits, what if mine else NOTHING)
            self._dirty.add((key, number))

    def _close(self, minute: int, known: Collection[EdgeKey]) -> None:
        """Pack what ended but for the newest minute, which every window of now looks into; forget what is too old."""
        oldest = minute - KEEP_MINUTES
        for key, minutes in list(self._edges.items()):
            for number, one in minutes.items():
                if number < self._open:
                    one.close()
            for number in [number for number in minutes if number < oldest]:
                del minutes[number]
            if not minutes and key not in known:
                del self._edges[key]
                self._totals.pop(key, None)
        for replica, kept in list(self._replicas.items()):
            for number in [number for number in kept if number < oldest]:
                del kept[number]
            if not kept:
                del self._replicas[replica]
        self._open = minute

    # --- what is asked ---------------------------------------------------------------------------------------------

    def edges(self) -> list[EdgeKey]:
        """Those seen within the hour, sorted."""
        return sorted(self._edges)

    def now(self, key: EdgeKey) -> Sample:
        """The last reading of an edge: what is in flight, what is ejected."""
        return self._now.get(key, Sample())

    def totals(self) -> dict[EdgeKey, Counts]:
        """Everything counted since the start, of the edges seen within the hour."""
        return {key: self._totals.get(key, NOTHING.counts) for key in self.edges()}

    def window(self, keys: Iterable[EdgeKey], from_s: float, to_s: float) -> Window:
        """These edges together, over whole seconds from `from_s` to `to_s`."""
        first, last = max(0, math.floor(from_s)), math.ceil(to_s)
        seen: dict[int, int] = {}
        parts: list[Part] = []
        for key in keys:
            minutes = self._edges.get(key, {})
            for number, wanted in _spans(first, last):
                if number in minutes:
                    part = minutes[number].part(wanted)
                    seen[number] = seen.get(number, 0) | part.seen
                    if part.counts is not NOTHING.counts or part.inflight_s:
                        parts.append(part)
        return Window(
            from_s=from_s,
            to_s=to_s,
            seconds=sum(bits.bit_count() for bits in seen.values()),
            counts=total([part.counts for part in parts]),
            inflight_s=sum(part.inflight_s for part in parts),
        )

    def replicas(
        self, service: str, release: int | None, from_s: float, to_s: float
    ) -> dict[ReplicaKey, ReplicaCounts]:
        """What each replica got. Replicas are read every few seconds: the ends are that much blurred."""
        first, last = max(0, math.floor(from_s)), math.ceil(to_s)
        found: dict[ReplicaKey, ReplicaCounts] = {}
        for key, minutes in self._replicas.items():
            if key.service != service or release not in {None, key.release}:
                continue
            for number, wanted in _spans(first, last):
                for at, requests, failures, inflight_s in _REPLICA.iter_unpack(minutes.get(number, b"")):
                    if wanted >> at & 1:
                        counts = ReplicaCounts(requests=requests, failures=failures, inflight_s=inflight_s)
                        found[key] = found[key] + counts if key in found else counts
        return found

    # --- over the daemon's death -----------------------------------------------------------------------------------

    def changed(self) -> list[Stored]:
        """Minutes that changed since the last call, as they are now."""
        dirty, self._dirty = self._dirty, set()
        found = []
        for key, number in dirty:
            minute = self._edges.get(key, {}).get(number)
            if minute is not None:
                found.append(Stored(key, number, minute.seen, dict(minute.seconds())))
        return found

    def put_back(self, changed: Iterable[Stored]) -> None:
        """They could not be kept: the next `changed` has them again."""
        self._dirty |= {(stored.key, stored.minute) for stored in changed}

    def restore(self, stored: Stored) -> None:
        """A minute of before; what was recorded of it meanwhile stays."""
        minute = self._edges.setdefault(stored.key, {}).setdefault(stored.minute, Minute())
        minute.add(0, stored.seen, NOTHING)
        for at, what in stored.seconds.items():
            minute.add(at, 0, what)


def total(counts: list[Counts]) -> Counts:
    """All together."""
    if len(counts) < 2:
        return counts[0] if counts else NOTHING.counts
    sums = {name: sum(getattr(one, name) for one in counts) for name in COUNTED}
    return Counts(**sums, latency=merged(one.latency for one in counts))


def _idle(sample: Sample) -> bool:
    return not sample.inflight and sample.counts == NOTHING.counts


def _spans(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The minutes of the seconds `first` to `last` (exclusive), each with the bits of those that belong."""
    for number in range(first // MINUTE_S, (last - 1) // MINUTE_S + 1):
        low, high = max(first - number * MINUTE_S, 0), min(last - number * MINUTE_S, MINUTE_S)
        yield number, FULL & ((1 << high) - 1) & ~((1 << low) - 1)
