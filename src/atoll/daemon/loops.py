"""The loops of an environment's services: one a service, made when it is first spoken of, and running from then on."""

import asyncio
import re
from functools import partial

from atoll.daemon.collector import Collector
from atoll.daemon.pulse import Pulse
from atoll.daemon.service import ServiceLoop
from atoll.model.errors import NotFound, UserError
from atoll.model.suggest import did_you_mean
from atoll.ports import Clock
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records
from atoll.workspace.fields_values import SERVICE_NAME


class Loops:
    """`ServiceLoop` by service. `environment` names the environment in messages."""

    def __init__(
        self,
        environment: str,
        records: Records,
        engine: HostEngine,
        collector: Collector,
        clock: Clock,
        pulse: Pulse,
    ) -> None:
        self._environment, self._records, self._engine = environment, records, engine
        self._collector, self._clock, self._pulse = collector, clock, pulse
        self._loops: dict[str, ServiceLoop] = {}
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Keep every loop running, for ever. One that dies ends all: the keeper starts a fresh daemon."""
        async with asyncio.TaskGroup() as self._group:
            for loop in self._loops.values():
                self._group.create_task(loop.run())
            await asyncio.Event().wait()

    def of(self, service: str) -> ServiceLoop:
        """The loop of a service, whether it was ever deployed or not. Raises UserError for what names none."""
        if service not in self._loops:
            refuse_no_name(service)
            loop = ServiceLoop(
                service,
                self._records,
                self._engine,
                self._collector,
                self._clock,
                self._engine.last_crashed,
                partial(self._pulse.beat, service),
            )
            self._loops[service] = loop
            if self._group is not None:
                self._group.create_task(loop.run())
        return self._loops[service]

    def known(self, service: str) -> ServiceLoop:
        """The loop of a service that was deployed here. Raises NotFound."""
        if service not in self._records.services():
            raise NotFound(
                f"there is no service '{service}' in environment '{self._environment}'",
                "it was never deployed here",
                did_you_mean(service, self._records.services()) or "run `atoll up`",
                id="unknown-service",
            )
        return self.of(service)

    def hint(self, service: str) -> None:
        """Something of a service may have changed."""
        if service in self._loops:
            self._loops[service].hint()


def refuse_no_name(service: str) -> None:
    """Raise UserError for what names no service. Folders, sockets and containers are called by it: who sends a draft need not have read it from a file."""
    if re.fullmatch(SERVICE_NAME.pattern, service) is None:
        raise UserError(
            f"'{service[:80]}' cannot be a service's name",
            f"it must {SERVICE_NAME.must}",
            "see `name` in its file",
            id="bad-request",
        )
