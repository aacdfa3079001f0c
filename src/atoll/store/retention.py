"""How long events stay in the ledger, by class of event. Pure; `sqlite` sweeps by it."""

from typing import Final

DAY_S: Final = 86_400.0

# Prefix of an event's kind -> seconds that it is kept. What is not named is kept for ever: deploys, rollbacks and
# decisions are few, and the delivery metrics open them years later. What comes and goes with every restart is not.
KEEP_S: Final = {
    "replica.": 30 * DAY_S,
    "job.": 90 * DAY_S,
    "backup.": 400 * DAY_S,
    "notify.": 90 * DAY_S,
    "proxy.": 30 * DAY_S,
    "daemon.": 90 * DAY_S,
    "exec.": 365 * DAY_S,  # who was inside is asked for long after, but some run one a minute
}


def expired(kind: str, wall: float, now_wall: float) -> bool:
    """Whether an event may go. One without a time (`wall` 0) never does."""
    keep_s = next((seconds for prefix, seconds in KEEP_S.items() if kind.startswith(prefix)), None)
    return keep_s is not None and 0 < wall < now_wall - keep_s
