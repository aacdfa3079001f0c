"""Values that no report may hold: those of the variables in `pass`, which are tokens as a rule."""

import base64
from collections.abc import Callable, Iterable, Mapping
from urllib.parse import quote

from msgspec.structs import replace

from atoll.model.records import CiResult, TaskResult
from atoll.model.spec import WorkspaceSpec

MASK = "***"
SHORTEST = 4  # characters: a value of less is no secret, and its mask would make any text unreadable


def secret_values(workspace: WorkspaceSpec, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What the variables hold that the workspace's tasks get by `pass`, the longest first."""
    names = {name for spec in workspace.worked_on.values() for name in spec.build.passed}
    names |= {name for tasks in workspace.tasks.values() for task in tasks for name in task.passed}
    return spelled(environ[name] for name in names if name in environ)


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
