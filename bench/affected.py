"""What is affected by an edit, and a run in which nothing is: Atoll beside Turborepo, Nx and moon.

A repository of 1,000 services and 50 shared packages, 20 files each, committed with git; a service uses two packages. The
peers come from npm into a temporary folder and run with their defaults, daemons too. Each round edits one more service and
asks each tool in random order which services are affected: `atoll affected`, `turbo ls --affected`, `nx show projects
--affected`, `moon query projects --affected`; beside them `git diff` and `git status`, the floor of all that ask git. An
answer that is not exactly the edited services is counted as wrong. For this part what passed is written into Atoll's records
without building, and forgotten after it. Cold: each has forgotten what it remembers (Atoll its snapshot, the others their caches and daemons). Times are
those of whole commands. Then all builds run once (one `cat` a service), and a run in which each comes from the cache is timed.
For that first run npm is replaced by a script that runs the package's script at once.
"""

from __future__ import annotations

import math
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from bench import monorepo
from bench.monorepo import Monorepo, Tool
from bench.report import Result
from bench.site import temporary
from bench.stats import Sample, ratio

SIZES = (10, 100, 1000, 10_000)
_PASSED = """
import sys, time
from pathlib import Path
from atoll.app.hooks import AppHooks
from atoll.model.records import TaskRecord
from atoll.pipeline.keys import keyed
hooks, root = AppHooks(), Path(sys.argv[1]).resolve()
places = hooks.places(root, "local")
with hooks.records(places) as records:
    now = time.time()
    for each in keyed(hooks.premises(places, root)).values():
        records.add(TaskRecord(task=each.id, key=each.key, outcome="passed", seconds=0.01, wall=now), each.manifest)
"""


def run(*, quick: bool) -> Result:
    result = Result()
    with temporary() as folder:
        repo = Monorepo(folder, 100 if quick else 1000)
        try:
            tools: dict[str, Tool] = {"atoll": monorepo.atoll(repo)}
            try:
                tools |= dict(monorepo.peers(repo, folder))
            except (RuntimeError, OSError, subprocess.SubprocessError) as exc:
                result.notes.append(f"The peers are missing: {exc}.")
            _affected(repo, tools, result, rounds=3 if quick else 12)
            shutil.rmtree(repo.home)  # what was only written into the records is no result
            _cached(tools, result, rounds=2 if quick else 6)
            for tool in tools.values():
                tool.stop()
        finally:
            monorepo.end(repo.env)
    result.chart = _growth(SIZES[:2] if quick else SIZES, rounds=3 if quick else 5)
    return result


# --- one edit -------------------------------------------------------------------------------------------------------


def _affected(repo: Monorepo, tools: Mapping[str, Tool], result: Result, rounds: int) -> None:
    repo.run(sys.executable, "-c", _PASSED, str(repo.root))
    warm: dict[str, list[float]] = {name: [] for name in (*tools, "git")}
    cold: dict[str, list[float]] = {name: [] for name in tools}
    wrong = dict.fromkeys(tools, 0)
    order = [*tools, "git"]
    for count in range(rounds + 1):
        repo.edit(count * 7 % len(repo.services))
        random.shuffle(order)
        for name in order:
            if name == "git":
                spent = _timed(partial(_git, repo))[0]
            else:
                spent, said = _timed(tools[name].affected)
                wrong[name] += not tools[name].right(said)
            if count:  # the first round warms every cache
                warm[name].append(spent)
    for _ in range(min(3, rounds)):
        for name, tool in tools.items():
            tool.stop()
            tool.cold()
            cold[name].append(_timed(tool.affected)[0])
    floor = Sample.of(warm.pop("git"))
    result.add("git diff + git status", floor.text("ms", 0))
    ours = Sample.of(warm["atoll"]).median
    limit = 2 * floor.median + 100
    result.add(
        "affected, warm: atoll", Sample.of(warm["atoll"]).text("ms", 0), f"at most {limit:.0f} ms", ours <= limit
    )
    for name in list(warm)[1:]:
        compared = ratio(warm[name], warm["atoll"])
        result.add(f"affected, warm: {name}", Sample.of(warm[name]).text("ms", 0))
        wanted = name in {"turbo", "nx"}
        met = compared.median > 1 if wanted else None
        result.add(f"affected, warm: {name} / atoll", compared.text("x"), "more than 1 x" if wanted else "", met)
    for name, spent in cold.items():
        result.add(f"affected, cold: {name}", Sample.of(spent).text("ms", 0))
    result.notes += [f"{name} gave {count} wrong answers of {rounds + 1}." for name, count in wrong.items() if count]


def _git(repo: Monorepo) -> None:
    repo.git("diff", "--name-only", "HEAD")
    repo.git("status", "--porcelain")


# --- a run in which nothing is to be done ---------------------------------------------------------------------------


def _cached(tools: Mapping[str, Tool], result: Result, rounds: int) -> None:
    first: dict[str, float] = {}
    for name, tool in tools.items():
        try:
            first[name] = _timed(tool.build)[0]
        except subprocess.SubprocessError as exc:
            result.notes.append(f"{name} could not run all builds: {str(exc)[:200]}.")
    spent: dict[str, list[float]] = {name: [] for name in first}
    order = list(first)
    for count in range(rounds + 1):
        random.shuffle(order)
        for name in order:
            took = _timed(tools[name].build)[0]
            if count:
                spent[name].append(took)
    for name, took in first.items():
        result.add(f"first run of all builds: {name}", f"{took / 1000:.1f} s")
    for name, times in spent.items():
        result.add(f"all builds cached: {name}", Sample.of(times).text("ms", 0))
        if name != "atoll" and "atoll" in spent:
            compared = ratio(times, spent["atoll"])
            result.add(f"all builds cached: {name} / atoll", compared.text("x"), "more than 1 x", compared.median > 1)


# --- growth ---------------------------------------------------------------------------------------------------------


def _growth(sizes: Sequence[int], rounds: int) -> str:
    """How long `atoll affected` takes with so many services, beside git's floor, as a chart in text."""
    bars: list[tuple[str, float]] = []
    for size in sizes:
        warm, git, cold = _grown(size, rounds)
        bars += [(f"{size:>6,} services  warm", warm), (" " * 17 + "git", git), (" " * 17 + "cold", cold)]
    return chart(bars)


def _grown(size: int, rounds: int) -> tuple[float, float, float]:
    """Milliseconds: warm after an edit, git's floor, cold."""
    with temporary() as folder:
        repo = Monorepo(folder, size)
        tool, warm, git = monorepo.atoll(repo), list[float](), list[float]()
        cold = _timed(tool.affected)[0]
        repo.run(sys.executable, "-c", _PASSED, str(repo.root), timeout_s=600)
        for count in range(rounds + 1):
            repo.edit(count)
            warm.append(_timed(tool.affected)[0])
            git.append(_timed(partial(_git, repo))[0])
        return Sample.of(warm[1:]).median, Sample.of(git[1:]).median, cold


def chart(bars: Sequence[tuple[str, float]]) -> str:
    """Bars of milliseconds on a logarithmic scale: ten times as much is 12 characters more."""
    wide = max(len(name) for name, _ in bars)
    return "\n".join(f"{name:<{wide}}  {'#' * max(1, round(12 * math.log10(ms)))} {ms:,.0f} ms" for name, ms in bars)


def _timed(what: Callable[[], object]) -> tuple[float, str]:
    """Milliseconds, and what it returned."""
    began = time.perf_counter()
    said = what()
    return (time.perf_counter() - began) * 1000, str(said or "")
