"""The fields of `[failures]`. See `fields_service`."""

from atoll.model.failures import GRPC_CODES, Failures
from atoll.workspace.kinds import Choice, Either, Integer, ListOf, Mapped, Text
from atoll.workspace.tables import Field, Table

STATUS = Either(
    text=Text("class of statuses", pattern=r"[1-5](xx|\d\d)", must='be "5xx" or a status such as 429'),
    number=Mapped(Integer(100, 599), str),
    says='status, or a class such as "5xx"',
    fix='such as "5xx" or 429',
)
FAILURES = Table(
    "[failures]",
    (
        Field(
            "http",
            ListOf(STATUS),
            "HTTP statuses that are failures. 502, 503 and 504 always are: the proxy answers them for a service that is "
            "gone, over its limits or too slow.",
            ('["5xx", 429]',),
            default='`["5xx"]`',
        ),
        Field(
            "grpc",
            ListOf(Choice(*GRPC_CODES[1:]), says="list of codes"),
            "gRPC codes that are. `DEADLINE_EXCEEDED` and `UNAVAILABLE` always are, for the same reason.",
            ('["UNKNOWN", "INTERNAL", "DATA_LOSS"]',),
        ),
    ),
    Failures,
    spec=Failures,
    hints={"status": "statuses are `http`, codes are `grpc`", "codes": "statuses are `http`, codes are `grpc`"},
)
