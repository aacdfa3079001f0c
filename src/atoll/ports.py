"""Protocols between the core and the world. Adapters implement them; `realise`, `daemon` and `pipeline` use them.

All methods may raise `Retryable` or `Permanent` unless they say otherwise; none blocks the event loop.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from atoll.model.building import ImageParts, Scope, Step, Tool, Toolchain
from atoll.model.cache import ArtifactsSwept
from atoll.model.certificate import Certificate
from atoll.model.hosted import Hosted, Listener, LogLine, Unable
from atoll.model.launch import Launch as Launch  # noqa: PLC0414 (hosts and their users find it here)
from atoll.model.launch import Reach
from atoll.model.rows import Change, Saved
from atoll.model.signals import Counts, EdgeKey, Point, Window
from atoll.model.spec import ServiceSpec
from atoll.model.state import (
    Address,
    Artifact,
    Event,
    Exit,
    Image,
    Now,
    Observation,
    ServiceDesired,
)
from atoll.model.traffic import Outcome, Reading, Sample, Table
from atoll.model.wire import BackupView
from atoll.model.wire_artifacts import (
    ArtifactOffer,
    ArtifactView,
    ContentsView,
    StoresRequest,
    StoresView,
    SweepRequest,
)
from atoll.model.wire_backup import BackupKeyView

# --- the host: replicas -------------------------------------------------------------------------------------------


class Host(Protocol):
    """Replica-level engine part: processes, or containers."""

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:
        """What of this spec, or to run this image, the host cannot provide; empty is fine. Asked before anything starts."""
        ...

    async def start(self, launch: Launch) -> Hosted:
        """Start it, once: an id that was started before is returned as it is, running or ended.

        Its files are there before it runs, for its user alone, and gone when it has ended, however it ended.
        """
        ...

    async def reach(self, service: str) -> Reach:
        """How its replicas and the proxy reach each other; makes what that needs. Always the same of one service.

        Called at each look at the service, so that it must be quick once made. Raises Retryable and nothing else.
        """
        ...

    async def unreach(self, service: str) -> None:
        """Give back what `reach` made for it: nothing of the service runs. Unknown ones are fine."""
        ...

    def data_base(self) -> str:
        """The absolute folder, as replicas see it, in which each service has one of its name that outlives them."""
        ...

    def files_base(self) -> str:
        """The absolute folder in which each replica's rendered files have a folder of its name."""
        ...

    async def signal(self, replica: str, signal: str) -> bool:
        """Send a signal by name ("SIGTERM", "SIGKILL") to its whole process group. False when it is gone.

        SIGSTOP stops it until the next signal, whichever that is: who is to end must hear so.
        """
        ...

    async def forget(self, replica: str) -> None:
        """Drop all that is kept of an ended replica but its logs. Unknown ids are fine. Kills one still running."""
        ...

    async def erase(self, service: str) -> None:
        """Remove what a service keeps: its data folder, its volumes. Nothing of it runs. None is fine."""
        ...

    async def list(self) -> Sequence[Hosted]:
        """Every replica that this host has, ended but not forgotten ones included (adoption after a crash)."""
        ...

    def exits(self) -> AsyncIterator[Hosted]:
        """Each replica that ends, as soon as it ends (within milliseconds). A hint: `list` is the truth."""
        ...

    async def listener(self, replica: str, port: int) -> Listener:
        """Who listens on that port of the replica's address, where the proxy would connect to it."""
        ...

    def logs(
        self,
        service: str,
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """Lines of all kept replicas of a service by time; the last `tail` first, then new ones while `follow`.

        `replica` is an id, or with a dot at its end what ids begin with: the runs of a job (`orders.nightly.`).
        """
        ...

    async def last_output(self, replica: str, lines: int = 20) -> str:
        """The end of what it printed, also after it was forgotten; "" when nothing is kept."""
        ...

    async def run(self, launch: Launch, timeout_s: float) -> tuple[Exit, str]:
        """Run a command to its end in a replica's surroundings (a probe, `exec`): its exit and its output (<= 1 MiB)."""
        ...

    async def usage(self) -> Mapping[str, tuple[int, float]]:
        """Replica -> (resident bytes of its process tree, CPU seconds so far)."""
        ...

    async def close(self) -> None:
        """Let go of whatever keeps the replicas; they go on."""
        ...


# --- the engine: revisions ----------------------------------------------------------------------------------------


class Engine(Protocol):
    """Revision-level: for one service revisions go in, an observation comes out. The same on every platform."""

    async def refusals(self, spec: ServiceSpec, image: Image | None = None) -> Sequence[Unable]:
        """What of this spec, or to run this image, the engine cannot enforce; empty is fine. Asked before anything starts."""
        ...

    def apply(self, want: ServiceDesired) -> None:
        """Take the newest wish for a service. Accepts, never waits."""
        ...

    def hint(self, service: str) -> None:
        """Rows of the service's jobs were written: runs that are to begin or to end."""
        ...

    def observe(self, service: str) -> Observation:
        """What is, as far as known now."""
        ...

    def logs(
        self,
        service: str,
        *,
        replica: str | None = None,
        tail: int = 100,
        follow: bool = False,
        since_wall: float = 0.0,
        until_wall: float | None = None,
    ) -> AsyncIterator[LogLine]:
        """See `Host.logs`."""
        ...

    async def signal(self, replica: str, signal: str) -> bool:
        """Send a signal by name to a replica, for injected faults. False when it is gone, or cannot get one here."""
        ...

    async def last_output(self, replica: str) -> str:
        """See `Host.last_output`."""
        ...

    async def exec(self, replica: str, argv: Sequence[str], timeout_s: float) -> tuple[Exit, str]:
        """Run a command in the surroundings of a replica (its folder, environment, secrets, user)."""
        ...


# --- the gateway's certificates -----------------------------------------------------------------------------------


class Showcase(Protocol):
    """The gateway, as the keeper of its certificates sees it."""

    async def show(
        self, certificates: Mapping[str, Certificate], answers: Mapping[str, str], deadline_s: float
    ) -> Outcome:
        """Show these certificates (by the names that the gateway has for them) from the next handshake on, and answer
        these paths at the port of plain HTTP. Drains no connection. What it refuses leaves the one before in place.
        """
        ...


class Authority(Protocol):
    """Who gives certificates."""

    async def certificate(self, host: str, show: Callable[[str, str], Awaitable[None]]) -> Certificate:
        """A new certificate for a host. `show(path, answer)` returns once plain HTTP to the host is answered so.

        Raises Retryable with the authority's words.
        """
        ...


# --- the proxy: traffic -------------------------------------------------------------------------------------------


class Traffic(Protocol):
    """The proxy, as the one traffic actor sees it."""

    async def apply(self, table: Table, changed: frozenset[str], deadline_s: float) -> Outcome:
        """Make `table` so, `changed` naming the services whose entries differ from the last call's. Waits for the ack."""
        ...

    async def inflight(self, addresses: Sequence[Address]) -> Mapping[Address, int] | None:
        """Requests in flight per endpoint, summed over every cluster that has it. None when the proxy does not answer."""
        ...

    async def read(self) -> Reading | None:
        """Counts since the last call (one caller: the collector, each second).

        None is no data: the proxy did not answer, or was never asked before. Never a count twice, never a negative one.
        """
        ...

    def generation(self) -> int:
        """Grows each time a (re)started proxy connects; 0 is never. What was acknowledged before must be sent again."""
        ...

    def problem(self) -> str:
        """What stands in the proxy's way now, for a person (a port it cannot bind, not connected); "" is nothing."""
        ...


# --- the stores ---------------------------------------------------------------------------------------------------


class Store(Protocol):
    """The environment's state and ledger; one leader. Closed and reopened at any instant it lost nothing committed."""

    async def lead(self) -> int:
        """Become the leader: take the lock, raise the epoch, migrate the schema. Raises Conflict if another leads."""
        ...

    async def load(self) -> Saved:
        """All rows."""
        ...

    async def commit(self, change: Change) -> int:
        """Write it all or nothing, durably; returns the newest event's seq. Raises Fenced, or Conflict on `expect`."""
        ...

    async def events(
        self, *, after: int = 0, limit: int = 1000, service: str | None = None, newest: bool = False
    ) -> Sequence[Event]:
        """The ledger in order of seq; with `newest`, the last `limit` of it."""
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of the lock."""
        ...


class BackupUnderWay(Protocol):
    """One backup: all that may be refused is behind it. Blocking, but for `close` one call at a time."""

    def chunks(self) -> Iterator[bytes]:
        """The bytes of its file. Raises UserError when something changed that never does."""
        ...

    def close(self) -> None:
        """Take away what was put aside for it. Twice is fine."""
        ...


class Archivist(Protocol):
    """Makes backups of the environment, and knows of the last one. Blocking, but for `note`."""

    def begin(self, *, signals: bool, now_wall: float) -> BackupUnderWay:
        """Look at everything and copy what changes. Raises UserError, Conflict (another one is under way), Retryable."""
        ...

    def key(self, passphrase: str) -> BackupKeyView:
        """The key of the secrets, sealed. Raises UserError for a weak passphrase."""
        ...

    @property
    def note(self) -> BackupView:
        """What is known of the last backup."""
        ...

    def write(self, note: BackupView) -> None:
        """Know this from now on. Raises UserError."""
        ...

    def key_id(self) -> str:
        """Of the key of the secrets that there are; "" without one."""
        ...


class Vault(Protocol):
    """Secrets of an environment, encrypted at rest. Versions grow from 1; old ones stay until the secret is removed."""

    async def set(self, name: str, value: str) -> int: ...
    async def versions(self) -> Mapping[str, int]: ...  # name -> newest
    async def get(self, name: str, version: int | None = None) -> str: ...  # NotFound
    async def remove(self, name: str) -> None: ...  # NotFound


# --- artifacts from elsewhere -------------------------------------------------------------------------------------


class Depot(Protocol):
    """The artifacts of this machine that were built on another one."""

    async def held(self, keys: Sequence[str]) -> Sequence[Artifact]:
        """Those of the keys that are complete, as they lie here. Counts as a use."""
        ...

    async def take(self, offer: ArtifactOffer) -> ArtifactView:
        """Complete it when all of its contents are here, else say which are missing. Any number of times.

        Raises Refused (it would not run here, no room), UserError (it is not what it says), Conflict.
        """
        ...

    async def keep(self, body: bytes) -> ContentsView:
        """Keep contents, whole ones and parts of long ones. Raises UserError for damaged ones, Refused (no room)."""
        ...

    async def sweep(self, request: SweepRequest) -> ArtifactsSwept:
        """Remove what no release of this machine's environments needs, or tell what would be. Raises UserError, Retryable."""
        ...


class Servers(Protocol):
    """The servers of stores that this machine can run."""

    async def drafts(self, request: StoresRequest) -> StoresView:
        """What would be run for each, or why it cannot be."""
        ...


# --- builds -------------------------------------------------------------------------------------------------------


class Builder(Protocol):
    """How artifacts of one technology are made. Runs nothing: returns what to run.

    `files` are the inputs (POSIX, relative); `folder` holds them and may be read, but only at those paths. Steps run
    in the artifact's final folder and name no absolute path: they are part of the key, which names that folder.
    """

    name: str
    recipe: int  # raised when the same steps come to mean something else, so that old artifacts are not reused
    marks: frozenset[str]  # files that tell of this technology beyond doubt, for messages
    relocatable: bool  # whether what the steps make works in another folder, too; one that names its own is found out
    toolchain: Toolchain | None  # the language's; None where there is none

    def detect(self, files: frozenset[str]) -> bool:
        """Whether a service folder with these files is of this technology."""
        ...

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """What must be on the PATH for `steps`. Raises UserError like `steps`."""
        ...

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """What the service reaches of a context above it; None where no workspace is there to tell, so that all goes in.

        Never too little: what cannot be understood is everything, and `why["."]` says so. What it is cut to has to
        build by the same steps, with the lock enforced, and its own scope is the same again.
        """
        ...

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """What to run in the clean copy of the inputs. Raises UserError when the files cannot be built as they are."""
        ...

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """What the run command's environment needs of the finished artifact `folder` (PATH entries go in "PATH+")."""
        ...

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts | None:
        """What the image is made of in which `steps` run, or those of `[build]`; None: there is no usual one.

        `version` is what the service asks for of the toolchain; "" is any. Raises UserError like `steps`.
        """
        ...


# --- time ---------------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time, so that tests can bend it."""

    def now(self) -> Now: ...
    async def sleep(self, seconds: float) -> None: ...


class Signals(Protocol):
    """What the proxy counted, second by second for an hour and minute by minute for longer.

    Times are whole seconds of CLOCK_BOOTTIME (`Now.boot_s`) unless they are called `wall`. What nobody saw is missing from
    `Window.seconds`; it is never zero. Stable and candidate are compared over the same two times.
    """

    async def open(self) -> None:
        """Take up what a daemon before this one saw. Before anything else."""
        ...

    async def run(self) -> None:
        """Keep it, for ever. Cancelled, it keeps what is new and ends."""
        ...

    def record(self, reading: Reading) -> None:
        """A reading of the proxy that ended just now (one caller: the collector)."""
        ...

    def edges(self) -> Sequence[EdgeKey]:
        """Those that the proxy knew within the last hour, sorted."""
        ...

    def now(self, key: EdgeKey) -> Sample:
        """The newest reading of an edge: what is in flight, how many replicas are ejected."""
        ...

    def totals(self) -> Mapping[EdgeKey, Counts]:
        """Everything counted since the daemon started. Only grows, while an edge is among `edges`."""
        ...

    def edge(self, key: EdgeKey, from_s: float, to_s: float) -> Window:
        """One edge."""
        ...

    def window(
        self, service: str, release: int | None, from_s: float, to_s: float, *, caller: str | None = None
    ) -> Window:
        """A release, or all of them, over all its callers or one ("" is the gateway). Over all it has the replicas, too."""
        ...

    async def past(
        self, service: str, release: int | None, from_wall: float, to_wall: float, *, caller: str | None = None
    ) -> Sequence[Point]:
        """Minutes of the past, the oldest first, also those of daemons before; one that is not there was not seen."""
        ...

    def problem(self) -> str:
        """What stands in the way of keeping it, for a person; "" is nothing."""
        ...
