"""The error class is the policy: who must act, and whether to try again.

Adapters translate foreign exceptions at their edge into one of these and chain them (`raise ... from exc`).
`exit_code` is the one place where exit codes are decided; the API maps the same classes to HTTP statuses in
`daemon.api`. Anything else is a bug and keeps its traceback. `id` names the page in `model.catalogue` that a person
should read; `atoll explain ID` prints it.
"""

from collections.abc import Sequence
from typing import Literal

import msgspec

from atoll.model.catalogue.ids import ErrorId


class AtollError(Exception):
    """Base of every error that Atoll raises on purpose: `what` is wrong, `why`, the `fix`, and the page's `id`."""

    exit_code = 1

    def __init__(self, what: str, why: str = "", fix: str = "", *, id: ErrorId) -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix
        self.id: ErrorId = id

    @property
    def headline(self) -> str:
        """What is wrong, where it stands alone."""
        return self.what

    def __str__(self) -> str:
        """`what: why (fix)`, in one line, for logs; the terminal shows the three on lines of their own."""
        text = f"{self.what}: {self.why}" if self.why else self.what
        return f"{text} ({self.fix})" if self.fix else text


class UserError(AtollError):
    """Something that a person must change. Exit code 2."""

    exit_code = 2


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One mistake in a file that a person wrote.

    `file` is relative to the workspace; `line` counts from 1, None when unknown; `field` is the dotted TOML path.
    `what` reads alone: it names the field. A warning stops nothing.
    """

    file: str
    id: ErrorId
    what: str
    line: int | None = None
    field: str = ""
    fix: str = ""
    level: Literal["error", "warning"] = "error"


class InvalidWorkspace(UserError):
    """All mistakes of a workspace's files at once; a lone one brings its own fix. Exit code 2."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        count = len(self.problems)
        super().__init__(
            f"{count} problem{'s' if count != 1 else ''} in the workspace's files",
            f"{first.file}{f':{first.line}' if first.line else ''}: {first.what}",
            first.fix if count == 1 and first.fix else "run `atoll check` for the whole list",
            id="invalid-files",
        )


class NotFound(UserError):
    """A service, release or secret that does not exist; `fix` names the nearest known one. Exit code 2."""


class Conflict(AtollError):
    """The request contradicts what is going on: another rollout, a newer generation. Exit code 5."""

    exit_code = 5


class Refused(UserError):
    """Admission said no before anything was touched (memory, routes, an engine's limits). Exit code 4."""

    exit_code = 4


class Forbidden(Refused):
    """Who asks lacks the role for it. Exit code 4, as for everything that is refused before anything was touched."""


class DeployFailed(AtollError):
    """The candidate did not become live and was undone; the stable release was never touched. Exit code 3."""

    exit_code = 3


class BuildFailed(AtollError):
    """A build step of one service ended badly. `why`, also as `output`, is the end of what it printed. Exit code 6."""

    exit_code = 6

    def __init__(self, service: str, what: str, output: str = "", fix: str = "", *, id: ErrorId) -> None:
        super().__init__(what, output, fix, id=id)
        self.service, self.output = service, output

    @property
    def headline(self) -> str:
        """With the service, of which `what` says nothing."""
        return f"{self.service}: {self.what}"

    def __str__(self) -> str:
        """Without the output, which may be long."""
        return self.headline


class JobFailed(AtollError):
    """A job ended badly, whatever its own exit code was. Exit code 8."""

    exit_code = 8


class Unreachable(AtollError):
    """The daemon (or another part that must run) does not answer. Exit code 7."""

    exit_code = 7


class Retryable(AtollError):
    """Outside trouble that may pass; try again after `after_s` seconds. Exit code 7: another part does not answer."""

    exit_code = 7

    def __init__(self, what: str, after_s: float = 1.0, *, id: ErrorId) -> None:
        super().__init__(what, id=id)
        self.after_s = after_s


class Permanent(AtollError):
    """Outside trouble that trying again will not mend."""


class Fenced(Permanent):
    """Another daemon leads this environment now; this one must stop at once without another effect."""
