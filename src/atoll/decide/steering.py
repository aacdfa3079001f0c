"""What a person may say to a rollout under way: pause, resume, promote, abort, keep. Pure; `daemon.mutations` commits it."""

from typing import Literal

from msgspec.structs import replace

from atoll.decide.rollout import STEERABLE, abort
from atoll.decide.stepping import RESUMED
from atoll.decide.undo import CONDEMNED
from atoll.model.errors import Conflict
from atoll.model.state import ENDED, LIVE, Now, Rollout

Word = Literal["pause", "resume", "promote", "abort", "keep"]


def steer(rollout: Rollout | None, word: Word, who: str, now: Now) -> Rollout:
    """The rollout with that word taken. The same one when it changes nothing. Raises Conflict when it comes too late."""
    if rollout is None or rollout.phase in ENDED or rollout.phase == "undoing":
        raise Conflict(
            "no rollout is under way",
            f"the last one of {rollout.service} is {rollout.phase}" if rollout else "there was none",
            "`atoll status` shows what runs",
            id="no-rollout",
        )
    match word:
        case "abort":
            return abort(rollout, f"{who} ended it", now)
        case "keep":
            return replace(rollout, kept=True)
        case "pause" | "resume" | "promote" if rollout.phase not in STEERABLE:
            live = rollout.phase in LIVE
            raise Conflict(
                f"r{rollout.candidate} cannot be told to {word}",
                "it has all of the traffic already" if live else f"it is {rollout.phase}: all of the traffic is moving",
                f"`atoll rollback {rollout.service}` takes it back",
                id="too-late-to-steer",
            )
        case "pause":
            if rollout.paused:
                return rollout
            if "stopping" in rollout.entered_s:
                raise Conflict(
                    f"r{rollout.candidate} cannot be told to pause",
                    "the previous release was stopped for it: nothing else serves meanwhile",
                    f"`atoll rollout abort {rollout.service}` starts that one again",
                    id="too-late-to-steer",
                )
            return replace(rollout, paused="by hand", waits=f"paused by {who}: `atoll rollout resume` goes on")
        case "resume":
            return _resumed(rollout, now)
    # Who promotes while the countdown of a failing verdict runs has seen it.
    kept = rollout.kept or CONDEMNED in rollout.entered_s
    return replace(rollout, asked="promote", paused="", waits="", kept=kept)


def _resumed(rollout: Rollout, now: Now) -> Rollout:
    """Goes on: past an approval to the next step, else with a new deadline."""
    going = replace(rollout, paused="", waits="")
    match rollout.paused:
        case "approval":
            return replace(going, asked="step")
        case "undecided":
            return replace(going, extended=0, stage_since_s=now.boot_s)
        case "by hand":
            return replace(going, extended=0, entered_s={**rollout.entered_s, RESUMED: now.boot_s})
    return going
