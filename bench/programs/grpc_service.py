"""A gRPC service that dies at once on SIGTERM: `/bench.Echo/Say` answers VERSION and what was sent. PORT, VERSION."""

import asyncio
import os

import grpc
import grpc.aio

VERSION = os.environ.get("VERSION", "v1").encode()
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse(status=SERVING)


async def say(request: bytes, _: object) -> bytes:
    return VERSION + b" " + request


async def check(_request: bytes, _: object) -> bytes:
    return SERVING


async def main() -> None:
    server = grpc.aio.server()
    for service, name, handler in (("bench.Echo", "Say", say), ("grpc.health.v1.Health", "Check", check)):
        methods = {name: grpc.unary_unary_rpc_method_handler(handler)}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    server.add_insecure_port(f"127.0.0.1:{os.environ['PORT']}")
    await server.start()
    await server.wait_for_termination()


asyncio.run(main())
