"""What a service gets now, as far as a strategy asks."""

from typing import NamedTuple


class Load(NamedTuple):
    """Of the last minutes: requests a second, and the share (0..1) of them that failed."""

    rps: float
    failed_share: float = 0.0
