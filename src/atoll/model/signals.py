"""Golden signals: what went from one caller to one release of a callee, over some time. Pure data and its arithmetic.

`telemetry` makes `Window`s; verdicts, scaling and `top` read them. A second that nobody saw is not zero: it is missing
from `seconds`, and every rate divides by those.
"""

import math
from collections.abc import Iterable, Mapping

import msgspec

_LINEAR = 100  # buckets of one millisecond
_DECADES = 5  # of 90 buckets each, from 0.1 s to 10,000 s; the last bucket takes all above
BUCKETS = _LINEAR + 90 * _DECADES


def bucket_of(seconds: float) -> int:
    """The bucket of a duration in seconds. Negative is 0, too long is the last one."""
    ms = math.floor(seconds * 1000 + 1e-6)  # 0.007 * 1000 is 7.000000000000001, 0.0049999 is not 5
    return bucket_of_ms(ms)


def bucket_of_ms(ms: int) -> int:
    """The same for whole milliseconds, as the proxy counts them: 7 is anything from 7 to just below 8."""
    if ms < _LINEAR:
        return max(0, ms)
    decade, width = 0, 10
    while ms >= 100 * width:
        decade, width = decade + 1, width * 10
    return min(BUCKETS - 1, _LINEAR + 90 * decade + ms // width - 10)


def bounds(bucket: int) -> tuple[float, float]:
    """From (inclusive) and to (exclusive) of a bucket, in seconds."""
    if bucket < _LINEAR:
        return bucket / 1000, (bucket + 1) / 1000
    decade, step = divmod(bucket - _LINEAR, 90)
    width = 10 ** (decade + 1)
    return (10 + step) * width / 1000, (11 + step) * width / 1000


class Histogram(msgspec.Struct, frozen=True):
    """How many requests took how long: (bucket, count) in order of bucket, no count below 1.

    The buckets are the same everywhere: 1 ms wide up to 0.1 s, then two significant digits. So histograms add up
    exactly, and a quantile is off by at most a tenth of itself, or 1 ms, whichever is more.
    """

    counts: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, counts: Mapping[int, int]) -> "Histogram":
        """From counts by bucket, in any order; what is not positive is left out."""
        return cls(tuple(sorted((bucket, count) for bucket, count in counts.items() if count > 0)))

    @property
    def total(self) -> int:
        """How many requests."""
        return sum(count for _, count in self.counts)

    @property
    def pairs(self) -> tuple[tuple[float, int], ...]:
        """(upper bound in seconds, count), sorted."""
        return tuple((bounds(bucket)[1], count) for bucket, count in self.counts)

    def __add__(self, other: "Histogram") -> "Histogram":
        """Both together."""
        return merged((self, other))

    def __sub__(self, earlier: "Histogram") -> "Histogram":
        """What came since `earlier`; a bucket that fell counts as 0."""
        old = dict(earlier.counts)
        return Histogram.of({bucket: count - old.get(bucket, 0) for bucket, count in self.counts})

    def quantile(self, share: float) -> float | None:
        """The duration in seconds that `share` (0 to 1) of the requests did not exceed, linear within its bucket.

        None without a request.
        """
        left = share * self.total
        if not self.counts:
            return None
        for bucket, count in self.counts:
            if left <= count:
                low, high = bounds(bucket)
                return low + (high - low) * max(0.0, left) / count
            left -= count
        return bounds(self.counts[-1][0])[1]  # rounding left a crumb

    def above(self, seconds: float) -> int:
        """How many took longer than `seconds`, as sure as the buckets tell: those of later buckets than its own."""
        limit = bucket_of(seconds)
        return sum(count for bucket, count in self.counts if bucket > limit)

    def at_least(self, seconds: float) -> int:
        """How many may have taken `seconds` or longer: those of its own bucket, too."""
        limit = bucket_of(seconds)
        return sum(count for bucket, count in self.counts if bucket >= limit)


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """All together."""
    sums: dict[int, int] = {}
    for histogram in histograms:
        for bucket, count in histogram.counts:
            sums[bucket] = sums.get(bucket, 0) + count
    return Histogram.of(sums)


class EdgeKey(msgspec.Struct, frozen=True, order=True):
    """Who calls whom: a release of a service, or the gateway (""), towards a release of a callee (0: external)."""

    caller: str
    caller_release: int  # 0 for the gateway
    callee: str
    callee_release: int

    @property
    def text(self) -> str:
        """`web r4 -> orders r7`, `gateway -> orders r7`, `orders r7 -> stripe`."""
        source = f"{self.caller} r{self.caller_release}" if self.caller else "gateway"
        return f"{source} -> {self.callee}{f' r{self.callee_release}' if self.callee_release else ''}"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What was counted. Each adds up: over time, over callers, over releases."""

    requests: int = 0  # that got an answer, the proxy's own included; a client that gave up is counted nowhere
    failures: int = 0  # of these, by the callee's own definition (`spec.Failures`)
    timeouts: int = 0  # requests that the proxy gave up; failures, too
    resets: int = 0  # connections that broke under a request
    overflows: int = 0  # requests refused by a breaker; failures, too
    retries: int = 0  # tries after the first
    retries_won: int = 0  # requests that a retry saved: failures that nobody saw
    ejections: int = 0  # replicas taken out of this edge
    latency: Histogram = Histogram()  # of answered requests: from the request's last byte to the answer's last byte

    def __add__(self, other: "Counts") -> "Counts":
        """Both together."""
        sums = {name: getattr(self, name) + getattr(other, name) for name in _COUNTED}
        return Counts(**sums, latency=self.latency + other.latency)


_COUNTED = tuple(name for name in Counts.__struct_fields__ if name != "latency")


class ReplicaKey(msgspec.Struct, frozen=True, order=True):
    """One replica of a release."""

    service: str
    release: int
    replica: str  # its id


class ReplicaCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What one replica got, retries included, over all callers. `failures` are as the proxy judges: 5xx, resets.

    Replicas are read every few seconds only, so that `seconds` is what these counts cover, at both ends a little off.
    """

    seconds: float = 0.0
    requests: int = 0
    failures: int = 0
    inflight_s: float = 0.0  # requests in flight, summed over the seconds seen

    def __add__(self, other: "ReplicaCounts") -> "ReplicaCounts":
        """Both together."""
        return ReplicaCounts(
            seconds=self.seconds + other.seconds,
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            inflight_s=self.inflight_s + other.inflight_s,
        )

    @property
    def rps(self) -> float | None:
        """Tries per second; None without data."""
        return self.requests / self.seconds if self.seconds else None

    @property
    def inflight(self) -> float | None:
        """Tries in flight on average; None without data."""
        return self.inflight_s / self.seconds if self.seconds else None


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """An edge, or several together, over some time.

    Latencies reach the proxy's books once a second: those of the last second may be missing, `latency.total` may so
    differ a little from `requests` in a short window.
    """

    from_s: float = 0.0  # CLOCK_BOOTTIME, as asked for
    to_s: float = 0.0
    seconds: int = 0  # of these that were seen; 0 is no data
    counts: Counts = Counts()
    inflight_s: float = 0.0  # requests in flight, summed over the seconds seen
    replicas: Mapping[str, ReplicaCounts] = {}  # by replica id; only in a window of a whole release

    @property
    def rps(self) -> float | None:
        """Requests per second; None without data."""
        return self.counts.requests / self.seconds if self.seconds else None

    @property
    def failure_share(self) -> float | None:
        """Failures per request, 0 to 1; None without a request."""
        return min(1.0, self.counts.failures / self.counts.requests) if self.counts.requests else None

    @property
    def inflight(self) -> float | None:
        """Requests in flight on average; None without data."""
        return self.inflight_s / self.seconds if self.seconds else None


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A piece of the past: a step of a series."""

    wall: float  # its beginning, seconds since the epoch
    seconds: int = 0  # seen; 0 is no data
    counts: Counts = Counts()
    inflight_s: float = 0.0
