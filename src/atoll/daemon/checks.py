"""Asks what a rollout's file wants asked besides the proxy's counts: a URL, Prometheus, or a command in the candidate.

A service's loop calls `ask` when a check is due; what the answers mean is `decide.verdict`'s. Every question has a deadline,
and none holds up the loop.
"""

import asyncio
import json
import math
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from atoll.daemon.outward import fetch
from atoll.decide.facts import is_ready
from atoll.model.analysis import Check
from atoll.model.errors import AtollError
from atoll.model.spec import Command
from atoll.model.state import Observation
from atoll.ports import Engine

_MOST_BYTES = 1 << 20  # of an answer that is looked at
_SHOWN = 120  # characters of an answer that people see


async def ask(check: Check, engine: Engine, seen: Observation, candidate: int) -> tuple[bool | None, str]:
    """Whether it is well, and the answer in words; None when there was none."""
    try:
        async with asyncio.timeout(check.timeout_s + 1.0):  # each way has its own, earlier deadline
            if check.command is not None:
                return await _command(check, check.command, engine, seen, candidate)
            if check.query:
                return await _prometheus(check)
            return await _http(check)
    except TimeoutError:
        return None, f"no answer within {check.timeout_s:g} s"
    except (AtollError, OSError, ValueError) as exc:
        return None, _short(str(exc))


async def _command(
    check: Check, command: Command, engine: Engine, seen: Observation, candidate: int
) -> tuple[bool | None, str]:
    mine = [one for one in seen.replicas if one.record.release == candidate and is_ready(one)]
    if not mine:
        return None, "no replica of the candidate is ready"
    argv = command.argv or ("/bin/sh", "-c", command.shell or "")
    ended, output = await engine.exec(mine[0].id, argv, check.timeout_s)
    last = output.strip().rpartition("\n")[2]
    return ended.code == 0, _short(f"{ended.text}{f': {last}' if last else ''}")


async def _http(check: Check) -> tuple[bool | None, str]:
    reply = await fetch(check.http, check.timeout_s)
    return reply.good, f"status {reply.status}"


async def _prometheus(check: Check) -> tuple[bool | None, str]:
    address = f"{check.prometheus.rstrip('/')}/api/v1/query?{urlencode({'query': check.query})}"
    reply = await fetch(address, check.timeout_s, most_bytes=_MOST_BYTES)
    if not reply.good:
        return None, _short(f"Prometheus answered {reply.status}: {reply.body[:_SHOWN].decode(errors='replace')}")
    values = _values(reply.body)
    if not values:
        return None, "the query has no value"
    low, high = -math.inf if check.min is None else check.min, math.inf if check.max is None else check.max
    beyond = [value for value in values if not low <= value <= high]
    shown = ", ".join(f"{value:g}" for value in (beyond or values)[:5])
    limits = " and ".join(
        f"{word} {limit:g}" for word, limit in (("at least", check.min), ("at most", check.max)) if limit is not None
    )
    return not beyond, f"{shown}, {limits} is wanted"


def _values(body: bytes) -> Sequence[float]:
    """The values of an instant query: a scalar, or one a series. NaN, which is no measurement, is left out."""
    try:
        data = json.loads(body)["data"]
        result: Any = data["result"]
        rows = [result] if data["resultType"] == "scalar" else [row["value"] for row in result if "value" in row]
        return [value for row in rows if not math.isnan(value := float(row[1]))]
    except (LookupError, TypeError, ValueError):
        raise ValueError("the answer is none of Prometheus'") from None


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"
