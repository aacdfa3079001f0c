"""How often somebody may ask: a token bucket, as data. The caller keeps one for each who asks."""

from typing import NamedTuple


class Allowance(NamedTuple):
    """`burst` requests at once, `each_s` seconds later one more."""

    burst: int
    each_s: float


class Bucket(NamedTuple):
    """How many requests somebody had left at the time `at_s`."""

    left: float
    at_s: float


def take(bucket: Bucket | None, allowance: Allowance, now_s: float) -> tuple[Bucket, float]:
    """One request less, and 0; or as many as before, and in how many seconds to ask again. None has never asked."""
    burst, each_s = allowance
    left = float(burst) if bucket is None else min(burst, bucket.left + max(0.0, now_s - bucket.at_s) / each_s)
    if left < 1:
        return Bucket(left, now_s), (1 - left) * each_s
    return Bucket(left - 1, now_s), 0.0
