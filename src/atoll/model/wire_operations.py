"""What the API says of a deploy, a rollback or a restart under way."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from atoll.model.analysis import Verdict
from atoll.model.state import Paused, Receipt, RolloutPhase, Stage, Step


class SteppingView(msgspec.Struct, frozen=True, kw_only=True):
    """How a deploy moves its traffic, and what is known of the candidate."""

    strategy: str  # "canary"
    why: str = ""  # that one, in a sentence
    steps: tuple[Step, ...] = ()
    step: int = 0  # the present one's index
    stage: Stage = "filling"
    weight_pct: int = 0  # of the requests, to the candidate now
    left_s: float | None = (
        None  # until the present step's deadline, or the end of the bake; None: nothing is waited for
    )
    paused: Paused = ""
    waits: str = ""  # why it is, for a person
    kept: bool = False
    verdict: Verdict | None = None  # now
    detects: str = ""  # what today's traffic can show, said before it starts
    exposure: str = ""  # the worst case: which share of the requests may meet a bad candidate, for how long


class OperationView(msgspec.Struct, frozen=True, kw_only=True):
    """A deploy, rollback or restart, in progress or ended. `id` is its rollout's.

    It has `ended` when it is live, certified, undone or superseded, or was nothing to do (`unchanged`); then `receipt`
    says what it did (None for `unchanged`).
    """

    id: str
    service: str
    kind: Literal["deploy", "rollback", "restart"]
    release: str = ""  # "r8"
    previous: str = ""  # "r7"; "" when it was down
    phase: RolloutPhase | Literal["unchanged"]
    phases: Mapping[str, float] = {}  # phase -> seconds spent in it so far
    seconds: float = 0.0  # since it began
    ready: int = 0  # candidate replicas
    wanted: int = 0
    requests: int = 0  # to this service since it began
    failed: int = 0
    text: str = ""  # what is going on or went wrong, for a person
    reason_id: str = ""  # the page of what went wrong
    output: str = ""  # the candidate's last output when it failed
    warnings: tuple[
        str, ...
    ] = ()  # what a person should know although it was admitted (in the first answer), or is live
    ended: bool = False
    receipt: Receipt | None = None
    stepping: SteppingView | None = None  # of a deploy

    def settled(self, until: str = "live") -> bool:
        """Whether nothing more is to come: it has `ended`, and with `until` "certified" its bake is over, too."""
        return self.ended and (until == "live" or self.phase != "live")

    @property
    def measured(self) -> bool:
        """Whether its candidate passed by what was measured."""
        verdict = self.stepping.verdict if self.stepping else None
        return verdict is not None and verdict.outcome == "pass"

    @property
    def good(self) -> bool:
        """Whether it ended with what was asked for."""
        was_live = self.phase == "superseded" and self.receipt is not None
        return self.ended and (was_live or self.phase in {"live", "certified", "unchanged"})
