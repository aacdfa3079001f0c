"""One minute of one edge: which of its seconds were seen, what was counted in each, and the sum. Pure.

An open minute keeps each second as a few bytes of MessagePack; a closed one keeps all of them as columns, compressed, and
their sum. Objects would be simpler and ten times as large: a histogram of thirty buckets is 2 KiB of tuples, or 60 bytes.
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
_decode_open = msgspec.msgpack.Decoder(dict[int, bytes]).decode
_CLOSED = b"x"  # how zlib begins, and a map of MessagePack never


class Second(NamedTuple):
    """What was counted in one second, or in several."""

    counts: Counts
    inflight: float = 0.0


NOTHING = Second(Counts())


class Part(NamedTuple):
    """What a window takes from one minute. `seen` has a bit for each second."""

    seen: int
    counts: Counts
    inflight_s: float


class Minute:
    """Open at first. What is added to a closed one opens it again."""

    __slots__ = ("_closed", "_open", "_sum", "seen")

    def __init__(self, seen: int = 0, packed: bytes = b"") -> None:
        self.seen = seen
        self._closed = packed if packed[:1] == _CLOSED else b""
        self._open: dict[int, bytes] | None = None if self._closed else _opened(packed)
        self._sum: bytes | None = None

    @property
    def sum(self) -> bytes | None:
        """Its sum as bytes, for `unpack_second`; None while it is open."""
        return self._sum

    def add(self, second: int, seen: int, what: Second) -> None:
        """Count `what` for a second (0 to 59); `seen` are the bits of the seconds that it covers."""
        self.seen |= seen
        if what is NOTHING:
            return
        if self._open is None:
            self._open = {at: pack_second(one) for at, one in unpack(self._closed).items()}
        if second in self._open:
            old = unpack_second(self._open[second])
            what = Second(old.counts + what.counts, what.inflight)
        self._open[second] = pack_second(what)
        self._sum = None

    def part(self, wanted: int = FULL) -> Part:
        """The seconds of these bits."""
        if wanted == FULL and self._sum is not None:
            counts, inflight_s = unpack_second(self._sum)
            return Part(self.seen, counts, inflight_s)
        counts, inflight_s = together([one for at, one in self._seconds().items() if wanted >> at & 1])
        return Part(self.seen & wanted, counts, inflight_s)

    def _seconds(self) -> Mapping[int, Second]:
        if self._open is None:
            return unpack(self._closed)
        return {at: unpack_second(one) for at, one in self._open.items()}

    def close(self) -> None:
        """Compress it."""
        if self._sum is None:
            seconds = self._seconds()
            self._sum = pack_second(together(list(seconds.values())))
            self._closed, self._open = pack(seconds), None

    def packed(self) -> bytes:
        """Its seconds as bytes, for `unpack` and the next `Minute`."""
        return self._closed if self._open is None else _encode(self._open) if self._open else b""


def together(seconds: Sequence[Second]) -> Second:
    """Their sum."""
    if len(seconds) < 2:
        return seconds[0] if seconds else NOTHING
    sums: dict[str, Any] = {name: sum(getattr(one.counts, name) for one in seconds) for name in COUNTED}
    latency = merged(one.counts.latency for one in seconds)
    return Second(Counts(**sums, latency=latency), sum(one.inflight for one in seconds))


def pack_second(one: Second) -> bytes:
    """b"" when nothing happened."""
    counts, inflight = one
    if not inflight and counts == NOTHING.counts:
        return b""
    flat = [number for pair in counts.latency.counts for number in pair]
    return _encode((inflight, [getattr(counts, name) for name in COUNTED], flat))


def unpack_second(packed: bytes) -> Second:
    """What `pack_second` made. Raises ValueError for anything else."""
    if not packed:
        return NOTHING
    try:
        inflight, columns, flat = _decode(packed)
        latency = Histogram(tuple(zip(flat[::2], flat[1::2], strict=True)))
        return Second(Counts(**dict(zip(COUNTED, columns, strict=True)), latency=latency), inflight)
    except (msgspec.DecodeError, TypeError) as exc:
        raise ValueError("not a packed second") from exc


def pack(seconds: Mapping[int, Second]) -> bytes:
    """A minute in columns, each field's and each bucket's: neighbours in time are alike. b"" for none."""
    if not seconds:
        return b""
    order = sorted(seconds)
    many = [seconds[at] for at in order]
    columns: list[Any] = [order, [one.inflight for one in many]]
    for name in COUNTED:
        column = [getattr(one.counts, name) for one in many]
        columns.append(column if any(column) else 0)
    buckets: dict[int, list[int]] = {}
    for place, one in enumerate(many):
        for bucket, count in one.counts.latency.counts:
            buckets.setdefault(bucket, [0] * len(many))[place] = count
    columns.append(sorted(buckets.items()))
    return zlib.compress(_encode(columns), 1)


def unpack(packed: bytes) -> dict[int, Second]:
    """The seconds of a minute, closed or open. Raises ValueError for anything else."""
    if packed[:1] != _CLOSED:
        return {at: unpack_second(one) for at, one in _opened(packed).items()}
    try:
        order, inflight, *columns, buckets = _decode(zlib.decompress(packed))
        found = {}
        for place, at in enumerate(order):
            values = {name: column[place] for name, column in zip(COUNTED, columns, strict=True) if column}
            latency = Histogram(tuple((bucket, counts[place]) for bucket, counts in buckets if counts[place]))
            found[at] = Second(Counts(**values, latency=latency), inflight[place])
    except (zlib.error, msgspec.DecodeError, IndexError, TypeError) as exc:
        raise ValueError("not a packed minute") from exc
    return found


def check(packed: bytes) -> None:
    """Raises ValueError when it is not what `Minute.packed` made: by its checksum, or by reading the little there is."""
    if packed[:1] != _CLOSED:
        unpack(packed)
        return
    try:
        zlib.decompress(packed)
    except zlib.error as exc:
        raise ValueError("not a packed minute") from exc


def _opened(packed: bytes) -> dict[int, bytes]:
    try:
        return _decode_open(packed) if packed else {}
    except msgspec.DecodeError as exc:
        raise ValueError("not a packed minute") from exc
