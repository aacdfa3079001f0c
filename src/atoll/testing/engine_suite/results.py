"""What runs of the suite showed, in a file that is kept: engine -> test -> `holds`, or `lacks: ` and why.

The page of engines is made of it (`page`). A run that shows something else fails, so that the page is never wrong for long.
"""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HOLDS: Final = "holds"
LACKS: Final = "lacks: "

Results = Mapping[str, Mapping[str, str]]


def read(path: Path) -> Results:
    """All of them; none where there is no file."""
    if not path.exists():
        return {}
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        return _results(file.read())


def record(path: Path, engine: str, test: str, outcome: str) -> None:
    """Write one down; several processes may."""
    with path.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        results = {name: dict(tests) for name, tests in _results(file.read()).items()}
        results.setdefault(engine, {})[test] = outcome
        file.truncate(0)
        file.write(json.dumps(results, indent=1, sort_keys=True) + "\n")


def _results(text: str) -> Results:
    results: Results = json.loads(text) if text else {}
    return results


def outcome(lacking: Mapping[str, str], capability: str) -> str:
    """Of a test that passed."""
    return f"{LACKS}{lacking[capability]}" if capability in lacking else HOLDS
