"""What the API says of jobs and their runs."""

import msgspec

from atoll.model.state import Author, Exit, JobState, Trigger
from atoll.model.wire import Mutation


class RunRequest(Mutation, frozen=True, kw_only=True):
    """Run a job now, with further arguments. Its `key` makes the run's id."""

    job: str
    args: tuple[str, ...] = ()


class StopRunRequest(Mutation, frozen=True, kw_only=True):
    """End a run before its time: its stop signal, then SIGKILL after the service's grace."""


class JobRunView(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job, with all its attempts. What it prints is in the logs, by `replica=ID.` with a dot at the end."""

    id: str
    service: str
    job: str  # "before": what runs before a release and is none of the jobs
    release: str  # "r7"
    trigger: Trigger
    state: JobState
    command: str = ""
    attempt: int = 1
    attempts: int = 1  # that it may take
    count: int = 1  # occurrences that were missed together
    due_wall: float | None = None
    created_wall: float = 0.0
    started_wall: float | None = None
    ended_wall: float | None = None
    seconds: float = 0.0  # from its start to its end, or to now
    exit: Exit | None = None
    reason: str = ""  # why it is no success, or not yet one
    output: str = ""  # the end of what it printed, when it failed
    ended: bool = False
    author: Author = Author()

    @property
    def good(self) -> bool:
        """Whether it ended well."""
        return self.state == "succeeded"


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a service's live release: its schedule, its last run. `before` is what runs before its releases."""

    service: str
    job: str
    command: str = ""
    release: str = ""  # "r7"; "" while the service is down
    schedule: str = ""
    time_zone: str = ""
    next_wall: float | None = None  # None: not scheduled, or the service is down
    last: JobRunView | None = None  # the newest run, ended or not
    text: str = ""  # what a person should know: "orders is down: its jobs do not run"
    runs: tuple[JobRunView, ...] = ()  # the kept ones, newest first; only where one job was asked for
