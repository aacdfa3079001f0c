"""What became of tasks: what a deploy is gated on, what the next run is scheduled by, what delivery is measured by."""

from typing import Literal

import msgspec

from atoll.model.state import Author

Outcome = Literal["passed", "flaky", "failed", "timed-out", "cancelled", "skipped"]
GREEN: frozenset[Outcome] = frozenset({"passed", "flaky"})


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
    namespace: str = "trusted"  # who may believe it: "trusted", or a pull request's own
    reason: str = ""  # why it failed, one line
