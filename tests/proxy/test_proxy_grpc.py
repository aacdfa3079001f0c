"""gRPC through the real Envoy, on an edge and at the gateway."""

import time

import grpc
import grpc.aio
import pytest
from tests.proxy.grpc_echo import Echo, call, refused
from tests.proxy.lab import Lab, edge, here, route, service, upstream

from atoll.certificates.pair import stand_in
from atoll.model.certificate import Certificate
from atoll.model.traffic import Ack

pytestmark = pytest.mark.e2e


async def test_grpc_calls_streams_deadlines_and_failures_pass(lab: Lab, echo: Echo) -> None:
    port = here()
    grpc_port = {"port": "grpc", "protocol": "grpc"}
    entries = (
        service("web", edges=(edge("echo", port, timeout_s=2.0, eject_after=0, **grpc_port),)),
        service(
            "echo",
            upstream(1, echo.address, **grpc_port),
            routes=(route("/demo.Echo", timeout_s=2.0, eject_after=0, **grpc_port),),
        ),
    )
    assert await lab.apply(*entries) == Ack()
    for where in (port, lab.gateway):
        assert await call(where, "Say", b"hello") == b"HELLO"
        async with grpc.aio.insecure_channel(str(where)) as channel:
            seen = [part async for part in channel.unary_stream("/demo.Echo/Count")(b"7", timeout=30)]
        assert seen == [b"%d" % number for number in range(7)]  # longer than the time-out of ordinary requests
        assert await refused(where, "Fail", b"5") == grpc.StatusCode.NOT_FOUND
        assert await refused(where, "Fail", b"13") == grpc.StatusCode.INTERNAL
        assert await refused(where, "Hang", b"", timeout_s=0.3) == grpc.StatusCode.DEADLINE_EXCEEDED
    assert echo.callers == ["web", ""]


async def test_grpc_passes_a_gateway_that_speaks_tls_also_while_its_certificate_changes(
    tls_lab: Lab, echo: Echo
) -> None:
    grpc_port = {"port": "grpc", "protocol": "grpc"}
    first, second = (stand_in("localhost", time.time()) for _ in range(2))
    await tls_lab.proxy.show({"own": first}, {}, 0.0)
    routes = (route("/demo.Echo", timeout_s=0.5, eject_after=0, **grpc_port),)
    assert await tls_lab.apply(service("echo", upstream(1, echo.address, **grpc_port), routes=routes)) == Ack()

    def channel(trusted: Certificate) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(trusted.chain.encode())
        names = [("grpc.ssl_target_name_override", "localhost")]
        return grpc.aio.secure_channel(str(tls_lab.gateway), credentials, names)

    async with channel(first) as before:
        assert await before.unary_unary("/demo.Echo/Say")(b"hello", timeout=30) == b"HELLO"
        stream = aiter(before.unary_stream("/demo.Echo/Count")(b"4", timeout=30))
        assert await anext(stream) == b"0"
        assert await tls_lab.proxy.show({"own": second}, {}, 30.0) == Ack()
        async with channel(second) as after:
            assert await after.unary_unary("/demo.Echo/Say")(b"again", timeout=30) == b"AGAIN"
        assert [part async for part in stream] == [b"1", b"2", b"3"]  # an open connection is left alone
        assert await before.unary_unary("/demo.Echo/Say")(b"still", timeout=30) == b"STILL"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await before.unary_unary("/demo.Echo/Fail")(b"5", timeout=30)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND  # trailers pass


async def test_a_callee_without_a_release_is_unavailable_to_grpc(lab: Lab) -> None:
    port = here()
    await lab.apply(service("web", edges=(edge("echo", port, port="grpc", protocol="grpc"),)))
    assert await refused(port, "Say", b"x") == grpc.StatusCode.UNAVAILABLE
