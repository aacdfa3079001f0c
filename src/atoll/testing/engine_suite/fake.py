"""The shipped fakes as an engine for the suite: the real daemon over `FakeHost` and `FakeTraffic`, in a thread.

Nothing is executed: `FakeProgram` answers by what reached the host in its `Launch`. So the suite shows here that all of a file
arrives at the host, and that the fakes behave as what they stand for. Time is real: a
client of the API waits for it.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from hashlib import blake2s
from pathlib import Path

from atoll.daemon.api import Api
from atoll.daemon.clock import SystemClock
from atoll.daemon.environment import Environment
from atoll.daemon.identity import Identity, Machine, Settings
from atoll.daemon.serve import serve
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import Problem
from atoll.model.spec import service_file
from atoll.model.state import Address, Artifact
from atoll.model.wire import StatusView
from atoll.realise.records import Records
from atoll.telemetry import Telemetry
from atoll.testing.engine_suite.fake_program import FakeGateway, FakeProgram
from atoll.testing.engine_suite.platform import Platform, Stream
from atoll.testing.fake_host import FakeHost
from atoll.testing.fake_proxy import FakeTraffic
from atoll.testing.memory_store import MemoryDisk, MemoryStore, MemoryVault
from atoll.testing.steady import Reply, Send

_WITHIN_S = 30.0


class FakePlaces:
    """Where a pretended environment would be."""

    environment = "local"

    def __init__(self, root: Path) -> None:
        self.socket = root.parent / "run" / "daemon.sock"
        self.artifacts = root.parent / "home"
        self.world: World | None = None

    def keeper_alive(self) -> bool:
        """Whether it runs."""
        return self.world is not None

    def will_answer(self, met: bool) -> bool:  # noqa: ARG002  as the real ones are asked
        """See `cli.hooks.Places`."""
        return self.keeper_alive()


class FakeHooks:
    """As much of `cli.hooks.Hooks` as the suite uses."""

    def __init__(self) -> None:
        self.worlds: dict[Path, FakePlaces] = {}

    def places(self, root: Path, environment: str) -> FakePlaces:  # noqa: ARG002  there is one
        """The same ones for the same workspace."""
        return self.worlds.setdefault(root, FakePlaces(root))

    def load(self, root: Path, environment: str) -> WorkspaceSpec:
        """The real files."""
        from atoll.workspace.loader import load

        return load(root, environment)

    def build(
        self,
        places: FakePlaces,  # noqa: ARG002
        workspace: WorkspaceSpec,  # noqa: ARG002
        services: Sequence[str],
        tell: object,  # noqa: ARG002
    ) -> Mapping[str, Artifact]:
        """One artifact for all: there are no files."""
        key = blake2s(b"program").hexdigest()
        return {
            name: Artifact(key=key, digest=key, builder="command", platform="linux", path="/a") for name in services
        }

    def finish(self, *, hurry: bool) -> None:
        """Nothing goes on."""

    def ensure_running(self, places: FakePlaces, workspace: WorkspaceSpec, say: object) -> None:  # noqa: ARG002
        """A daemon in a thread."""
        if places.world is None:
            places.world = World(places.socket, workspace)

    def refuse(self, places: FakePlaces, workspace: WorkspaceSpec) -> None:
        """Nothing stands in its way."""

    def stop_all(self, places: FakePlaces, say: object) -> None:  # noqa: ARG002
        """Every replica, then the daemon."""
        if places.world is not None:
            places.world.end()
            places.world = None

    def unable(self, workspace: WorkspaceSpec) -> Sequence[Problem]:
        """What the host says of each service."""
        host = FakeHost(SystemClock())
        return [
            Problem(file=service_file(spec), field="", what=each.what, fix=each.fix, id=each.id, level="warning")
            for spec in workspace.services.values()
            for each in asyncio.run(host.refusals(spec))
        ]


class FakePlatform(Platform):
    """See the module."""

    name = "fake"
    python = "python3"
    keeps_data = False  # a disk is its world's
    many_requests = 1_000  # nothing of a proxy is tried here

    def __init__(self) -> None:
        self._known = FakeHooks()
        super().__init__(self._known)
        self.lacks = {"undeclared": "nothing keeps a process from calling what it does not declare"}

    def _world(self, url: str) -> "World":
        return next(each.world for each in self._known.worlds.values() if each.world and each.world.url == url)

    def connect(self, url: str, deadline_s: float) -> Send:  # noqa: ARG002  it answers, or it does not
        """Straight to what the table says."""
        return _Direct(self._world(url))

    def grpc(self, url: str, method: str, request: bytes) -> bytes:
        """The same."""
        with self._world(url).gateway.chosen(method, {}) as (replica, _):
            return self._world(url).program.echo(replica, request)

    def websocket(self, url: str, path: str) -> Stream:
        """The same, and it stays with its replica."""
        world = self._world(url)
        with world.gateway.chosen(path, {}) as (replica, _):
            return _Pretended(world, replica)

    def daemon(self, status: StatusView) -> int:
        """How many there were."""
        return self._world(status.gateway).generation

    def kill_daemon(self, status: StatusView) -> None:
        """Nothing more happens in it, nothing is tidied up."""
        self._world(status.gateway).kill()

    @contextmanager
    def foreign(self, folder: Path) -> Iterator[Callable[[], bool]]:
        """The other environments."""
        others = [each.world for root, each in self._known.worlds.items() if each.world and root.parent != folder]
        yield lambda: all(each.alive for each in others)

    def left_behind(self, root: Path) -> Sequence[str]:
        """Replicas of a world that was not ended."""
        world = self._known.worlds[root].world
        return world.host.running() if world else ()


class _Direct:
    def __init__(self, world: "World") -> None:
        self._world = world

    def __call__(self, path: str, body: bytes | None = None, headers: Mapping[str, str] = {}) -> Reply:
        return self._world.gateway.send(path, body, headers)

    def close(self) -> None:
        pass


class _Pretended:
    def __init__(self, world: "World", replica: str) -> None:
        self._world, self._replica = world, replica

    def ask(self, data: bytes) -> bytes:
        return self._world.program.echo(self._replica, data) if self._world.host.alive(self._replica) else b""

    def close(self) -> None:
        pass


class World:
    """A daemon over the fakes, and its API on a socket, in a thread; host, proxy and disk outlive it."""

    def __init__(self, socket: Path, workspace: WorkspaceSpec) -> None:
        spec = self.spec = workspace.environment
        gateway = Address(spec.gateway.host, spec.gateway.port)
        self.url = f"http://{gateway}"
        self.identity = Identity(workspace.name, spec.name, workspace.root, gateway, spec.ports)
        self.generation = 0
        self.clock = SystemClock()
        self.program = FakeProgram(self)
        self.host = FakeHost(self.clock, self.program.behaviour)
        self.disk, self.vault = MemoryDisk(), MemoryVault()
        self._socket = socket
        self._started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="fake world", daemon=True)
        self._thread.start()
        if not self._started.wait(_WITHIN_S):
            raise TimeoutError("the fake daemon did not start")

    def kill(self) -> None:
        """Kill -9 of the daemon; the next one starts at once."""
        self.loop.call_soon_threadsafe(self._daemon.cancel)

    def end(self) -> None:
        """Of everything."""
        self.call(self._ended.set)
        self._thread.join(_WITHIN_S)

    @property
    def alive(self) -> bool:
        """Whether it was not ended."""
        return self._thread.is_alive()

    def call(self, what: Callable[[], object]) -> None:
        """Do it in the world's thread, where its fakes live."""
        done: Future[None] = Future()

        def do() -> None:
            what()
            done.set_result(None)

        self.loop.call_soon_threadsafe(do)
        done.result(_WITHIN_S)

    def later(self, what: Callable[[], object]) -> None:
        """The same, without waiting for it."""
        self.loop.call_soon_threadsafe(what)

    async def _live(self) -> None:
        self.loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        self.traffic = FakeTraffic(self.clock, alive=self.host.alive)
        self.gateway = FakeGateway(self)
        ended = asyncio.create_task(self._ended.wait())
        while not ended.done():
            self.generation += 1
            self._daemon = asyncio.create_task(self._run())
            await asyncio.wait([self._daemon, ended], return_when=asyncio.FIRST_COMPLETED)
            if self._daemon.done() and not self._daemon.cancelled():
                self._daemon.result()  # it is not expected to end
        self._daemon.cancel()
        await asyncio.wait([self._daemon])

    async def _run(self) -> None:
        store = MemoryStore(self.disk)
        await store.lead()
        self.traffic.new_reader()
        environment = Environment(
            identity=self.identity,
            host=self.host,
            traffic=self.traffic,
            signals=Telemetry(None, self.clock),
            store=store,
            vault=self.vault,
            clock=self.clock,
            machine=Machine(free_bytes=lambda: None, parts=self._parts),
            records=Records(store, await store.load()),
            settings=Settings(self.spec, check=lambda _: None, keep=lambda _: None, restart=lambda: None),
            ask=self.host.ask,
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(environment.run())
                group.create_task(serve(Api(environment), self._socket))
                while not self._socket.exists():
                    await asyncio.sleep(0.01)
                self._started.set()
        finally:
            store.crash()

    async def _parts(self) -> Mapping[str, int | None]:
        return {"keeper": 1, "proxy": 2}
