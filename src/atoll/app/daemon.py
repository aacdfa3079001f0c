"""The daemon's process: builds an environment from its adapters, serves its API, ends when told to.

Started by the keeper as `python -m atoll.app.daemon STATE_DIR [UID:GID]`, the user of a proxy that has one of its own. It leads the store
before it touches anything. SIGUSR1 closes the gateway, before all of it is stopped; SIGUSR2 opens it again.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import psutil

from atoll import __version__
from atoll.app import access, kernel
from atoll.app.artifacts import depot
from atoll.app.backups import source_of
from atoll.app.config import Config, read
from atoll.app.draining import CLOSES_GATEWAY, OPENS_GATEWAY
from atoll.app.journal import SOCKET, Journal
from atoll.app.settings import settings
from atoll.app.stores import ServersHere
from atoll.backup.archivist import StateArchivist
from atoll.backup.restoring import refuse_unfinished
from atoll.daemon.api import Api
from atoll.daemon.certificates import Parts, names
from atoll.daemon.clock import SystemClock
from atoll.daemon.doorkeeper import Doorkeeper
from atoll.daemon.environment import Environment
from atoll.daemon.identity import Identity, Machine
from atoll.daemon.outside import serve_outside
from atoll.daemon.serve import serve, serve_metrics
from atoll.engines.process import ProcessHost
from atoll.engines.users import Users
from atoll.keeper.client import KeeperClient, KeeperError
from atoll.model.environment import Tls
from atoll.model.errors import AtollError, Conflict, Fenced
from atoll.model.state import Address
from atoll.ports import Authority, Host
from atoll.proxy import Door, EnvoyProxy, User
from atoll.realise.records import Records
from atoll.store.sqlite import SqliteStore
from atoll.store.vault import SqliteVault
from atoll.telemetry import Telemetry
from atoll.workspace.places import states, users_lock

_log = logging.getLogger("atoll.daemon")
_KEEPER_WITHIN_S = 2.0  # a page without its pid is better than no page
_PROXY_WITHIN_S = 2.0  # so that a fresh daemon answers with what the proxy says, when there is one


def main() -> int:
    """Run until SIGTERM. Exit code 0 when told to end, 3 when another daemon leads, 1 for anything else."""
    logging.basicConfig(format="%(levelname)-7s %(message)s", level=logging.INFO)  # the keeper puts the time before it
    for chatty in ("alembic", "uvicorn", "asyncio"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    config = read(Path(sys.argv[1]))
    if config is None:
        _log.error(
            "there is no daemon.json in %s; `atoll up`, or the unit of a machine that serves, writes it", sys.argv[1]
        )
        return 2
    try:
        asyncio.run(_run(config, User.parsed(sys.argv[2]) if len(sys.argv) > 2 else None))
    except BaseExceptionGroup as group:
        mine, others = group.split(AtollError)
        if others is not None or mine is None:
            raise
        fenced = mine.subgroup(Fenced) is not None
        _log.error("%s%s", "another daemon leads this environment: " if fenced else "", _first(mine))
        return 3 if fenced else 1
    except AtollError as exc:
        _log.error("%s", _sentence(exc))
        return 3 if isinstance(exc, (Conflict, Fenced)) else 1
    return 0


def _sentence(exc: AtollError) -> str:
    """What, why and the fix in one line: the last line of the log is what people are shown."""
    what, why, fix = getattr(exc, "what", str(exc)), getattr(exc, "why", ""), getattr(exc, "fix", "")
    return f"{what}{f': {why}' if why else ''}{f' ({fix})' if fix else ''}"


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run(config: Config, proxy_user: User | None) -> None:
    state, run = Path(config.state), Path(config.run)
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)
    refuse_unfinished(state)
    store = SqliteStore(state)
    epoch = await store.lead()
    journal = _journal(config)
    tls = config.environment.gateway.tls
    proxy = EnvoyProxy(run, state, _door(tls) if tls else None, config.environment.gateway.port, proxy_user)
    host = _host(config)
    loop.add_signal_handler(CLOSES_GATEWAY, proxy.close_gateway)
    loop.add_signal_handler(OPENS_GATEWAY, proxy.open_gateway)
    await proxy.start()
    try:
        records = Records(store, await store.load())
        keeper = KeeperClient(run)
        known = len(list(records.services()))
        what = (__version__, os.getpid(), config.environment.name, config.workspace, epoch, known)
        _log.info("atoll %s, pid %d, leads '%s' of workspace '%s' (epoch %d, %d services known)", *what)
        clock = SystemClock()
        # Without a public socket nobody else gets here, and there is no file of access to look at.
        doorkeeper = Doorkeeper(partial(access.read, state) if config.socket else None)
        environment = Environment(
            identity=_identity(config),
            host=host,
            traffic=proxy,
            signals=Telemetry(state / "signals.sqlite", clock),
            store=store,
            vault=SqliteVault(state),
            clock=clock,
            machine=_machine(config, keeper),
            records=records,
            settings=settings(config, proxy_user),
            certificates=(tls, _certificates(config, tls, proxy)) if tls else None,
            archivist=StateArchivist(source_of(config)),
            depot=depot(state, config.environment),
            servers=ServersHere(config.environment),
            doorkeeper=doorkeeper,
        )
        newest = await store.events(limit=1, newest=True)
        if journal is not None:  # of what happens from now on: all before was told by who wrote it
            journal.told = newest[-1].seq if newest else 0
        await _side_by_side(config, environment, doorkeeper, proxy, journal, told)
    except* _ToldToEnd:
        _log.info("told to end; replicas and traffic go on")
    finally:
        await proxy.close()
        await host.close()
        if journal is not None:
            with contextlib.suppress(AtollError):  # of the store; whatever ends the daemon was told
                for event in await store.events(after=journal.told):  # the last ones, which came after its task ended
                    journal.event(event)
        await store.close()


async def _side_by_side(
    config: Config,
    environment: Environment,
    doorkeeper: Doorkeeper,
    proxy: EnvoyProxy,
    journal: Journal | None,
    told: asyncio.Event,
) -> None:
    """The environment, its API and who hears of it, until it is told to end: raises _ToldToEnd, in a group."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(environment.run())
        if journal is not None:
            group.create_task(journal.follow(environment.events(after=journal.told, follow=True)))
        group.create_task(doorkeeper.run())
        api = Api(environment, doorkeeper)
        if config.environment.api is not None:
            group.create_task(serve_outside(api, config.environment.api, environment.holder))
        group.create_task(_serve(api, config, proxy))
        if config.environment.metrics is not None:
            group.create_task(serve_metrics(api, config.environment.metrics))
        await told.wait()
        running.cancel()
        raise _ToldToEnd


def _journal(config: Config) -> Journal | None:
    """The machine's, where it has one and a service manager runs this; it also takes what is logged."""
    if not config.served or not SOCKET.exists():
        return None
    journal = Journal({"ATOLL_WORKSPACE": config.workspace, "ATOLL_ENVIRONMENT": config.environment.name})
    logging.getLogger().addHandler(journal)
    return journal


def _machine(config: Config, keeper: KeeperClient) -> Machine:
    """Containers are reached by nobody from outside: only of processes it is asked where they listen."""
    return Machine(
        free_bytes=lambda: int(psutil.virtual_memory().available),
        parts=lambda: _parts(keeper),
        facts=lambda proxy: kernel.facts(Path(config.state), proxy),
        exposed=kernel.exposed if config.environment.engine == "process" else lambda _: {},
    )


def _host(config: Config) -> Host:
    """What runs the replicas."""
    state, run = Path(config.state), Path(config.run)
    users = Users(state.absolute(), others=states, lock=users_lock())
    match config.environment.engine:
        case "process":
            return ProcessHost(state, run, isolated=config.isolated, revives=not config.served, users=users)
        case "docker":
            from atoll.engines.docker import DockerHost

            return DockerHost(state, run, config.environment.docker, users)


def _door(tls: Tls) -> Door:
    return Door(secrets=names(tls), minimum=tls.minimum, hsts_s=int(tls.hsts_s), plain_port=tls.http)


def _certificates(config: Config, tls: Tls, proxy: EnvoyProxy) -> Parts:
    """What keeps the gateway's certificates. The library of ACME is imported only where one is asked for."""
    from atoll.certificates import pair

    folder, gateway = Path(config.state) / "tls", config.environment.gateway
    vault = SqliteVault(folder)
    authority: Authority | None = None
    if tls.acme is not None:
        from atoll.certificates.authority import AcmeAuthority

        ca = str(Path(config.root) / Path(tls.acme.ca).expanduser()) if tls.acme.ca else ""
        authority = AcmeAuthority(tls.acme, ca, vault, f"atoll/{__version__}")
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(gateway.host, gateway.host)
    return Parts(
        read=pair.read,
        made=pair.made,
        stand_in=pair.stand_in,
        showcase=proxy,
        authority=authority,
        vault=vault,
        plain_url=f"http://{Address(here, tls.http)}" if tls.http is not None else "",
        folder=folder,
    )


class _ToldToEnd(Exception):
    """Ends the task group when the keeper says so."""


async def _serve(api: Api, config: Config, proxy: EnvoyProxy) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PROXY_WITHIN_S):
            while proxy.generation() == 0:
                await asyncio.sleep(0.01)
    await serve(api, Path(config.run) / "daemon.sock", Path(config.socket) if config.socket else None)


def _identity(config: Config) -> Identity:
    spec = config.environment
    return Identity(
        workspace=config.workspace,
        environment=spec.name,
        root=config.root,
        gateway=Address(spec.gateway.host, spec.gateway.port),
        ports=spec.ports,
        tls=spec.gateway.tls is not None,
        freezes=spec.freezes,
        require=spec.require,
        notify=spec.notify,
        faults=spec.name == "local" if spec.faults is None else spec.faults,
        dev=spec.for_development,
        api=str(spec.api or ""),
        state=config.state,
    )


async def _parts(keeper: KeeperClient) -> Mapping[str, int | None]:
    """The keeper's own pid and its proxy's; empty when it does not answer."""
    try:
        status = await asyncio.to_thread(keeper.status, _KEEPER_WITHIN_S)
    except KeeperError:
        return {}
    return {"keeper": status["pid"], "proxy": status["fixtures"].get("proxy", {}).get("pid")}


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
