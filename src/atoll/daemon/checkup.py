"""What `atoll doctor` gets of a daemon: whether its parts and services are well and, in production, whether they are fit for it.

Part of `Environment`. It gathers; what is fit is judged by `decide.production`. Changes nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from atoll.daemon.access_book import AccessBook
from atoll.daemon.backup_desk import BackupDesk
from atoll.daemon.certificates import Certificates
from atoll.daemon.identity import Identity, Machine
from atoll.daemon.reading import Reading
from atoll.daemon.secret_book import SecretBook
from atoll.decide import production
from atoll.model.state import Release
from atoll.model.wire import ServiceView
from atoll.model.wire_doctor import DoctorView
from atoll.ports import Traffic
from atoll.realise.engine import HostEngine
from atoll.realise.records import Records

_START = "atoll up; where the machine serves it, `systemctl restart` its unit"


class Checkup:
    """One environment's."""

    def __init__(
        self,
        identity: Identity,
        reading: Reading,
        records: Records,
        engine: HostEngine,
        traffic: Traffic,
        machine: Machine,
        certificates: Certificates | None,
        backups: BackupDesk,
        accesses: AccessBook,
        secrets: SecretBook,
    ) -> None:
        self._identity, self._reading, self._records = identity, reading, records
        self._engine, self._traffic, self._machine = engine, traffic, machine
        self._certificates, self._backups, self._accesses = certificates, backups, accesses
        self._secrets = secrets

    async def doctor(self) -> Sequence[DoctorView]:
        """What only the daemon can see."""
        parts = await self._machine.parts()
        usage = await self._engine.usage()
        views = [self._reading.service(name, usage) for name in self._records.services()]
        found = [*self._own(parts), *[check async for check in self._failing(views)]]
        found += [
            DoctorView(check=f"jobs of {view.name}", ok=False, text=sentence, fix=f"atoll jobs {view.name}")
            for view in views
            for sentence in view.failing_jobs
        ]
        found += await self._secrets.checks()
        found += self._certificates.checks() if self._certificates else ()
        found += await self._backups.checks()
        found += self._accesses.checks()
        found += production.tokens(self._identity.api)
        told: set[str] = set()  # in more words
        if not self._identity.dev:
            running = await self._running(views)
            facts = await asyncio.to_thread(self._machine.facts, parts.get("proxy"))
            found += production.machine(facts)
            found += production.environment(self._setting(), running, facts)
            told = {production.listens(each.name) for each in running if each.exposed}
        found += [
            DoctorView(check="notice", ok=None, text=text) for text in self._reading.notices() if text not in told
        ]
        return found

    def _own(self, parts: Mapping[str, int | None]) -> Iterator[DoctorView]:
        """Atoll's own processes."""
        keeper, proxy, problem = parts.get("keeper"), parts.get("proxy"), self._traffic.problem()
        text = f"pid {keeper}" if keeper else "does not answer"
        yield DoctorView(check="keeper", ok=bool(keeper), text=text, fix="" if keeper else _START)
        text = problem or (f"Envoy, pid {proxy}" if proxy else "Envoy does not run")
        yield DoctorView(check="proxy", ok=not problem and bool(proxy), text=text, fix="" if proxy else _START)

    async def _failing(self, views: Sequence[ServiceView]) -> AsyncIterator[DoctorView]:
        for view in views:
            if view.state in {"failing", "degraded"}:
                stores = await self._reading.store_troubles(view.name, int(view.release.lstrip("r") or 0))
                text = "; ".join((view.reason, *stores))
                yield DoctorView(check=f"service {view.name}", ok=False, text=text, fix=f"atoll why {view.name}")

    # --- production -----------------------------------------------------------------------------------------------

    def _setting(self) -> production.Setting:
        identity = self._identity
        return production.Setting(
            gateway=str(identity.gateway),
            host=identity.gateway.host,
            tls=identity.tls,
            ports=identity.ports,
            faults=identity.faults,
            notifies=bool(identity.notify),
        )

    async def _running(self, views: Sequence[ServiceView]) -> list[production.Running]:
        exposed = await self._reading.exposed(views)
        found = []
        for view in views:
            release = self._records.releases_of(view.name).get(int(view.release.lstrip("r") or 0))
            if release is not None and view.wanted:
                found.append(_running(view, release, exposed.get(view.name, ())))
        return found


def _running(view: ServiceView, release: Release, exposed: tuple[str, ...]) -> production.Running:
    spec = release.spec
    return production.Running(
        name=view.name,
        store=view.store,
        replicas=view.wanted,
        overlap=spec.overlap,
        serves=bool(spec.ports),
        limit_bytes=spec.limits.memory_bytes,
        used_bytes=max((each.memory_bytes for each in view.replicas if each.memory_bytes), default=None),
        exposed=exposed,
    )
