"""The page of engines, out of the suite's tests and of what they showed: `python -m atoll.testing.engine_suite.page docs`.

It reads `engines.json` in that folder and writes `engines.md` beside it. A test fails when the page lags.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from atoll.testing.engine_suite import EngineSuite
from atoll.testing.engine_suite.capabilities import CAPABILITIES, Shown, every_test
from atoll.testing.engine_suite.results import HOLDS, LACKS, Results, read

ENGINES: Final = {"process": "processes", "docker": "Docker", "fake": "the fakes"}
_BEGIN: Final = """\
# What holds on which engine

Written by `python -m atoll.testing.engine_suite.page docs` from what runs of the conformance suite showed; edit neither.

`engine` of an environment in [atoll.toml](reference.md) says what runs the replicas: `process`, which is the default, or
`docker`. Files, commands and guarantees are the same. One suite shows it: it drives a whole environment (the real daemon, through its
API) on plain processes and on containers of a real dockerd, both behind the real Envoy, and on the fakes that
are shipped for tests of plugins. There nothing is executed: what holds on them is that all of it reaches the host.

"""
_TESTS: Final = """
## What shows it

Each line is a test, by its name. To run them: `pytest tests/conformance`.
"""


def page(results: Results) -> str:
    """The Markdown."""
    shown = list(every_test(EngineSuite))
    lacks: list[str] = []
    lines = [f"| | {' | '.join(ENGINES.values())} |", f"|---|{'---|' * len(ENGINES)}"]
    for capability, title in CAPABILITIES.items():
        own = [each for each in shown if each.capability == capability]
        cells = [_cell(results, engine, own, lacks) for engine in ENGINES]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    notes = [f"{number}. {text}" for number, text in enumerate(lacks, 1)]
    return "\n".join([_BEGIN + "\n".join(lines), *([""] if notes else []), *notes, _TESTS, *_list(shown), ""])


def _cell(results: Results, engine: str, own: list[Shown], lacks: list[str]) -> str:
    """`yes`, `no` with the number of its reason, or nothing when no run was written down."""
    told = {results.get(engine, {}).get(each.test, "") for each in own}
    if told == {HOLDS}:
        return "yes"
    reasons = sorted(each.removeprefix(LACKS) for each in told if each.startswith(LACKS))
    if not reasons or "" in told:
        return ""
    if reasons[0] not in lacks:
        lacks.append(reasons[0])
    return f"no ({lacks.index(reasons[0]) + 1})"


def _list(shown: list[Shown]) -> Iterator[str]:
    for capability, title in CAPABILITIES.items():
        yield f"\n**{title[0].upper()}{title[1:]}**\n"
        yield from (f"- {each.sentence}" for each in shown if each.capability == capability)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "engines.md").write_text(page(read(folder / "engines.json")))
