"""The last hour, second by second. Pure: time is an argument (CLOCK_BOOTTIME, in seconds).

Bounded: an edge that nobody knew for an hour is gone. An idle one takes 10 KiB for its hour; one that is used in every
second, with latencies in thirty buckets, 250 KiB; a replica 15 KiB. A second counts as seen when a
reading of the proxy covers it. A reading that covers more than `MAX_GAP_S` says how much went through, not when: it is
no data, as is the time in which nobody looked.
"""

import math
import struct
from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

from atoll.model.signals import Counts, EdgeKey, Histogram, ReplicaCounts, ReplicaKey, Window
from atoll.model.traffic import Reading, Sample
from atoll.telemetry.minute import COUNTED, FULL, MINUTE_S, NOTHING, Minute, Second, together, unpack

KEEP_MINUTES = 60
MAX_GAP_S = 5.0


class Stored(NamedTuple):
    """A minute as it goes into the file and comes back: `seconds` and `sums` as `minute` packs them."""

    key: EdgeKey
    minute: int
    seen: int
    seconds: bytes
    sums: bytes | None = None  # None while it is open


_REPLICA = struct.Struct("<BfIIf")  # second, seconds covered, requests, failures, seconds in flight


class Total:
    """A sum that grows each second."""

    def __init__(self) -> None:
        self._sums = [0] * len(COUNTED)
        self._latency: dict[int, int] = {}

    def add(self, counts: Counts) -> None:
        """Add these."""
        self._sums = [old + getattr(counts, name) for old, name in zip(self._sums, COUNTED, strict=True)]
        for bucket, count in counts.latency.counts:
            self._latency[bucket] = self._latency.get(bucket, 0) + count

    def counts(self) -> Counts:
        """The sum now."""
        return Counts(**dict(zip(COUNTED, self._sums, strict=True)), latency=Histogram.of(self._latency))


class Memory:
    """Minutes by edge and by replica. A minute's number is boot time in seconds over 60."""

    def __init__(self) -> None:
        self._edges: dict[EdgeKey, dict[int, Minute]] = {}
        self._replicas: dict[ReplicaKey, dict[int, bytearray]] = {}
        self._totals: dict[EdgeKey, Total] = {}
        self._now: dict[EdgeKey, Sample] = {}
        self._open = 0  # the newest minute
        self._dirty: set[tuple[EdgeKey, int]] = set()
        self._closing: list[tuple[EdgeKey, int]] = []

    # --- what comes in ---------------------------------------------------------------------------------------------

    def record(self, reading: Reading, at_s: float) -> None:
        """A reading that ended at `at_s`."""
        first, second = max(0, round(at_s - reading.seconds)), max(0, round(at_s) - 1)
        if second < first:  # asked twice within a second
            first = second = max(0, math.floor(at_s - reading.seconds / 2))
        minute = second // MINUTE_S
        if minute > self._open:
            self._begin(minute, reading.edges.keys())
        self._close_some()
        self._now = dict(reading.edges)
        covered = range(first, second + 1) if reading.seconds <= MAX_GAP_S else None
        for key, sample in reading.edges.items():
            idle = sample.counts == NOTHING.counts
            if not idle:
                self._totals.setdefault(key, Total()).add(sample.counts)
            if covered is not None:
                nothing = idle and not sample.inflight
                self._see(key, covered, second, NOTHING if nothing else Second(sample.counts, float(sample.inflight)))
        if covered is None:
            return
        for replica, counts in reading.replicas.items():
            rows = self._replicas.setdefault(replica, {}).setdefault(minute, bytearray())
            values = (counts.seconds, counts.requests, counts.failures, counts.inflight_s)
            rows += _REPLICA.pack(second % MINUTE_S, *values)

    def _see(self, key: EdgeKey, covered: range, second: int, what: Second) -> None:
        minutes = self._edges.setdefault(key, {})
        for number in {covered[0] // MINUTE_S, second // MINUTE_S}:
            bits = sum(1 << at % MINUTE_S for at in covered if at // MINUTE_S == number)
            mine = number == second // MINUTE_S
            minutes.setdefault(number, Minute()).add(second % MINUTE_S, bits, what if mine else NOTHING)
            self._dirty.add((key, number))

    def _begin(self, minute: int, known: Collection[EdgeKey]) -> None:
        """Forget what is too old; what ended is closed little by little, the newest stays open for windows of now."""
        oldest = minute - KEEP_MINUTES
        for key, minutes in list(self._edges.items()):
            self._closing += [
                (key, number) for number, one in minutes.items() if number < self._open and one.sum is None
            ]
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

    def _close_some(self) -> None:
        """Enough to be done within half a minute, so that no second has all of the work."""
        for _ in range(-(-len(self._closing) // (MINUTE_S // 2))):
            key, number = self._closing.pop()
            minute = self._edges.get(key, {}).get(number)
            if minute is not None:
                minute.close()
                self._dirty.add((key, number))

    # --- what is asked ---------------------------------------------------------------------------------------------

    def edges(self) -> list[EdgeKey]:
        """Those seen within the hour, sorted."""
        return sorted(self._edges)

    def now(self, key: EdgeKey) -> Sample:
        """The last reading of an edge: what is in flight, what is ejected."""
        return self._now.get(key, Sample())

    def totals(self) -> dict[EdgeKey, Counts]:
        """Everything counted since the start, of the edges seen within the hour."""
        return {key: self._totals[key].counts() if key in self._totals else NOTHING.counts for key in self.edges()}

    def window(self, keys: Iterable[EdgeKey], from_s: float, to_s: float) -> Window:
        """These edges together, over whole seconds from `from_s` to `to_s`."""
        first, last = max(0, math.floor(from_s)), math.ceil(to_s)
        seen: dict[int, int] = {}
        parts: list[Second] = []
        for key in keys:
            minutes = self._edges.get(key, {})
            for number, wanted in _spans(first, last):
                if number in minutes:
                    part = minutes[number].part(wanted)
                    seen[number] = seen.get(number, 0) | part.seen
                    if part.counts is not NOTHING.counts or part.inflight_s:
                        parts.append(Second(part.counts, part.inflight_s))
        counts, inflight_s = together(parts)
        return Window(
            from_s=from_s,
            to_s=to_s,
            seconds=sum(bits.bit_count() for bits in seen.values()),
            counts=counts,
            inflight_s=inflight_s,
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
                for at, seconds, requests, failures, inflight_s in _REPLICA.iter_unpack(minutes.get(number, b"")):
                    if wanted >> at & 1:
                        counts = ReplicaCounts(
                            seconds=seconds, requests=requests, failures=failures, inflight_s=inflight_s
                        )
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
                found.append(Stored(key, number, minute.seen, minute.packed(), minute.sum))
        return found

    def put_back(self, changed: Iterable[Stored]) -> None:
        """They could not be kept: the next `changed` has them again."""
        self._dirty |= {(stored.key, stored.minute) for stored in changed}

    def restore(self, stored: Stored) -> None:
        """A minute of before; what was recorded of it meanwhile stays."""
        minutes = self._edges.setdefault(stored.key, {})
        newer = minutes.get(stored.minute)
        minutes[stored.minute] = old = Minute(stored.seen, stored.seconds)
        if newer is not None:
            old.add(0, newer.seen, NOTHING)
            for at, what in unpack(newer.packed()).items():
                old.add(at, 0, what)


def _spans(first: int, last: int) -> Iterator[tuple[int, int]]:
    """The minutes of the seconds `first` to `last` (exclusive), each with the bits of those that belong."""
    for number in range(first // MINUTE_S, (last - 1) // MINUTE_S + 1):
        low, high = max(first - number * MINUTE_S, 0), min(last - number * MINUTE_S, MINUTE_S)
        yield number, FULL & ((1 << high) - 1) & ~((1 << low) - 1)
