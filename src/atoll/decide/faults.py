"""Which injected faults are in force, and when the next one ends. Pure; a service's loop asks at every look.

A fault is a lease: its row says until when, and whoever leads the environment then lifts it. Nobody has to remember.
"""

from collections.abc import Iterable

from atoll.model.errors import Refused, UserError
from atoll.model.state import Fault, Now

LONGEST_S = 3600.0  # an experiment that lasts longer is a configuration


def in_force(faults: Iterable[Fault], now: Now) -> tuple[Fault, ...]:
    """Those that have not ended. A reboot ends them all: nothing of them is left in the kernel or the proxy."""
    return tuple(fault for fault in faults if fault.boot_id == now.boot_id and now.boot_s < fault.until_s)


def next_end_s(faults: Iterable[Fault], now: Now) -> float | None:
    """Boot seconds at which the next one ends; None when none is in force."""
    return min((fault.until_s for fault in in_force(faults, now)), default=None)


def check(fault: Fault, seconds: float, *, allowed: bool, environment: str) -> None:
    """Whether it may be injected at all. Raises Refused, UserError."""
    if not allowed:
        raise Refused(
            f"faults are not injected into '{environment}'",
            "breaking things on purpose must be allowed where people depend on them",
            f"write `faults = true` under [environments.{environment}] in atoll.toml, then `atoll up`",
            id="fault-refused",
        )
    if not 0 < seconds <= LONGEST_S:
        why = f"it must end by itself within {LONGEST_S:g} s"
        raise UserError(f"a fault cannot last {seconds:g} s", why, "such as --for 30s", id="bad-request")
    if not 1 <= fault.percent <= 100:
        raise UserError(
            f"{fault.percent} % of the requests is no share", "1 to 100", "such as --percent 20", id="bad-request"
        )
