"""What an endpoint of the API is, and how a request to it becomes a call of `Control`.

`daemon.endpoints` is the table of them, `daemon.openapi` tells of them, `daemon.api` serves them. It decides nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request

from atoll.daemon.control import Control
from atoll.model import errors
from atoll.model.access import Role
from atoll.model.state import Author

# What carries an endpoint out: (control, the decoded body or None, the request) -> the answer, awaitable or not.
Call = Callable[[Control, Any, Request], Any]


@dataclass(frozen=True)
class Query:
    """One query parameter. `many` may be repeated."""

    name: str
    type: Any  # what msgspec converts to
    doc: str
    default: Any = None
    many: bool = False  # text only
    argument: str = ""  # what the method of Control calls it, where that is something else

    def of(self, request: Request) -> Any:
        """Its value in this request, converted to its type; the default when it is absent. Raises UserError."""
        if self.many:
            return request.query_params.getlist(self.name)
        raw = request.query_params.get(self.name)
        if raw is None:
            return self.default
        try:
            return msgspec.convert(raw, self.type, strict=False)
        except msgspec.ValidationError as exc:
            what = f"{self.name}={raw} is not understood"
            raise errors.UserError(what, str(exc), self.doc, id="bad-request") from exc


PLAN = Query("plan", bool, "only say what would be done", False)


@dataclass(frozen=True)
class Endpoint:
    """One operation of the API: the role that it takes, the method of Control that it is named after, and what it answers.

    With `event` the result is an async iterator of `answer`, sent as server-sent events of that name; an `answer` of bytes
    is an async iterator of a file's parts; any other is JSON.
    """

    method: str
    path: str
    role: Role
    name: str
    doc: str
    answer: Any
    body: Any = None  # `bytes`: as it comes; else JSON
    query: tuple[Query, ...] = ()
    status: int = 200
    plans: bool = False  # with `plan=true` it answers what it would do: list[PlanView], 200; that takes a reader
    event: str = ""
    event_id: Callable[[Any], str] | None = None  # where Last-Event-ID resumes; None: it does not
    special: Call | None = None  # instead of the method of its name

    @property
    def stream(self) -> bool:
        """Whether it answers with events."""
        return bool(self.event)

    @property
    def queries(self) -> tuple[Query, ...]:
        """Every query parameter that it understands."""
        return (PLAN, *self.query) if self.plans else self.query

    def only_plans(self, request: Request) -> bool:
        """Whether this request asks what it would do."""
        return self.plans and bool(PLAN.of(request))

    def call(self, control: Control, body: Any, request: Request) -> Any:
        """The answer, awaitable or not. The method gets the address's parts, then the body, and the query by name."""
        if self.special is not None:
            return self.special(control, body, request)
        given = [*request.path_params.values()]
        if body is not None:
            given.append(body)
        elif self.method == "DELETE":  # it has no body to say in who asks
            given.append(Author(actor=request.state.peer.name))
        return getattr(control, self.name)(*given, **{one.argument or one.name: one.of(request) for one in self.query})
