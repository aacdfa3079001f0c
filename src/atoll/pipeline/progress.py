"""Where a running task is, as `work` tells it and the command line shows it."""

from typing import Literal

import msgspec

from atoll.model.task import BUILD, task_id

Phase = Literal[
    "hashing",
    "queued",
    "waiting",
    "fetching",
    "building",
    "retrying",
    "sealing",
    "cached",
    "done",
    "failed",
    "skipped",
    "cancelled",
]
ENDED: frozenset[Phase] = frozenset({"cached", "done", "failed", "skipped", "cancelled"})


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where one task of one service is. The last one of each is of a phase in ENDED."""

    service: str
    phase: Phase
    task: str = BUILD
    step: int = 0  # 1 .. steps, while building
    steps: int = 0
    label: str = (
        ""  # of the step; what is fetched; why it failed; when done, what changed since the last one that passed
    )
    seconds: float = 0.0  # since the call began
    took_s: float = 0.0  # of what has ended, its own time
    attempts: int = 1  # when done: at which one it passed
    line: str = ""  # the last one that was printed

    @property
    def id(self) -> str:
        """`orders.test`."""
        return task_id(self.service, self.task)

    @property
    def name(self) -> str:
        """As a person calls it: a build by its service."""
        return self.service if self.task == BUILD else task_id(self.service, self.task)
