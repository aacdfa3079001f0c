"""An environment in virtual time: fake host and proxy that outlive the daemon, a disk that outlives the store.

A scenario is played in it (`Life`), and the daemon killed and started again as often as it wants.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine

from atoll.daemon.environment import Environment
from atoll.daemon.identity import Identity, Machine, Settings
from atoll.model.environment import EnvironmentSpec, Freeze
from atoll.model.errors import UserError
from atoll.model.machine import MachineFacts
from atoll.model.spec import Command, Health, Plain, Port, Probe, Route, ServiceSpec, Stop
from atoll.model.state import Address, Artifact, Author
from atoll.model.wire import DeployRequest, ServiceView
from atoll.model.wire_operations import OperationView
from atoll.ports import Archivist, Host, Launch
from atoll.realise.probes import Answer
from atoll.realise.records import Records
from atoll.telemetry import Telemetry
from atoll.testing.clock import VirtualClock
from atoll.testing.fake_host import FakeHost
from atoll.testing.fake_proxy import FakeTraffic
from atoll.testing.memory_store import MemoryDisk, MemoryStore, MemoryVault

ARTIFACT = Artifact(key="k1", digest="d1", builder="command", platform="linux", path="/artifacts/k1")


def spec(name: str = "orders", version: str = "v1", **fields: object) -> ServiceSpec:
    """A small HTTP service."""
    given: dict[str, object] = {
        "name": name,
        "run": Command(shell="serve"),
        "ports": (Port(env="PORT"),),
        "routes": (Route(path=f"/{name}"),),
        "health": Health(ready=Probe(kind="tcp"), start_budget_s=10.0, stable_for_s=1.0),
        "stop": Stop(drain_s=5.0, grace_s=2.0),
        "env": {"VERSION": Plain(version)},
    }
    return ServiceSpec(**(given | fields))  # type: ignore[arg-type]


async def _parts() -> dict[str, int | None]:
    return {"keeper": 1, "proxy": 2}


class Life:
    """What has a clock, a disk and a daemon of some kind, which `start` and `kill` begin and end; the rest goes on."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.disk, self.vault = MemoryDisk(), MemoryVault()
        self.store = MemoryStore(self.disk)
        self._task: asyncio.Task[None] | None = None

    def run(self, scenario: Callable[[], Awaitable[object]]) -> None:
        """Play a scenario to its end."""

        async def play() -> None:
            await self.start()
            try:
                await scenario()
            finally:
                self.kill()

        self.clock.run(play())

    async def start(self) -> None:
        """A daemon begins: take the store, then `begin` what runs."""
        raise NotImplementedError

    def begin(self, running: Coroutine[None, None, None]) -> None:
        """It runs from now on."""
        self._task = asyncio.create_task(running)

    def kill(self) -> None:
        """Kill -9: nothing more happens in it, nothing is tidied up."""
        assert self._task is not None
        self._task.cancel()
        self.store = self.store.crash()

    async def restart(self) -> None:
        """Kill -9 and the next one."""
        self.kill()
        await asyncio.sleep(0.2)
        await self.start()

    async def killed_after(self, commits: int, over: Callable[[], bool], every_s: float = 0.001) -> bool:
        """Kill the daemon once the disk has seen more commits than that, or it is `over`, and start the next one.

        Returns whether it was over.
        """
        await self.clock.until(lambda: self.disk.commits > commits or over(), every_s=every_s)
        finished = over()
        await self.restart()
        return finished


class World(Life):
    """Everything that a daemon of an environment meets."""

    def __init__(self) -> None:
        super().__init__()
        self.host = FakeHost(self.clock)
        self.traffic = FakeTraffic(self.clock, alive=self.host.alive)
        self.environment: Environment
        self.free_bytes: int | None = None
        self.freezes: tuple[Freeze, ...] = ()
        self.require: tuple[str, ...] = ()
        self.dev = True
        self.api = ""
        self.kept: list[EnvironmentSpec] = []  # for the next start
        self.refused: UserError | None = None  # of settings, by the machine
        self.restarts: list[float] = []  # when the daemon asked for one
        self.restarts_fail = False
        self.archivist: Archivist | None = None
        self.unreachable: dict[str, str] = {}  # host -> what it does
        self.facts = MachineFacts()
        self.exposed: dict[str, tuple[str, ...]] = {}  # service -> where others reach it

    async def start(self) -> None:
        """A daemon begins."""
        await self.store.lead()
        self.traffic.new_reader()
        records = Records(self.store, await self.store.load())
        self.environment = Environment(
            identity=Identity(
                "shop",
                "local",
                "/ws",
                Address("127.0.0.1", 8080),
                (20000, 29999),
                freezes=self.freezes,
                require=self.require,
                dev=self.dev,
                api=self.api,
            ),
            host=self.host,
            traffic=self.traffic,
            signals=Telemetry(None, self.clock),
            store=self.store,
            vault=self.vault,
            clock=self.clock,
            machine=Machine(
                free_bytes=lambda: self.free_bytes,
                parts=_parts,
                dial=self._dial,
                facts=lambda _: self.facts,
                exposed=lambda _: self.exposed,
            ),
            records=records,
            settings=Settings(EnvironmentSpec(), self.refuses, self.kept.append, self._restart),
            ask=self._ask,
            archivist=self.archivist,
        )
        self.begin(self.environment.run())

    def refuses(self, environment: EnvironmentSpec) -> None:
        """Whatever is asked of the machine, when a test says so."""
        if self.refused is not None:
            raise self.refused

    def _restart(self) -> None:
        self.restarts.append(self.clock.now().wall)
        if self.restarts_fail:
            raise OSError("the keeper is away")

    async def _dial(self, host: str, port: int) -> str:
        assert port > 0
        return self.unreachable.get(host, "")

    async def _ask(self, probe: Probe, address: Address | None, host: Host, launch: Launch | None) -> Answer:
        await asyncio.sleep(0.001)
        replica = self.host.at(address.port) if address else None
        ok = replica is not None and self.host.ready(replica)
        return Answer(ok=ok, text="" if ok else "not ready")

    async def deploy(self, wanted: ServiceSpec, **fields: object) -> OperationView:
        """Start a deploy."""
        return await self.environment.deploy(
            DeployRequest(**{"spec": wanted, "artifact": ARTIFACT, "author": Author(actor="ann"), **fields})  # type: ignore[arg-type]
        )

    async def ended(self, operation: OperationView, within_s: float = 120.0) -> OperationView:
        """Wait for its end, over restarts of the daemon."""

        async def look() -> OperationView:
            while not (view := await self.environment.operation(operation.id)).ended:
                await asyncio.sleep(0.05)
            return view

        return await asyncio.wait_for(look(), within_s)

    async def live(self, wanted: ServiceSpec) -> OperationView:
        """Deploy to the end, which must be good."""
        done = await self.ended(await self.deploy(wanted))
        assert done.phase in {"live", "certified"}, done
        return done

    def has_moved_to(self, release: int) -> bool:
        """Whether a rollout has given all traffic of `orders` to it."""
        rollout = self.environment._records.rollout_of("orders")
        return rollout is not None and rollout.candidate == release and rollout.phase in {"live", "certified"}

    async def of(self, service: str = "orders") -> ServiceView:
        """One service of the status."""
        status = await self.environment.status()
        return next(view for view in status.services if view.name == service)


def at_every_commit(play: Callable[[World, int], Awaitable[bool]]) -> int:
    """Play it for n = 0, 1, 2, ..., each time in a new world, until it says that it was over before the n-th commit.

    Returns how often it was played.
    """
    n, last = 0, False
    while not last:
        world = World()

        async def scenario(world: World = world, n: int = n) -> None:
            nonlocal last
            last = await play(world, n)

        world.run(scenario)
        n += 1
    return n
