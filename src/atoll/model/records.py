"""What became of tasks: what a deploy is gated on, what the next run is scheduled by, what delivery is measured by."""

from typing import Any, Literal

import msgspec

from atoll.model.state import Author

Outcome = Literal["passed", "flaky", "failed", "timed-out", "cancelled", "skipped"]
GREEN: frozenset[Outcome] = frozenset({"passed", "flaky"})
TRUSTED = "trusted"


class TaskRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a task, however it ended. A cached result makes no new one."""

    task: str  # "orders.test"
    key: str
    outcome: Outcome
    seconds: float  # of the last attempt
    wall: float  # when it ended
    attempts: int = 1
    digest: str = ""  # of what it kept
    author: Author = Author()  # who ran it, at which commit
    namespace: str = TRUSTED  # who may believe it: "trusted", or a pull request's own
    reason: str = ""  # why it failed, one line

    @property
    def service(self) -> str:
        """Whose task."""
        return self.task.partition(".")[0]

    @property
    def id(self) -> str:
        """What makes it this run and no other: the same run told twice is one."""
        return f"{self.namespace}/{self.task}/{self.key}/{self.wall:.6f}"


class Undeclared(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a task read and does not declare."""

    path: str  # relative to the workspace when it lies in it; a folder, of which several files were read, ends with a slash
    count: int = 1  # files
    service: str = ""  # in whose folder it lies
    hint: str  # what to declare


class TaskResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one task in one call of `atoll ci`."""

    task: str  # "orders.test"
    outcome: Outcome
    cached: bool = False  # it was not run: what it would tell is known
    why: str = (
        ""  # why it ran, or why it was skipped: "server.js changed", "its first run", "orders.build did not pass"
    )
    key: str = ""  # "" when it could not be told
    seconds: float = 0.0  # of the last attempt; of a cached one of the run that it stands for
    attempts: int = 1
    digest: str = ""  # of what it kept
    reason: str = ""  # why it failed, one line
    fix: str = ""
    id: str = ""  # of the error's page
    output: str = ""  # the end of what the last attempt that failed printed
    log: str = ""  # the file with the whole of it, "" when nothing ran
    undeclared: tuple[Undeclared, ...] = ()  # what --audit found

    @property
    def service(self) -> str:
        """The one that the task is of."""
        return self.task.partition(".")[0]

    @property
    def name(self) -> str:
        """Without the service."""
        return self.task.partition(".")[2]


class CiResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one call of `atoll ci`. A task counts once: a cached one as cached, whatever its run was."""

    ok: bool = True  # whether none failed
    passed: int = 0  # ran, and passed at the first attempt
    cached: int = 0
    flaky: int = 0  # ran, and passed at a later attempt
    failed: int = 0  # timed out ones among them
    skipped: int = 0  # what they need did not pass
    cancelled: int = 0  # by --fail-fast
    seconds: float = 0.0
    saved_s: float = 0.0  # what those took that were not run
    unaffected: int = 0  # services of which nothing is listed: all that they have is green
    namespace: str = "trusted"  # who may believe it
    author: Author = Author()  # who ran it, at which commit; empty when nothing ran
    tasks: tuple[TaskResult, ...] = ()


def ci_result(tasks: tuple[TaskResult, ...], **rest: Any) -> CiResult:
    """The result of these tasks, counted."""
    ran = [task.outcome for task in tasks if not task.cached]
    failed = sum(outcome in {"failed", "timed-out"} for outcome in ran)
    return CiResult(
        ok=not failed,
        passed=ran.count("passed"),
        cached=len(tasks) - len(ran),
        flaky=ran.count("flaky"),
        failed=failed,
        skipped=ran.count("skipped"),
        cancelled=ran.count("cancelled"),
        tasks=tasks,
        **rest,
    )


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """What `atoll ci` would do with one task."""

    task: str
    runs: bool  # false: it is cached
    why: str = ""  # why it would run
    key: str = ""  # as the files are now; "" when it cannot be told
    needs: tuple[str, ...] = ()  # ids
    expected_s: float = 0.0  # how long it took before; of a cached one what it saves; 0 when it never ran


class CiPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What `atoll ci` would do, in the order in which it would begin."""

    tasks: tuple[PlannedTask, ...] = ()
    unaffected: int = 0  # services of which nothing is listed: all that they have is green
