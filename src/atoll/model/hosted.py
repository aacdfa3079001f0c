"""What a `ports.Host` tells of the replicas that it keeps, and of what it cannot give them."""

from typing import Literal

import msgspec

from atoll.model.catalogue.ids import ErrorId
from atoll.model.state import Exit


class Hosted(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as its host knows it. `exit` is set once it ended and was not yet forgotten."""

    id: str
    pid: int | None
    service: str = ""
    release: int = 0
    started_s: float = 0.0  # CLOCK_BOOTTIME
    exit: Exit | None = None
    notice: str = ""  # something a person should know: "runs as root: its folder is not readable for another user"


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a replica printed. `cursor` resumes after it."""

    service: str
    replica: str
    wall: float
    stream: Literal["stdout", "stderr"]
    text: str
    cursor: str = ""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Who listens on a port: the replica's own process tree, a stranger, or nobody yet."""

    state: Literal["own", "stranger", "none"]
    everywhere: bool = False  # bound to 0.0.0.0 or ::, so that it by-passes the proxy
    text: str = ""  # "held by pid 4711 (nginx)"


class Unable(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a service asks for and that cannot be had here, as a sentence, and what would help."""

    what: str
    fix: str = ""
    id: ErrorId = "not-possible-here"
