"""The command line's own errors: light enough to be raised before anything heavy is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from atoll.model.catalogue.ids import ErrorId
    from atoll.model.wire import ErrorView

USER = 2
CONFLICT = 5
UNREACHABLE = 7


class Failed(Exception):
    """Ends the command: three lines on stderr, `exit_code` for the shell. Also what the daemon answered, taken over."""

    def __init__(
        self, what: str, why: str = "", fix: str = "", *, id: ErrorId, kind: str = "UserError", exit_code: int = USER
    ) -> None:
        super().__init__(what)
        self.what, self.why, self.fix, self.kind, self.exit_code = what, why, fix, kind, exit_code
        self.id: ErrorId = id

    @classmethod
    def told(cls, view: ErrorView) -> Failed:
        """What the daemon answered. Its id may be of a newer version, and then has no page here."""
        id = cast("ErrorId", view.id)
        return cls(view.what, view.why, view.fix, id=id, kind=view.kind, exit_code=view.exit_code)

    def view(self) -> ErrorView:
        """The same as it crosses the wire."""
        from atoll.model.wire import ErrorView

        return ErrorView(
            id=self.id, kind=self.kind, what=self.what, why=self.why, fix=self.fix, exit_code=self.exit_code
        )


def taken_over(exc: BaseException) -> Failed | None:
    """An error that Atoll raised on purpose, as a Failed; None for a bug."""
    if isinstance(exc, Failed):
        return exc
    from atoll.model.errors import AtollError  # here: a command that succeeds never needs it

    if not isinstance(exc, AtollError):
        return None
    fix = exc.fix or "`atoll doctor` checks this machine and the environment"
    return Failed(exc.headline, exc.why, fix, id=exc.id, kind=type(exc).__name__, exit_code=exc.exit_code)
