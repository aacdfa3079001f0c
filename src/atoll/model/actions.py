"""The words of a plan: what `decide.reconcile` returns and `realise` carries out. Each has a stable id (its replica's)."""

import msgspec


class Start(msgspec.Struct, frozen=True):
    """Record a new replica (phase `starting`), lease its ports, and start its process."""

    replica: str
    release: int
    slot: int


class Publish(msgspec.Struct, frozen=True):
    """The replica was ready: phase `serving`; it belongs into the traffic table."""

    replica: str


class Drain(msgspec.Struct, frozen=True):
    """Phase `draining`: no new request; `why` is shown to people."""

    replica: str
    why: str


class Signal(msgspec.Struct, frozen=True):
    """Phase `stopping`: send the stop signal of its release. `id` is the page of a `why` that is trouble."""

    replica: str
    why: str
    id: str = ""


class Kill(msgspec.Struct, frozen=True):
    """SIGKILL to its whole process group: the grace is over."""

    replica: str


class Forget(msgspec.Struct, frozen=True):
    """The process is gone: drop the row, free the ports, tell the host. `crashed`: nobody had asked it to end."""

    replica: str
    crashed: bool


Action = Start | Publish | Drain | Signal | Kill | Forget
