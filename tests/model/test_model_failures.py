"""Which answers are failures."""

import pytest

from atoll.model.failures import GRPC_CODES, Failures


@pytest.mark.parametrize(
    ("http", "failing"),
    [
        (("5xx",), {500, 501, 502, 503, 504, 599}),
        (("429",), {429, 502, 503, 504}),
        (("4xx", "500"), {404, 429, 500, 502, 503, 504}),
        ((), {502, 503, 504}),  # the proxy's own
    ],
)
def test_statuses_fail_as_the_service_says_and_the_proxys_own_always(http: tuple[str, ...], failing: set[int]) -> None:
    statuses = {101, 200, 204, 301, 404, 429, 500, 501, 502, 503, 504, 599}
    assert {status for status in statuses if Failures(http=http).status_fails(status)} == failing


def test_codes_fail_as_opentelemetry_has_it() -> None:
    failing = {GRPC_CODES[code] for code in range(len(GRPC_CODES)) if Failures().code_fails(code)}
    assert failing == {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
    only = Failures(grpc=("RESOURCE_EXHAUSTED",))
    assert {code for code in range(20) if only.code_fails(code)} == {
        4,
        8,
        14,
        17,
        18,
        19,
    }  # and what gRPC does not know
