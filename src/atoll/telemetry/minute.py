"""One minute of one edge: which of its seconds were seen, what was counted in each, and the sum. Pure.

An open minute has its seconds as they came. A closed one is packed: columns in MessagePack, compressed.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from atoll.model.signals import Counts, Histogram, merged

MINUTE_S = 60
FULL = (1 << MINUTE_S) - 1  # every second was seen
COUNTED = tuple(name for name in Counts.__struct_fields__ if name != "latency")
_encode, _decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode


class Second(NamedTuple):
    """What was counted in one second."""

    counts: Counts
    inflight: float = 0.0


NOTHING = Second(Counts())


class Part(NamedTuple):
    """What a window takes from one minute. `seen` has a bit for each second."""

    seen: int
    counts: Counts
    inflight_s: float


class Minute:
    """Open at first; `close` packs it, `add` opens it again."""

    __slots__ = ("_inflight_s", "_packed", "_seconds", "_sum", "seen")

    def __init__(self, seen: int = 0, packed: bytes = b"") -> None:
        self.seen = seen
        self._seconds: dict[int, Second] | None = None
        self._packed = packed
        self._sum: Counts | None = None if packed else NOTHING.counts
        self._inflight_s = 0.0

    def add(self, second: int, seen: int, what: Second) -> None:
        """Count `what` for a second (0 to 59); `seen` are the bits of the seconds that it covers."""
        self.seen |= seen
        if what is NOTHING:
            return
        if self._seconds is None:
            self._seconds = unpack(self._packed)
        old = self._seconds.get(second)
        self._seconds[second] = what if old is None else Second(old.counts + what.counts, what.inflight)
        self._sum = None

    def part(self, wanted: int = FULL) -> Part:
        """The seconds of these bits."""
        if wanted == FULL:
            return self._whole()
        return part_of(self.seen & wanted, {at: one for at, one in self.seconds().items() if wanted >> at & 1})

    def seconds(self) -> Mapping[int, Second]:
        """Those in which anything was counted."""
        return unpack(self._packed) if self._seconds is None else self._seconds

    def _whole(self) -> Part:
        if self._sum is None:
            _, self._sum, self._inflight_s = part_of(self.seen, self.seconds())
        return Part(self.seen, self._sum, self._inflight_s)

    def close(self) -> None:
        """Pack it."""
        if self._seconds is not None:
            self._whole()
            self._packed, self._seconds = pack(self._seconds), None


def part_of(seen: int, seconds: Mapping[int, Second]) -> Part:
    many = list(seconds.values())
    if not many:
        return Part(seen, NOTHING.counts, 0.0)
    sums: dict[str, Any] = {name: sum(getattr(one.counts, name) for one in many) for name in COUNTED}
    sums["latency"] = merged(one.counts.latency for one in many)
    return Part(seen, Counts(**sums), sum(one.inflight for one in many))


def pack(seconds: Mapping[int, Second]) -> bytes:
    """Seconds in about 15 bytes each; b"" for none."""
    if not seconds:
        return b""
    order = sorted(seconds)
    many = [seconds[at] for at in order]
    columns: list[Any] = [order, [one.inflight for one in many]]
    for name in COUNTED:
        column = [getattr(one.counts, name) for one in many]
        columns.append(column if any(column) else 0)
    columns.append([[number for pair in one.counts.latency.counts for number in pair] for one in many])
    return zlib.compress(_encode(columns), 1)


def unpack(packed: bytes) -> dict[int, Second]:
    """What `pack` made. Raises ValueError for anything else."""
    if not packed:
        return {}
    try:
        order, inflight, *columns, latencies = _decode(zlib.decompress(packed))
        found = {}
        for place, at in enumerate(order):
            values = {name: column[place] for name, column in zip(COUNTED, columns, strict=True) if column}
            counts = Counts(**values, latency=histogram(latencies[place]))
            found[at] = Second(counts, inflight[place])
    except (zlib.error, msgspec.DecodeError, IndexError, TypeError) as exc:
        raise ValueError("not a packed minute") from exc
    return found


def pack_sum(part: Part) -> bytes:
    """The sum of a minute, for the file. b"" when nothing happened."""
    counts = part.counts
    if not part.inflight_s and counts == NOTHING.counts:
        return b""
    flat = [number for pair in counts.latency.counts for number in pair]
    return _encode([part.inflight_s, [getattr(counts, name) for name in COUNTED], flat])


def unpack_sum(packed: bytes) -> tuple[Counts, float]:
    """(counts, seconds in flight). Raises ValueError for anything that `pack_sum` did not make."""
    if not packed:
        return NOTHING.counts, 0.0
    try:
        inflight_s, columns, flat = _decode(packed)
        counts = Counts(**dict(zip(COUNTED, columns, strict=True)), latency=histogram(flat))
    except (msgspec.DecodeError, TypeError) as exc:
        raise ValueError("not a packed sum") from exc
    return counts, inflight_s


def histogram(flat: Sequence[int]) -> Histogram:
    """From bucket, count, bucket, count, ..."""
    return Histogram(tuple(zip(flat[::2], flat[1::2], strict=True)))
