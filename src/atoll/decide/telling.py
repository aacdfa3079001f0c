"""In which order a receiver of webhooks is told of events, and when again, so that one that it refuses holds up no other. Pure.

`daemon.notifier` sends. Events go in the order of the ledger. One that the receiver refuses (4xx) is put aside at once and has times of its
own to be tried again. One that nobody answers for, or with 5xx, may mean that the receiver is away: it is tried again, and a later one
between. When that one is taken, the receiver is there, and those before it are put aside; while none is, all keep their order. (Stripe
and Svix try each event by its own times at once, and promise no order.)
"""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from atoll.model.state import Event

GIVE_UP_S = 86_400.0  # after an event: a receiver that was away for days is told of the last one, not of everything
_FIRST_S, _LONGEST_S = 1.0, 300.0  # between two tries at the first in line
_SURE = 3  # tries until a later one is tried between
_ASIDE_S = (30.0, 120.0, 600.0, 3600.0, 3 * 3600.0, 6 * 3600.0)  # then each six hours
MOST_ASIDE = 1000  # one that refuses everything has no longer list than that; they are kept in a file
_SHOWN_S = 7 * 86_400.0  # how long people are told of what was given up


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """An event that later ones went past. `wall` is its own time, `again_wall` that of the next try."""

    seq: int
    wall: float
    again_wall: float
    tries: int = 0
    problem: str = ""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """How far one receiver was told; kept from daemon to daemon."""

    told: int  # up to this event all were taken, put aside or given up
    tries: int = 0  # in vain, at the first in line
    since_wall: float = 0.0  # of the first of those
    again_wall: float = 0.0
    problem: str = ""  # of the last try
    between: int = 0  # later ones that were tried in vain
    tried_between: bool = False  # since the last try at the first
    aside: tuple[Aside, ...] = ()
    lost: int = 0  # given up in all
    lost_wall: float = 0.0


def choose(line: Line, waiting: Sequence[Event], now_wall: float) -> int | None:
    """The event (by `seq`) to tell now; None: there is none until something happens, or for `rest_s`. `waiting` are those in line."""
    if waiting:
        if line.tries == 0 or _due(line.again_wall, now_wall, _LONGEST_S):
            return waiting[0].seq
        if line.tries >= _SURE and not line.tried_between and len(waiting) > 1:
            return waiting[1 + line.between % (len(waiting) - 1)].seq
    return next((one.seq for one in line.aside if _due(one.again_wall, now_wall, _ASIDE_S[-1])), None)


def taken(line: Line, waiting: Sequence[Event], seq: int, now_wall: float) -> Line:
    """It was taken. Those in line before it are put aside: what keeps them is no matter of the receiver as a whole."""
    if _is_aside(line, seq):
        return replace(line, aside=_without(line, seq))
    passed = [event for event in waiting if event.seq < seq]
    aside = [_put_aside(event, line.problem, now_wall) for event in passed[:1]]
    aside += [
        Aside(seq=event.seq, wall=event.wall, again_wall=now_wall) for event in passed[1:]
    ]  # perhaps nobody refuses these
    return _advanced(replace(line, aside=(*line.aside, *aside)), seq)


def refused(line: Line, waiting: Sequence[Event], seq: int, problem: str, now_wall: float, *, there: bool) -> Line:
    """It was not taken. `there`: the receiver answered that it does not want this one (4xx)."""
    if _is_aside(line, seq):
        return replace(
            line, aside=tuple(_later(one, problem, now_wall) if one.seq == seq else one for one in line.aside)
        )
    if seq != waiting[0].seq:
        return replace(line, between=line.between + 1, tried_between=True)
    if there:
        return _advanced(replace(line, aside=(*line.aside, _put_aside(waiting[0], problem, now_wall))), seq)
    return replace(
        line,
        tries=line.tries + 1,
        since_wall=line.since_wall if line.tries else now_wall,
        again_wall=now_wall + min(_LONGEST_S, _FIRST_S * 2 ** min(line.tries, 16)),
        problem=problem,
        tried_between=False,
    )


def given_up(line: Line, waiting: Sequence[Event], now_wall: float) -> tuple[Line, Sequence[int]]:
    """Without those that are a day old, or too many, and their numbers."""
    late = now_wall - GIVE_UP_S
    aside = sorted(line.aside, key=lambda one: one.seq)
    excess = MOST_ASIDE // 10 if len(aside) > MOST_ASIDE else 0  # several at once, as each time is told in the ledger
    old = [one.seq for at, one in enumerate(aside) if one.wall <= late or at < excess]
    line = replace(line, aside=_without(line, *old))
    for event in waiting:
        if event.wall > late:
            break
        old.append(event.seq)
        line = replace(line, told=event.seq)  # the receiver is away as before
    return (replace(line, lost=line.lost + len(old), lost_wall=now_wall) if old else line), old


def rest_s(line: Line, waiting: Sequence[Event], now_wall: float) -> float:
    """How long nothing is due, where `choose` has nothing; at most some minutes."""
    times = [one.again_wall for one in line.aside] + ([line.again_wall] if waiting else [])
    return min(_LONGEST_S, max(0.0, min(times, default=now_wall + _LONGEST_S) - now_wall))


def trouble(line: Line, now_wall: float) -> tuple[str, ...]:
    """What a person should know of a receiver, in ends of sentences that begin with its name."""
    found = []
    if line.tries >= _SURE:
        found.append(
            f"takes nothing for {_ago(now_wall - line.since_wall)} ({line.problem}); it is told of what happens when it is back"
        )
    if line.aside:
        last = max(line.aside, key=lambda one: one.seq)
        count = f"{len(line.aside)} events" if len(line.aside) > 1 else "an event"
        found.append(f"refuses {count}, the last one {last.seq} ({last.problem}); tried again until a day old")
    if line.lost and now_wall - line.lost_wall < _SHOWN_S:
        count = f"{line.lost} events" if line.lost > 1 else "one event"
        found.append(
            f"was never told of {count}, the last {_ago(now_wall - line.lost_wall)} ago; notify.lost in `atoll events`"
        )
    return tuple(found)


def _due(at_wall: float, now_wall: float, longest_s: float) -> bool:
    return now_wall >= at_wall or at_wall - now_wall > longest_s  # the clock was set back


def _advanced(line: Line, seq: int) -> Line:
    return replace(line, told=seq, tries=0, again_wall=0.0, problem="", between=0, tried_between=False)


def _put_aside(event: Event, problem: str, now_wall: float) -> Aside:
    return _later(Aside(seq=event.seq, wall=event.wall, again_wall=0.0), problem, now_wall)


def _later(one: Aside, problem: str, now_wall: float) -> Aside:
    wait_s = _ASIDE_S[min(one.tries, len(_ASIDE_S) - 1)]
    return replace(one, tries=one.tries + 1, again_wall=now_wall + wait_s, problem=problem)


def _is_aside(line: Line, seq: int) -> bool:
    return any(one.seq == seq for one in line.aside)


def _without(line: Line, *gone: int) -> tuple[Aside, ...]:
    return tuple(one for one in line.aside if one.seq not in gone)


def _ago(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
