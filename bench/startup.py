"""Start-up of the command line, against the interpreter's own.

`atoll --help`, `atoll status --json` (against a running environment with one service), `atoll check` (of its files) and what a
shell asks at a Tab behind `atoll logs ` beside `python -c pass`, which is the floor: the same interpreter in the same virtual
environment. One of each in turn, 15 rounds; wall time from start to exit. The ratio is taken round by round.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.report import Result
from bench.site import ATOLL, site
from bench.stats import Sample, ratio

TARGETS = {"atoll --help": 5.0, "atoll status --json": 8.0, "atoll check": 10.0, "Tab": 8.0}
TAB = {"_ATOLL_COMPLETE": "bash_complete", "COMP_WORDS": "atoll logs ", "COMP_CWORD": "2"}


def run(*, quick: bool) -> Result:
    rounds = 3 if quick else 15
    with site() as place:
        place.service(
            "orders", "http_service.py", f'run = ["{sys.executable}", "-S", "http_service.py"]\nroute = "/orders"'
        )
        place.atoll("up")
        commands: dict[str, Sequence[str]] = {
            "python -c pass": (sys.executable, "-c", "pass"),
            "atoll --help": (*ATOLL, "--help"),
            "atoll status --json": (*ATOLL, "status", "--json"),
            "atoll check": (*ATOLL, "check"),
            "Tab": ATOLL,
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for count in range(rounds + 1):
            for name, argv in commands.items():
                spent = _timed(argv, place.root, {**place.env, **TAB} if name == "Tab" else place.env)
                if count:  # the first round warms the page cache and writes bytecode
                    times[name].append(spent)
    result = Result()
    floor = times.pop("python -c pass")
    result.add("python -c pass", Sample.of(floor).text("ms", 1))
    for name, taken in times.items():
        result.add(name, Sample.of(taken).text("ms", 1))
        compared = ratio(taken, floor)
        target = TARGETS[name]
        result.add(f"{name} / python -c pass", compared.text("x"), f"at most {target:g} x", compared.median <= target)
    return result


def _timed(argv: Sequence[str], cwd: Path, env: Mapping[str, str]) -> float:
    """Milliseconds from start to exit."""
    began = time.perf_counter()
    # With a pipe its end is heard at once; without one `subprocess` looks for it each 50 ms.
    subprocess.run(argv, cwd=cwd, env=env, stdout=subprocess.PIPE, check=True, timeout=60)
    return (time.perf_counter() - began) * 1000
