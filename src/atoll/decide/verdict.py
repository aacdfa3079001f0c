"""Is the candidate worse than the stable release? What was measured, turned into a verdict that knows its sample.

The daemon calls `observe` with each second of a rollout, in which both releases got traffic (`beside`), or only the
candidate does (`after` the switch), and `judge` for what all of it says. What traffic can show is foretold by
`decide.foresight`. The statistics are those of `decide.evidence`; everything here may be looked at at any time.

Candidate and stable are compared in the same second and over the same edge, so what hits both (a slow database, a busy
machine, a bad client) convicts nobody. A slow request is one beyond a quantile of the stable release's own latencies,
as they were before that second; the candidate's limit is that much higher which the policy tolerates. Retries count as
failures: they hide a bad candidate from its callers, not from here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import log
from typing import NamedTuple

from msgspec.structs import replace

from atoll.decide.evidence import (
    FINE,
    WORSE,
    above,
    add,
    below,
    bets,
    chance,
    log_mean,
    reached,
    together,
    two_arms,
)
from atoll.model.analysis import Analysis, AnalysisPolicy, Answers, Check, Evidence, Finding, Outcome, Track, Verdict
from atoll.model.signals import Histogram, bounds, bucket_of

QUANTILES = (0.5, 0.9, 0.99)  # of the stable release: slower everywhere, slower at the tail, slower at its very end
MOST_FAILING = 3.0  # log e-value: what one second of failures, over all edges, may tell at most (odds of 20 to 1)
MOST_SLOW = (
    0.7  # and one of slow requests (2 to 1): one pause of one replica is one event, though it slows many requests
)
MAX_LATENCY_QUANTILE = 0.95  # that an objective for latency is about
SILENT = 3  # times in a row that a check did not answer: then it is not there
LEAST_REFERENCE = 20  # requests of the stable release before its quantiles mean something
FAILURES, LATENCY, BUDGET, SLOWER_THAN, CALLERS = "failures", "latency", "max_failures", "max_latency", "callers"
_TESTS = {
    FAILURES: "safe Cochran-Mantel-Haenszel test, stratified by second and edge",
    LATENCY: "safe Cochran-Mantel-Haenszel test of exceedances, stratified by second and edge",
    BUDGET: "Wald's sequential test against the objective",
    SLOWER_THAN: "Wald's sequential test against the objective",
    CALLERS: "Wald's sequential test against the minutes before",
}


class Side(NamedTuple):
    """What one release did in one block: requests, those of them that failed or were sent again, and waiting times."""

    requests: int
    bad: int
    latencies: Histogram


class Block(NamedTuple):
    """One second or so of one edge. `before` is the stable release a little earlier: the last minute of it, say."""

    caller: str  # "" is the gateway
    candidate: Side
    stable: Side
    before: Side


class Neighbour(NamedTuple):
    """One second or so of a caller itself, and how it was before the rollout: (requests, failed)."""

    caller: str
    requests: int
    failed: int
    before_requests: int
    before_failed: int


def observe(
    policy: AnalysisPolicy,
    analysis: Analysis,
    blocks: Iterable[Block],
    neighbours: Iterable[Neighbour] = (),
    *,
    seconds: float = 1.0,
    warm: bool = True,
    beside: bool = True,
) -> Analysis:
    """`analysis` with one more block of time.

    `warm` is False while the candidate's latencies do not count yet; `beside` False when the stable release gets no
    traffic any more: the candidate is then compared with what it was `before`.
    """
    tracks = dict(analysis.tracks)
    blocks = [block for block in blocks if block.candidate.requests or block.stable.requests]
    waits = [_waits(policy, block, beside) for block in blocks] if warm and policy.latency else [None] * len(blocks)
    for edge, those in _by_edge(blocks, tracks):
        _failures(policy, tracks, FAILURES + edge, [blocks[at] for at in those], beside)
        _latency(tracks, LATENCY + edge, [told for at in those if (told := waits[at]) is not None])
    _objectives(policy, tracks, [block.candidate for block in blocks], warm)
    for neighbour in neighbours:
        _neighbour(policy, tracks, neighbour)
    return replace(analysis, tracks=tracks, seconds=analysis.seconds + seconds)


def answered(analysis: Analysis, check: str, good: bool | None, text: str) -> Analysis:
    """With one more answer of a check; None is none at all."""
    before = analysis.answers.get(check, Answers())
    after = Answers(
        good=before.good + (good is True),
        bad=before.bad + (good is False),
        silent=before.silent + 1 if good is None else 0,
        text=text,
    )
    return replace(analysis, answers={**analysis.answers, check: after})


def judge(policy: AnalysisPolicy, analysis: Analysis, checks: Sequence[Check] = ()) -> Verdict:
    """What is known now. One test or check that convicts is enough to fail; to pass, both failures and latency must have
    excluded a regression of the size that the policy names, over at least its minimum of requests, and each check must
    have answered well.
    """
    findings = (
        *(_finding(policy, name, track) for name, track in analysis.tracks.items()),
        *(_checked(check, analysis.answers.get(check.name, Answers())) for check in checks),
    )
    overall = {one.metric: one for one in findings}
    failures, latency = overall.get(FAILURES), overall.get(LATENCY)
    failed = [one for one in findings if one.outcome == "fail"]
    sample = {
        "findings": findings,
        "requests": failures.total if failures else 0,
        "other_requests": failures.other_total if failures else 0,
        "seconds": analysis.seconds,
        **_outlook(policy, analysis),
    }
    if failed:
        return Verdict(outcome="fail", text="; ".join(one.text for one in failed), **sample)  # type: ignore[arg-type]
    silent = [one for one in findings if one.outcome == "error"]
    if silent:
        return Verdict(outcome="error", text="; ".join(one.text for one in silent), **sample)  # type: ignore[arg-type]
    needed = [failures] + ([latency] if policy.latency else [])
    missing = [one for one in needed if one is None or one.outcome == "no data"]
    if missing:
        text = _missing(policy, failures, latency)
        return Verdict(outcome="no data", text=text, **sample)  # type: ignore[arg-type]
    unasked = [overall[check.name] for check in checks]
    open_ = [one for one in (*needed, *unasked) if one is not None and one.outcome == "inconclusive"]
    if open_:
        return Verdict(outcome="inconclusive", text="; ".join(one.text for one in open_), **sample)  # type: ignore[arg-type]
    text = "; ".join(one.text for one in needed if one is not None)
    return Verdict(outcome="pass", text=text, **sample)  # type: ignore[arg-type]


def _missing(policy: AnalysisPolicy, failures: Finding | None, latency: Finding | None) -> str:
    seen, what = failures.total if failures else 0, "requests"
    if failures is not None and seen >= policy.min_requests:  # enough of them, but without a limit to hold them against
        seen, what = latency.total if latency else 0, "waiting times"
    return f"{seen} {what} were measured, {policy.min_requests} are the least to judge by"


def _outlook(policy: AnalysisPolicy, analysis: Analysis) -> Mapping[str, float | None]:
    """How near a pass is: `progress` and `pass_in_s` of a verdict. Of a good candidate evidence grows about evenly."""
    names = (FAILURES, LATENCY) if policy.latency else (FAILURES,)
    tracks = [analysis.tracks.get(name, Track(rank=1)) for name in names]
    grown = min(min(track.fine.peak / -log(policy.beta), track.total / max(1, policy.min_requests)) for track in tracks)
    progress = min(1.0, max(0.0, grown))
    seconds = analysis.seconds * (1.0 - progress) / progress if 0.0 < progress < 1.0 else None
    return {"progress": progress, "pass_in_s": seconds}


# --- gathering ----------------------------------------------------------------------------------------------------


def _by_edge(blocks: Sequence[Block], tracks: Mapping[str, Track]) -> Iterator[tuple[str, Sequence[int]]]:
    """All edges together, then each for itself where there are several, or were; as places in `blocks`."""
    if not blocks:
        return
    yield "", range(len(blocks))
    alone = len(blocks) == 1 and not any(name.startswith((f"{FAILURES} ", f"{LATENCY} ")) for name in tracks)
    if not alone:
        for at, block in enumerate(blocks):
            yield f" {block.caller or 'gateway'}", (at,)


def _failures(
    policy: AnalysisPolicy, tracks: dict[str, Track], name: str, blocks: Sequence[Block], beside: bool
) -> None:
    requests, bad = _sum(block.candidate for block in blocks)
    track = _counted(tracks, name, requests, bad, *_sum(block.stable for block in blocks))
    before, before_bad = _sum(block.before for block in blocks)
    known, known_bad = track.other_total + before, track.other_bad + before_bad
    usual = (known_bad + 0.5) / (known + 1.0) if known else 0.0  # add-half: never exactly none
    if beside:
        worse = together(
            two_arms(mine.bad, mine.requests, mine.bad + other.bad, mine.requests + other.requests, WORSE)
            for _, mine, other, _ in blocks
        )
        track = replace(track, worse=_mixed(track.worse, worse, MOST_FAILING))
    elif known:
        allowed = _upper(known_bad, known) + policy.tolerate_failures_pct / 100.0
        track = replace(track, worse=_mixed(track.worse, above(bad, requests, min(0.9, allowed)), MOST_FAILING))
    excluded = min(0.95, usual + policy.detect_failures_pct / 100.0)
    tracks[name] = replace(track, fine=add(track.fine, below(bad, requests, excluded)))


def _latency(tracks: dict[str, Track], name: str, told: Sequence["_Waits"]) -> None:
    if not told:
        return
    track = _counted(tracks, name, *map(sum, zip(*(one.counts for one in told), strict=True)))
    worse, fine = together(one.worse for one in told), together(one.fine for one in told)
    against = _mixed(track.worse, worse, MOST_SLOW) if worse else track.worse
    tracks[name] = replace(track, worse=against, fine=_mixed(track.fine, fine, MOST_SLOW))


class _Waits(NamedTuple):
    """What one edge's waiting times tell in one block. `counts`: candidate's, slow of them, stable's, slow of them."""

    worse: Sequence[float]
    fine: Sequence[float]
    counts: tuple[int, int, int, int]


def _waits(policy: AnalysisPolicy, block: Block, beside: bool) -> _Waits | None:
    """None where too little is known of the stable release to call anything slow."""
    mine, other, before = block.candidate.latencies, block.stable.latencies, block.before.latencies
    if before.total < LEAST_REFERENCE:
        return None
    worse: list[float] = []
    fine: list[float] = []
    counts = (0, 0, 0, 0)
    for share in QUANTILES:
        # All counts are by whole buckets. To convict, the limit is the upper end of the quantile's bucket, and of the
        # candidate only those count that are beyond it for sure; to pass, the lower end, and all that may be beyond it.
        low_s, high_s = bounds(bucket_of(before.quantile(share) or 0.0))
        slow, slower = other.at_least(high_s), mine.above(tolerated_s(policy, high_s))
        usual, regressed = other.at_least(low_s), mine.at_least(regressed_s(policy, low_s))
        if beside:
            everything = mine.total + other.total
            worse += two_arms(slower, mine.total, slower + slow, everything, WORSE)
            fine += two_arms(regressed, mine.total, regressed + usual, everything, FINE)
            fine += bets(regressed, mine.total, regressed + usual, everything)
        else:
            # Over time it is load that waiting times tell: they may acquit, and never convict. `max_latency` does.
            fine += below(regressed, mine.total, min(0.9, before.at_least(low_s) / before.total))
        if share == QUANTILES[1]:
            counts = (mine.total, slower, other.total, slow)
    return _Waits(worse, fine, counts)


def _objectives(policy: AnalysisPolicy, tracks: dict[str, Track], mine: Sequence[Side], warm: bool) -> None:
    if policy.max_failures_pct is not None and mine:
        requests, bad = _sum(mine)
        track = _counted(tracks, BUDGET, requests, bad)
        logs = above(bad, requests, max(1e-6, policy.max_failures_pct / 100.0))
        tracks[BUDGET] = replace(track, worse=add(track.worse, logs, MOST_FAILING))
    if policy.max_latency_s is not None and mine and warm:
        slow = sum(side.latencies.above(policy.max_latency_s) for side in mine)
        total = sum(side.latencies.total for side in mine)
        track = _counted(tracks, SLOWER_THAN, total, slow)
        logs = above(slow, total, 1.0 - MAX_LATENCY_QUANTILE)
        tracks[SLOWER_THAN] = replace(track, worse=add(track.worse, logs, MOST_SLOW))


def _sum(sides: Iterable[Side]) -> tuple[int, int]:
    """Requests, and bad ones."""
    counts = [(side.requests, side.bad) for side in sides]
    return sum(requests for requests, _ in counts), sum(bad for _, bad in counts)


def _neighbour(policy: AnalysisPolicy, tracks: dict[str, Track], seen: Neighbour) -> None:
    if seen.before_requests < policy.min_requests:
        return
    name = f"{CALLERS} {seen.caller}"
    allowed = _upper(seen.before_failed, seen.before_requests) + policy.tolerate_failures_pct / 100.0
    track = _counted(tracks, name, seen.requests, seen.failed)
    track = replace(track, other_total=seen.before_requests, other_bad=seen.before_failed)
    tracks[name] = replace(track, worse=add(track.worse, above(seen.failed, seen.requests, allowed), MOST_FAILING))


def _counted(
    tracks: Mapping[str, Track], name: str, total: int, bad: int, other_total: int = 0, other_bad: int = 0
) -> Track:
    track = tracks.get(name) or Track(rank=len(tracks) + 1)
    return replace(
        track,
        total=track.total + total,
        bad=track.bad + bad,
        other_total=track.other_total + other_total,
        other_bad=track.other_bad + other_bad,
    )


def _mixed(evidence: Evidence, logs: list[float] | tuple[float, ...], most: float) -> Evidence:
    """Evidence that goes on although the test behind it changed (from beside to after): its mixture is carried over."""
    if evidence.logs and len(evidence.logs) != len(logs):
        evidence = Evidence((log_mean(evidence.logs),) * len(logs), evidence.peak)
    return add(evidence, logs, most)


def tolerated_s(policy: AnalysisPolicy, limit_s: float) -> float:
    """What the candidate may take where the stable release takes `limit_s`, without being called slower."""
    return max(limit_s * (1.0 + policy.tolerate_slower_pct / 100.0), limit_s + policy.tolerate_slower_s)


def regressed_s(policy: AnalysisPolicy, limit_s: float) -> float:
    """What it would take with a regression of the size that has to be excluded."""
    return max(limit_s * (1.0 + policy.detect_slower_pct / 100.0), limit_s + 2.0 * policy.tolerate_slower_s)


def _upper(bad: int, total: int) -> float:
    """The upper end of Wilson's 95 % interval for a share (0..1): what the stable release may well be like."""
    z2, share = 3.8416, bad / total
    centre, spread = share + z2 / (2 * total), (share * (1 - share) / total + z2 / (4 * total**2)) ** 0.5
    return float(min(1.0, (centre + 1.96 * spread) / (1 + z2 / total)))


# --- judging ------------------------------------------------------------------------------------------------------


def alpha_of(policy: AnalysisPolicy, rank: int) -> float:
    """The share of alpha that the test of that rank may spend: alpha/2, /6, /12 ...; all of them together spend alpha."""
    return policy.alpha / (rank * (rank + 1))


def _finding(policy: AnalysisPolicy, name: str, track: Track) -> Finding:
    alpha = alpha_of(policy, track.rank)
    metric = name.partition(" ")[0]
    outcome: Outcome
    if reached(track.worse, alpha) and _material(policy, metric, track):
        outcome = "fail"
    elif track.total < policy.min_requests:
        outcome = "no data"
    elif metric in (FAILURES, LATENCY) and not reached(track.fine, policy.beta):
        outcome = "inconclusive"
    else:
        outcome = "pass"
    return Finding(
        metric=name,
        outcome=outcome,
        test=_TESTS[metric],
        total=track.total,
        bad=track.bad,
        other_total=track.other_total,
        other_bad=track.other_bad,
        chance=chance(track.worse),
        alpha=alpha,
        text=_sentence(policy, name, track, outcome),
    )


def _checked(check: Check, answers: Answers) -> Finding:
    outcome: Outcome = "pass" if answers.good else "inconclusive"
    said = f": {answers.text}" if answers.text else ""
    text = f"{check.name} is well{said}" if answers.good else f"{check.name} has not answered yet"
    if answers.silent >= SILENT:
        outcome, text = "error", f"{check.name} does not answer{said}"
    if answers.bad > check.failures:
        outcome, text = "fail", f"{check.name} is not well{said}"
    total = answers.good + answers.bad
    return Finding(
        metric=check.name, outcome=outcome, test="a check of its file", total=total, bad=answers.bad, text=text
    )


def _material(policy: AnalysisPolicy, metric: str, track: Track) -> bool:
    """Whether the difference matters, besides being shown: a large sample shows the smallest."""
    if metric != FAILURES or not track.total:
        return True
    usual = track.other_bad / track.other_total if track.other_total else 0.0
    return track.bad / track.total - usual >= policy.tolerate_failures_pct / 100.0


def _sentence(policy: AnalysisPolicy, name: str, track: Track, outcome: Outcome) -> str:
    metric, _, edge = name.partition(" ")
    where = f" (called by {edge})" if edge and metric != CALLERS else ""
    mine, other = _share(track.bad, track.total), _share(track.other_bad, track.other_total)
    # All at once there was no second that both had: then it is what it was before the switch.
    against = f"{other} of the stable release's" if track.other_total else "compared with the stable release before"
    match metric:
        case "failures":
            said = f"{mine} of its requests failed{where}, {against}"
            points = policy.detect_failures_pct
            want = f"{points:g} point{'' if points == 1 else 's'} more"
        case "latency":
            said = f"{mine} of its requests were slow{where}, {against}"
            want = f"{policy.detect_slower_pct:g} % slower"
        case "max_failures":
            return f"{mine} of its requests failed, {policy.max_failures_pct:g} % are allowed"
        case "max_latency":
            limit = f"{(policy.max_latency_s or 0) * 1000:g} ms"
            return f"{mine} of its requests took more than {limit}, {100 * (1 - MAX_LATENCY_QUANTILE):g} % are allowed"
        case _:
            return f"{mine} of the requests to {edge} failed, {other} before the rollout"
    match outcome:
        case "inconclusive":
            few = "too few" if track.other_total or metric != LATENCY else "too few, or there was more load,"
            return f"{said}: {few} to exclude {want}"
        case "pass":
            return f"{said}: {want} is excluded"
    return said


def _share(bad: int, total: int) -> str:
    if not total:
        return "none"
    pct = 100.0 * bad / total
    return f"{pct:.2f} % ({bad} of {total})" if 0 < pct < 10 else f"{pct:.0f} % ({bad} of {total})"
