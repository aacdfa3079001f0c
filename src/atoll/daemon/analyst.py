"""The analysis of one service's rollout: each second of signals handed to `decide.verdict`, the evidence kept.

Its loop asks for a verdict at every look and writes the evidence down with each step, so that a new daemon goes on where
this one ended; seconds that nobody watched are missing, not guessed. Decides nothing.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from atoll.decide.verdict import Block, Neighbour, Side, answered, judge, observe
from atoll.model.analysis import Analysis, AnalysisPolicy, Check, Verdict
from atoll.model.signals import Counts, Histogram, Window
from atoll.model.state import Now, Release, Rollout
from atoll.ports import Signals

EVERY_S = 1.0
LAG_S = 1.0  # the proxy's books are closed once a second: what is younger may still change
MOST_S = 30.0  # of a gap that is caught up with; the signals of more would be one block of mixed times
REFERENCE_S = 60.0  # of the stable release, for its usual latencies
REFRESH_S = 10.0  # how old these may be: to add up a minute of every edge each second is most of the work
BASELINE_S = 600.0  # of its callers, for their usual failures
_WARMUP_S = {"java": 30.0, "maven": 30.0, "gradle": 30.0}  # what a JIT compiler takes to get going
_USUAL_WARMUP_S = 5.0
_NOTHING = Side(0, 0, Histogram())


class Analyst:
    """One service's. `look` is called at least each second while a rollout of it is to be judged."""

    def __init__(self, service: str, signals: Signals, settled: Callable[[str], int | None]) -> None:
        """`settled` tells a service's release that is no candidate now; None when there is none."""
        self.service, self._signals, self._settled = service, signals, settled
        self._rollout = ""
        self._analysis = Analysis()
        self._verdict: Verdict | None = None
        self._until_s = 0.0
        self._began_s = math.inf
        self._asked_s: dict[str, float] = {}
        self._asking: set[str] = set()
        self._usual: tuple[float, Mapping[str, Side]] = (-1.0, {})  # of the stable release, until when
        self._baselines: dict[str, tuple[int, Counts]] = {}  # of callers: release, before

    def look(self, rollout: Rollout, candidate: Release, now: Now) -> Verdict | None:
        """The verdict now; None while the rollout is not to be judged."""
        if not judged(rollout):
            self._until_s = math.floor(now.boot_s - LAG_S)  # what passes meanwhile is not looked at later either
            return rollout.verdict if rollout.phase == "stepping" else None
        if rollout.id != self._rollout:
            self._rollout, self._analysis = rollout.id, rollout.analysis
            self._verdict, self._until_s = None, math.floor(now.boot_s - LAG_S)
            self._asked_s, self._asking = {}, set()
            self._usual = (-1.0, {})
        if self._began_s != (began_s := first_traffic_s(rollout)):
            self._began_s, self._baselines = began_s, {}
        policy = candidate.spec.rollout.analysis
        for from_s, to_s in self._due(now.boot_s):
            if drawn_by_lot(rollout):
                self._analysis = self._observed(policy, rollout, candidate, from_s, to_s)
                self._verdict = None
        if self._verdict is None:
            self._verdict = judge(policy, self._analysis, candidate.spec.rollout.checks)
        return self._verdict

    def due(self, rollout: Rollout, candidate: Release, now: Now) -> Sequence[Check]:
        """The checks to be asked now; each counts as asked from then on, and is not asked again before it has answered."""
        if not judged(rollout) or rollout.id != self._rollout:
            return ()
        checks = candidate.spec.rollout.checks
        found = [
            one
            for one in checks
            if one.name not in self._asking and now.boot_s >= self._asked_s.get(one.name, -one.every_s) + one.every_s
        ]
        self._asked_s |= {one.name: now.boot_s for one in found}
        self._asking |= {one.name for one in found}
        return found

    def answered(self, rollout: str, check: str, good: bool | None, text: str) -> None:
        """One answer; of a rollout that is over it is dropped."""
        if rollout == self._rollout:
            self._asking.discard(check)
            self._analysis, self._verdict = answered(self._analysis, check, good, text), None

    def kept(self, rollout: Rollout) -> Rollout:
        """The rollout with what was gathered for it."""
        return replace(rollout, analysis=self._analysis) if rollout.id == self._rollout else rollout

    def _due(self, now_s: float) -> Iterator[tuple[float, float]]:
        """The whole seconds since the last look; a long gap only by its end."""
        until_s = math.floor(now_s - LAG_S)
        self._until_s = max(self._until_s, until_s - MOST_S)
        while self._until_s + EVERY_S <= until_s:
            yield self._until_s, self._until_s + EVERY_S
            self._until_s += EVERY_S

    def _observed(
        self, policy: AnalysisPolicy, rollout: Rollout, candidate: Release, from_s: float, to_s: float
    ) -> Analysis:
        stable = rollout.stable or 0
        beside = rollout.phase == "stepping"
        began_s = first_traffic_s(rollout)
        # Beside each other the reference slides along; after the switch it is how the stable release was until then.
        before_s = from_s - from_s % REFRESH_S if beside else rollout.entered_s.get("shifting", began_s)
        mine = self._sides(candidate.n, from_s, to_s)
        others = self._sides(stable, from_s, to_s) if beside else {}
        usual = self._reference(stable, before_s)
        blocks = [
            Block(caller, mine.get(caller, _NOTHING), others.get(caller, _NOTHING), usual.get(caller, _NOTHING))
            for caller in sorted(mine.keys() | others.keys())
        ]
        return observe(
            policy,
            self._analysis,
            blocks,
            self._neighbours(mine, rollout, from_s, to_s),
            seconds=to_s - from_s,
            warm=from_s >= began_s + warmup_s(candidate),
            beside=beside,
        )

    def _reference(self, stable: int, until_s: float) -> Mapping[str, Side]:
        if self._usual[0] != until_s:
            self._usual = until_s, self._sides(stable, until_s - REFERENCE_S, until_s)
        return self._usual[1]

    def _sides(self, release: int, from_s: float, to_s: float) -> dict[str, Side]:
        """By caller, its releases together; who has no data is not there."""
        found: dict[str, Side] = {}
        for caller in {edge.caller for edge in self._signals.edges() if edge.callee == self.service}:
            window = self._signals.window(self.service, release, from_s, to_s, caller=caller)
            if window.seconds:
                found[caller] = _side(window)
        return found

    def _neighbours(
        self, mine: Mapping[str, Side], rollout: Rollout, from_s: float, to_s: float
    ) -> Iterator[Neighbour]:
        """Services that call the candidate: one that answers well and breaks its callers is a bad candidate, too.

        Each by the release that it was settled on at the first look: what a candidate of its own breaks is not our doing.
        """
        began_s = first_traffic_s(rollout)
        for caller in sorted(name for name in mine if name):
            if caller not in self._baselines:
                if (release := self._settled(caller)) is None:
                    continue
                before = self._signals.window(caller, release, began_s - BASELINE_S, began_s).counts
                self._baselines[caller] = release, before
            release, before = self._baselines[caller]
            seen = self._signals.window(caller, release, from_s, to_s).counts
            yield Neighbour(caller, seen.requests, seen.failures, before.requests, before.failures)


def judged(rollout: Rollout) -> bool:
    """Whether its candidate has traffic now, so that it is watched: by its checks, and mostly by its numbers."""
    if rollout.stable is None or rollout.kind != "deploy":
        return False
    step = rollout.steps[rollout.step] if rollout.steps else None
    if rollout.phase != "stepping" or step is None:
        return rollout.phase == "live"
    return rollout.filled_pct > 0 or rollout.stage == "watching"


def drawn_by_lot(rollout: Rollout) -> bool:
    """Whether chance alone says whose requests it gets: nobody compares those who ask for it by a header with the rest."""
    return rollout.phase != "stepping" or not rollout.steps[rollout.step].header


def first_traffic_s(rollout: Rollout) -> float:
    """Boot seconds at which the candidate got its first request, about."""
    entered = rollout.entered_s
    return entered.get("stepping", entered.get("shifting", entered.get("live", math.inf)))


def warmup_s(candidate: Release) -> float:
    """How long its latencies do not count."""
    said = candidate.spec.rollout.analysis.warmup_s
    return _WARMUP_S.get(candidate.artifact.builder, _USUAL_WARMUP_S) if said is None else said


def _side(window: Window) -> Side:
    """A request that only a retry saved counts as bad: its caller was lucky."""
    counts = window.counts
    return Side(counts.requests, min(counts.requests, counts.failures + counts.retries_won), counts.latency)
