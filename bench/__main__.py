"""`python -m bench`: run benchmarks one after the other, print what they measured, write the page when asked."""

from __future__ import annotations

import argparse
import sys
import time
from importlib import import_module
from typing import TYPE_CHECKING

from bench import report

if TYPE_CHECKING:
    from collections.abc import Sequence

NAMES = (
    *("deploy", "respawn", "faults", "startup", "newcomer", "idle", "endpoints", "proxy"),
    *("signals", "verdicts", "rollouts", "delivery", "containers", "edits", "affected"),
)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m bench", description="Atoll's benchmarks.")
    made.add_argument("names", nargs="*", metavar="NAME", help=f"which; all when none is given: {', '.join(NAMES)}")
    made.add_argument("--quick", action="store_true", help="fewer rounds: to see whether it works, not to be quoted")
    made.add_argument("--write", action="store_true", help="put what was measured into docs/benchmarks.md")
    return made


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The arguments; ends the program with a sentence when a name is unknown."""
    made = parser()
    asked = made.parse_args(argv)
    for name in asked.names:
        if name not in NAMES:
            made.error(f"there is no benchmark '{name}'; there are: {', '.join(NAMES)}")
    asked.names = asked.names or list(NAMES)
    return asked


def main() -> int:
    asked = parse()
    missed = 0
    for name in asked.names:
        module = import_module(f"bench.{name}")
        print(f"\n{name}: {report.title(module)}", flush=True)
        began = time.monotonic()
        result = module.run(quick=asked.quick)
        print(report.plain(result), f"  ({time.monotonic() - began:.0f} s)", sep="\n", flush=True)
        missed += sum(row.met is False for row in result.rows)
        if asked.write:
            report.write(name, module, result, quick=asked.quick)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
