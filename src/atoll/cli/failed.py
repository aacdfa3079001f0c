"""The command line's own errors: light enough to be raised before anything heavy is imported."""

from __future__ import annotations

USER = 2
UNREACHABLE = 7


class Failed(Exception):
    """Ends the command: three lines on stderr, `exit_code` for the shell. Also what the daemon answered, taken over."""

    def __init__(
        self, what: str, why: str = "", fix: str = "", *, kind: str = "UserError", exit_code: int = USER
    ) -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.kind, self.exit_code = what, why, fix, kind, exit_code

    def view(self) -> dict[str, str | int]:
        """The same as `wire.ErrorView` is on the wire."""
        return {"kind": self.kind, "what": self.what, "why": self.why, "fix": self.fix, "exit_code": self.exit_code}


def taken_over(exc: BaseException) -> Failed | None:
    """An error that Atoll raised on purpose, as a Failed; None for a bug."""
    if isinstance(exc, Failed):
        return exc
    from atoll.model.errors import AtollError, BuildFailed  # here: a command that succeeds never needs it

    if not isinstance(exc, AtollError):
        return None
    why = exc.output if isinstance(exc, BuildFailed) else getattr(exc, "why", "")
    what = getattr(exc, "what", "") or str(exc)
    fix = getattr(exc, "fix", "") or "`atoll doctor` checks this machine and the environment"
    if isinstance(exc, BuildFailed):
        what = str(exc)
    return Failed(what, why, fix, kind=type(exc).__name__, exit_code=exc.exit_code)
