"""One environment, running: its parts put together, and `Control` for the API out of what each of them can do.

`app.daemon` builds it from adapters. Reading is `daemon.reading` and, for `atoll doctor`, `daemon.checkup`; what people ask
for `daemon.mutations` (and `daemon.planner`, when they only ask), logs and commands `daemon.output`, jobs `daemon.job_desk`,
secrets `daemon.secret_book`, backups `daemon.backup_desk`, stores `daemon.store_desk`, artifacts from elsewhere
`daemon.artifact_desk`, records of tasks `daemon.record_book`, golden signals `daemon.signal_book`, faults
`daemon.fault_book`; a rollout is carried by its service's loop (`daemon.service`).
"""

import asyncio
import secrets
from pathlib import Path

from atoll.daemon.access_book import AccessBook
from atoll.daemon.artifact_desk import ArtifactDesk
from atoll.daemon.backup_desk import BackupDesk
from atoll.daemon.candidates import Candidates
from atoll.daemon.certificates import Certificates, Parts
from atoll.daemon.checkup import Checkup
from atoll.daemon.collector import Collector
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.fault_book import FaultBook
from atoll.daemon.identity import Identity, Machine, Settings
from atoll.daemon.job_desk import JobDesk
from atoll.daemon.loops import Loops
from atoll.daemon.mutations import Mutations
from atoll.daemon.notifier import Notifier
from atoll.daemon.output import Output
from atoll.daemon.planner import Planner
from atoll.daemon.pulse import Pulse
from atoll.daemon.reading import Reading
from atoll.daemon.record_book import RecordBook
from atoll.daemon.secret_book import SecretBook
from atoll.daemon.settings_book import SettingsBook
from atoll.daemon.signal_book import SignalBook
from atoll.daemon.store_desk import StoreDesk
from atoll.model.environment import Tls
from atoll.ports import Archivist, Clock, Depot, Host, Servers, Signals, Store, Traffic, Vault
from atoll.realise.engine import HostEngine
from atoll.realise.leases import Ports
from atoll.realise.probes import Ask, ask
from atoll.realise.records import Records


class Environment:
    """Implements `daemon.control.Control`. `run()` until cancelled."""

    def __init__(
        self,
        identity: Identity,
        host: Host,
        traffic: Traffic,
        signals: Signals,
        store: Store,
        vault: Vault,
        clock: Clock,
        machine: Machine,
        records: Records,
        settings: Settings,
        ask: Ask = ask,
        certificates: tuple[Tls, Parts] | None = None,
        archivist: Archivist | None = None,
        depot: Depot | None = None,
        servers: Servers | None = None,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        pulse = Pulse()
        first, last = identity.ports
        ports = Ports(first, last, start=secrets.randbelow(last - first + 1))

        def changed(service: str) -> None:
            loops.hint(service)
            pulse.beat(service)

        engine = HostEngine(host, traffic, records, vault, clock, identity.gateway, ports, changed, ask)
        collector = Collector(traffic, signals, clock)
        loops = Loops(identity.environment, records, engine, collector, clock, pulse)
        self._records, self._engine, self._collector, self._loops = records, engine, collector, loops
        self._signals = signals

        book = SecretBook(loops, records, vault, clock, pulse)
        self.secrets, self.set_secret, self.remove_secret = book.secrets, book.set_secret, book.remove_secret

        settings_book = SettingsBook(identity.workspace, settings, records, clock, pulse)
        self.environment, self.set_environment = settings_book.environment, settings_book.set_environment
        self.check_environment = settings_book.check_environment

        measured = SignalBook((identity.workspace, identity.environment), loops, engine, signals, collector, clock)
        self.signals, self.series, self.totals = measured.signals, measured.series, measured.totals

        output = Output(loops, records, engine, clock, pulse)
        self.logs, self.exec = output.logs, output.exec

        self._certificates = None
        if certificates is not None:
            self._certificates = Certificates(
                certificates[0], Path(identity.root), certificates[1], records, clock, pulse
            )
        backups = BackupDesk(archivist, records, vault, clock, pulse, needed=not identity.dev)
        self.backup, self.backup_kept, self.backup_key = backups.backup, backups.backup_kept, backups.backup_key
        where = {"workspace": identity.workspace, "environment": identity.environment}
        folder = Path(identity.state) if identity.state else None
        self._notifier = Notifier(identity.notify, where, records, store, vault, clock, pulse, folder)
        reading = Reading(
            identity,
            loops,
            records,
            engine,
            store,
            traffic,
            collector,
            signals,
            clock,
            machine,
            pulse,
            vault,
            self._certificates,
            backups,
            self._notifier,
        )
        self.status, self.releases, self.events = reading.status, reading.releases, reading.events
        self.operation, self.watch_operation = reading.operation, reading.watch_operation
        self.why = reading.why

        candidates = Candidates(
            records, book, engine, clock, machine.free_bytes, identity.freezes, identity.require,
            dev=identity.dev, containers=settings.environment.engine == "docker",
        )  # fmt: skip
        record_book = RecordBook(records, clock, pulse)
        self.records, self.import_records = record_book.records, record_book.import_records
        desk = JobDesk(loops, records, engine, clock, pulse)
        self.jobs, self.run_job = desk.jobs, desk.run_job
        self.job_run, self.watch_run, self.stop_run = desk.job_run, desk.watch_run, desk.stop_run
        book_of_faults = FaultBook(identity.environment, identity.faults, loops, records, engine, clock, pulse)
        self.inject, self.faults, self.clear = book_of_faults.inject, book_of_faults.faults, book_of_faults.clear
        self.plan = Planner(candidates, loops, records, desk, book_of_faults, identity.url, clock).plan
        store_desk = StoreDesk(loops, records, host, vault, clock, pulse)
        self.remove_store = store_desk.remove_store
        artifacts = ArtifactDesk(depot, servers, records, clock, pulse)
        self.artifacts, self.take_artifact = artifacts.artifacts, artifacts.take_artifact
        self.keep_contents, self.store_drafts = artifacts.keep_contents, artifacts.store_drafts
        self.sweep_artifacts = artifacts.sweep_artifacts
        mutations = Mutations(loops, records, engine, candidates, reading, record_book, store_desk, clock, pulse)
        self.up, self.deploy, self.rollback = mutations.up, mutations.deploy, mutations.rollback
        self.restart, self.scale, self.stop = mutations.restart, mutations.scale, mutations.stop
        self.steer = mutations.steer
        accesses = AccessBook(doorkeeper or Doorkeeper(), identity.api, folder, records, clock, pulse)
        self.access, self.make_token, self.remove_token = accesses.access, accesses.make_token, accesses.remove_token
        self.holder, self._accesses = accesses.holder, accesses
        checkup = Checkup(
            identity, reading, records, engine, traffic, machine, self._certificates, backups, accesses, book
        )
        self.doctor = checkup.doctor

    async def run(self) -> None:
        """Keep everything as it is wanted, for ever. Any task's death ends it: the keeper starts a fresh daemon."""
        for service in self._records.services():
            self._loops.of(service).apply()
        await self._signals.open()
        if self._certificates is not None:
            await self._certificates.start()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._engine.run())
            group.create_task(self._signals.run())
            group.create_task(self._collector.run())
            group.create_task(self._loops.run())
            group.create_task(self._notifier.run())
            group.create_task(self._accesses.run())
            if self._certificates is not None:
                group.create_task(self._certificates.run())
