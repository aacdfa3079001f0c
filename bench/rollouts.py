"""How often real rollouts of the same code are rolled back: A/A canaries, with real Envoy, processes and requests.

Twelve services in one environment, each under a steady load of its own, are deployed again and again with nothing changed but
a number in a variable: 20 % of the requests, 50 %, all, each step after a passing verdict, then a bake of 30 s. They answer at
once or after some milliseconds, evenly or spread widely; two of them fail one request in a hundred in both releases. All
share two cores with the load and with whatever else the machine does, and a candidate starts cold on one of them. The
analysis is the default one (alpha 1 %, failures and latency, 20 % and 5 ms slower tolerated), except that 2 points more
failures are to be excluded instead of 1, which shortens each rollout. Any conviction is a false one: each is listed with
its numbers. The share has its 95 % Wilson interval.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any, NamedTuple

from examples.load import Load, Request

from atoll.model.analysis import AnalysisPolicy
from bench.report import Result
from bench.site import ATOLL, Site, site
from bench.stats import Sample, wilson

ALPHA = AnalysisPolicy().alpha
RATE = 30.0  # requests a second to each service
SERVICE = """
run = ["{python}", "-S", "http_service.py"]
route = "/{name}"
replicas = {replicas}
health = {{ ready = "/healthz", stable_for = "300ms" }}
[rollout]
strategy = "canary"
steps = [{{ weight = "20%", hold = "2s" }}, {{ weight = "50%", hold = "2s" }}]
bake = "30s"
deadline = "90s"
on_no_data = "promote"
on_inconclusive = "promote"
[rollout.analysis]
detect_failures = "2%"
"""
DEPLOY_S = 400.0  # both steps' deadlines, the bake, and the start on a busy machine
BASELINE_S = 15.0  # of load before the first deploy


class Kind(NamedTuple):
    """One of the services: how it answers, in both releases."""

    name: str
    replicas: int
    env: dict[str, str]

    @property
    def told(self) -> str:
        """`20 ms, spread 0.5, failing 0.01, 2 replicas`."""
        env = self.env
        parts = [f"{env['WORK_MS']} ms" if "WORK_MS" in env else "at once"]
        parts += [f"spread {env['SPREAD']}"] if "SPREAD" in env else []
        parts += [f"failing {env['FAIL_SHARE']}"] if "FAIL_SHARE" in env else []
        return ", ".join([*parts, f"{self.replicas} replica{'' if self.replicas == 1 else 's'}"])


KINDS = (
    Kind("instant", 2, {}),
    Kind("single", 1, {"WORK_MS": "5"}),
    Kind("even", 2, {"WORK_MS": "20"}),
    Kind("even2", 1, {"WORK_MS": "30"}),
    Kind("slow", 2, {"WORK_MS": "60"}),
    Kind("slow2", 1, {"WORK_MS": "120"}),
    Kind("spread", 2, {"WORK_MS": "20", "SPREAD": "0.5"}),
    Kind("spread2", 1, {"WORK_MS": "40", "SPREAD": "0.5"}),
    Kind("wide", 3, {"WORK_MS": "15", "SPREAD": "1"}),
    Kind("wide2", 2, {"WORK_MS": "30", "SPREAD": "0.8"}),
    Kind("failing", 2, {"WORK_MS": "10", "FAIL_SHARE": "0.01"}),
    Kind("failing2", 1, {"WORK_MS": "20", "SPREAD": "0.7", "FAIL_SHARE": "0.01"}),
)


class Ended(NamedTuple):
    """One rollout: `operation` is what `atoll deploy --json` says of it at its end."""

    kind: Kind
    operation: Any

    @property
    def convicted(self) -> bool:
        return bool(self.operation["phase"] == "undone")

    @property
    def told(self) -> str:
        """Its last verdict: `pass`, `fail`, `inconclusive` ..."""
        return str((self.operation.get("stepping") or {}).get("verdict", {}).get("outcome", "no data"))

    @property
    def seconds(self) -> float:
        """From the accepted request until it was live, or undone."""
        return float(self.operation["receipt"]["seconds"]["total"])


def run(*, quick: bool) -> Result:
    each = 1 if quick else 9
    began = time.monotonic()
    with site() as place:
        for kind in KINDS:
            _write(place, kind, 0)
        place.atoll("up")
        rollouts, sent = asyncio.run(_all(place, each))
    return _told(rollouts, sent, time.monotonic() - began)


def _told(rollouts: list[Ended], sent: int, seconds: float) -> Result:
    result = Result()
    convicted = [one for one in rollouts if one.convicted]
    low, high = wilson(len(convicted), len(rollouts))
    share = f"{len(convicted)} of {len(rollouts)}: {100 * len(convicted) / len(rollouts):.1f} %"
    result.add(
        "rolled back although nothing had changed",
        f"{share} ({100 * low:.1f} to {100 * high:.1f})",
        f"at most {100 * ALPHA:g} %",
        low <= ALPHA,
    )
    outcomes = Counter(one.told for one in rollouts if not one.convicted)
    result.add(
        "of the others: the last verdict", ", ".join(f"{count} {name}" for name, count in outcomes.most_common())
    )
    for kind in KINDS:
        mine = [one.seconds for one in rollouts if one.kind is kind and not one.convicted]
        if mine:
            result.add(f"accepted to live: {kind.told}", Sample.of(mine).text("s", 0))
    result.notes += [f"Rolled back: {_finding(one)}." for one in convicted]
    result.notes.append(
        f"{sent:,} requests in {seconds / 60:.0f} minutes, {RATE:g} a second to each of {len(KINDS)} services."
    )
    return result


def _finding(one: Ended) -> str:
    """Why it was convicted, with the numbers."""
    verdict = one.operation["stepping"].get("verdict")
    findings = [found for found in (verdict or {}).get("findings", ()) if found["outcome"] == "fail"]
    told = "; ".join(
        f"{found['metric']} {found.get('bad', 0)} of {found['total']} against {found.get('other_bad', 0)} of"
        f" {found.get('other_total', 0)}, by chance {100 * found['chance']:.2g} %"
        for found in findings
    )
    where = "in the bake" if "live" in one.operation["phases"] else "beside the stable release"
    return f"{one.kind.name}, {where}: {told or one.operation['receipt']['reason']}"


async def _all(place: Site, each: int) -> tuple[list[Ended], int]:
    """Each service deployed `each` times, all services side by side; the rollouts, and how many requests were sent."""
    loads = [Load(place.url, RATE, [_request(kind)], deadline_s=20) for kind in KINDS]
    for load in loads:
        load.start()
        await asyncio.sleep(1 / RATE / len(loads))  # not all at the same instant
    try:
        await asyncio.sleep(BASELINE_S)
        rows = await asyncio.gather(*(_deploys(place, kind, each) for kind in KINDS))
    finally:
        for load in loads:
            await load.stop()
    return [one for row in rows for one in row], sum(load.sent for load in loads)


def _request(kind: Kind) -> Request:
    return Request("GET", f"/{kind.name}", statuses=frozenset({200, 500}))


async def _deploys(place: Site, kind: Kind, count: int) -> list[Ended]:
    rows = []
    for number in range(1, count + 1):
        _write(place, kind, number)
        rows.append(Ended(kind, await _deploy(place, kind.name)))
    return rows


async def _deploy(place: Site, name: str) -> Any:
    """`atoll deploy` until its bake is over; the operation, however it ended. Raises RuntimeError when none is told."""
    process = await asyncio.create_subprocess_exec(
        *ATOLL, "deploy", name, "--wait", "certified", "--json", cwd=place.root, env=place.env,
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        out, err = await asyncio.wait_for(process.communicate(), DEPLOY_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        [operation] = json.loads(out)
    except ValueError:
        raise RuntimeError(f"atoll deploy {name} ended with {process.returncode}:\n{err.decode()}") from None
    return operation


def _write(place: Site, kind: Kind, number: int) -> None:
    toml = SERVICE.format(python=sys.executable, name=kind.name, replicas=kind.replicas)
    place.service(kind.name, "http_service.py", toml, {"VERSION": f"v{number}", **kind.env})
