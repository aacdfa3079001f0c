"""Requests that wait: the service that Envoy asks before it lets a held request go on.

While a service is on hold, its routes ask here (ext_authz over the daemon's unix socket). The answer is given when the
hold is lifted, and names the cluster: Envoy keeps a request's routes as they were when it came, and the release that
must take it may not have been there then. Bodies stay in Envoy. `EnvoyProxy` alone uses this.
"""

import asyncio
import random
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from atoll.proxy.protos import message
from atoll.proxy.routes import CLUSTER_HEADER

HOLD_S = 90.0  # a stop with its drain and grace (40 s), and a start (30 s), with some to spare


class Holder:
    """Answers Envoy's questions. `holding` says whether a service is on hold, `choose` who takes a request now."""

    def __init__(
        self, holding: Callable[[str], bool], choose: Callable[[Mapping[str, str]], Mapping[str, int]]
    ) -> None:
        self._holding, self._choose = holding, choose
        self._pulse = asyncio.Event()

    def wake(self) -> None:
        """Look again whether something may go; after each applied table."""
        self._pulse.set()
        self._pulse = asyncio.Event()

    async def check(self, request: Any, _context: Any) -> Any:
        """One held request, until it may go or waited `HOLD_S`."""
        asked = dict(request.attributes.context_extensions)
        service = asked.get("service", "")
        try:
            async with asyncio.timeout(HOLD_S):
                while self._holding(service):
                    await self._pulse.wait()
        except TimeoutError:
            return _deny(f'waited {HOLD_S:.0f} s for "{service}", which is being replaced')
        clusters = self._choose(asked)
        if not any(clusters.values()):
            return _deny(f'no release of "{service}" takes requests now')
        return _let_go(random.choices(list(clusters), list(clusters.values()))[0])

    def handler(self) -> grpc.GenericRpcHandler:
        """The service for `grpc.aio.Server.add_generic_rpc_handlers`."""
        method = grpc.unary_unary_rpc_method_handler(
            self.check,
            request_deserializer=message("envoy.service.auth.v3.CheckRequest").FromString,
            response_serializer=message("envoy.service.auth.v3.CheckResponse").SerializeToString,
        )
        return grpc.method_handlers_generic_handler("envoy.service.auth.v3.Authorization", {"Check": method})


def _let_go(cluster: str) -> Any:
    header = {
        "header": {"key": CLUSTER_HEADER, "value": cluster},
        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
    }
    return message("envoy.service.auth.v3.CheckResponse")(status={"code": 0}, ok_response={"headers": [header]})


def _deny(reason: str) -> Any:
    return message("envoy.service.auth.v3.CheckResponse")(
        status={"code": grpc.StatusCode.UNAVAILABLE.value[0]},
        denied_response={"status": {"code": "ServiceUnavailable"}, "body": f"atoll: {reason}\n"},
    )
