"""Which answers count as failures, by HTTP status and gRPC code."""

import msgspec

GRPC_CODES = (  # by number
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED"),
    *("INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)


# What the proxy itself answers for a service that is gone, broken, over its limits or too slow. It counts for every
# service: the proxy's counters do not tell its own answer from the same one of the service.
PROXY_STATUSES = frozenset({502, 503, 504})


PROXY_CODES = frozenset({GRPC_CODES.index("DEADLINE_EXCEEDED"), GRPC_CODES.index("UNAVAILABLE")})


class Failures(msgspec.Struct, frozen=True, kw_only=True):
    """Which answers of a service are failures of it, not of whoever asked. Deploys, rates and verdicts all use it."""

    http: tuple[str, ...] = (
        "5xx",
    )  # statuses, or classes of them; RFC 9110 15.6: "the server is aware that it has erred"
    # OpenTelemetry's server errors. UNKNOWN is what a handler that threw answers, UNIMPLEMENTED a release that lost a
    # method. RESOURCE_EXHAUSTED is not among them: like 429 it mostly says that the caller asked too much.
    grpc: tuple[str, ...] = (
        *("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"),
    )

    def status_fails(self, status: int) -> bool:
        """Whether an HTTP status is a failure."""
        return status in PROXY_STATUSES or str(status) in self.http or f"{status // 100}xx" in self.http

    def code_fails(self, code: int) -> bool:
        """Whether a gRPC code is a failure; one that gRPC does not know is."""
        return code in PROXY_CODES or code >= len(GRPC_CODES) or GRPC_CODES[code] in self.grpc
