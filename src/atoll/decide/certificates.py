"""When a certificate is renewed, when people are told, and how long a failed attempt waits. Pure.

`daemon.certificates` calls it. All times are of the wall clock, in seconds: certificates know no other.
"""

from atoll.model.certificate import Certificate

_TOLD_S = 21 * 86_400.0  # before the end; three weeks hold a holiday
_FIRST_S, _TIMES, _MOST_S = 120.0, 3.0, 3600.0
# Let's Encrypt allows five failed validations an hour: 0, 2, 8, 26 and 80 minutes are four.


def lifetime_s(certificate: Certificate) -> float:
    """How long it is good in all."""
    return max(0.0, certificate.ends_wall - certificate.starts_wall)


def renew_wall(certificate: Certificate) -> float:
    """From when on a new one is asked for: a third before the end (Let's Encrypt's integration guide), half when it is good
    for ten days at most, so that days are left for mending.
    """
    whole = lifetime_s(certificate)
    return certificate.ends_wall - whole / (2.0 if whole <= 10 * 86_400 else 3.0)


def tell_wall(certificate: Certificate) -> float:
    """From when on people are told that it ends: later than it would have been renewed, three weeks before at the earliest."""
    return certificate.ends_wall - min(_TOLD_S, lifetime_s(certificate) / 4)


def again_s(failures: int) -> float:
    """How long to wait after so many failures in a row (from 1): two minutes, then three times longer, at most an hour."""
    return float(min(_MOST_S, _FIRST_S * _TIMES ** min(failures - 1, 10)))


def left(ends_wall: float, now_wall: float) -> str:
    """`89 days`, `30 hours`, `ended 2 days ago`."""
    seconds = ends_wall - now_wall
    days, hours = int(abs(seconds) // 86_400), int(abs(seconds) // 3600)
    text = f"{days} days" if days >= 3 else f"{hours} hours" if hours >= 2 else f"{int(abs(seconds) // 60)} min"
    return text if seconds > 0 else f"ended {text} ago"
