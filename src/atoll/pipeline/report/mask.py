"""Values that no report may hold: those of the variables in `pass`, which are tokens as a rule, and tokens and passwords
among the variables that tasks get anyway.
"""

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from urllib.parse import quote, unquote

from msgspec.structs import replace

from atoll.model.environment import WorkspaceSpec
from atoll.model.records import CiResult, TaskResult
from atoll.pipeline.environment import passes

MASK = "***"
_SECRET = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|_AUTH$", re.IGNORECASE)
_PASSWORD = re.compile(r"://[^/\s:@]*:([^/\s@]+)@")
SHORTEST = 4  # characters: a value of less is no secret, and its mask would make any text unreadable


def secret_values(workspace: WorkspaceSpec, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What tasks may print and nobody may read, the longest first.

    All that the variables hold which the workspace's tasks get by `pass`; of those that they inherit, or that every task
    gets (`environment.PASSED`), what is called a token or a password, and passwords in addresses.
    """
    builds = [spec.build for spec in workspace.worked_on.values()]
    tasks = [task for own in workspace.tasks.values() for task in own]
    given = {name for build in builds for name in build.passed} | {name for task in tasks for name in task.passed}
    others = {name for build in builds for name in build.inherit} | {name for task in tasks for name in task.inherit}
    others |= set(filter(passes, environ))
    names = given | {name for name in others if _SECRET.search(name)}
    passwords = (found for name in (given | others) & environ.keys() for found in _passwords(environ[name]))
    return spelled([*(environ[name] for name in names if name in environ), *passwords])


def _passwords(text: str) -> Iterator[str]:
    """Those in addresses: `https://ci:p%40ss@pypi.example/simple`, as it stands there and as it is meant."""
    for found in _PASSWORD.findall(text):
        yield from {found, unquote(found)}


def spelled(values: Iterable[str]) -> tuple[str, ...]:
    """The values as programs print them: whole, line by line, quoted for a URL, in base64; the longest first."""
    found = set()
    for value in values:
        for text in (value, *value.splitlines()):
            plain = text.strip()
            if len(plain) >= SHORTEST:
                found |= {plain, quote(plain, safe=""), base64.b64encode(plain.encode()).decode()}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def masker(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that puts `***` in the place of each secret."""
    known = tuple(secrets)

    def mask(text: str) -> str:
        for secret in known:
            text = text.replace(secret, MASK)
        return text

    return mask


def masked(result: CiResult, mask: Callable[[str], str]) -> CiResult:
    """The same result without secrets in what was printed."""
    return replace(result, tasks=tuple(_masked(task, mask) for task in result.tasks))


def _masked(task: TaskResult, mask: Callable[[str], str]) -> TaskResult:
    return replace(task, output=mask(task.output), reason=mask(task.reason), why=mask(task.why), fix=mask(task.fix))
