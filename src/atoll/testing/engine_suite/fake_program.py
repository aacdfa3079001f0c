"""What `program.py` would do, and the way of requests to it, for the suite on fakes: nothing is executed, nothing listens.

`FakeProgram` answers by what reached the host in a `Launch`; `FakeGateway` chooses a replica by the table that `FakeTraffic` has.
"""

import itertools
import json
import random
import shlex
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from atoll.model.state import Address, Exit
from atoll.model.traffic import Endpoint, ServiceTraffic
from atoll.ports import Launch
from atoll.testing.fake_host import Behaviour, FakeHost
from atoll.testing.fake_proxy import FakeTraffic
from atoll.testing.steady import Reply

MIB = 2**20
_BASE_MIB = 10  # of memory that a Python takes
_LOOK_S = 0.01  # at whether requests are still held


class Surroundings(Protocol):
    """The fakes that a program runs in; they live in a thread of their own."""

    host: FakeHost
    traffic: FakeTraffic
    gateway: "FakeGateway"
    program: "FakeProgram"

    def call(self, what: Callable[[], object]) -> None:
        """Do it in that thread, and wait until it is done."""
        ...

    def later(self, what: Callable[[], object]) -> None:
        """Do it in that thread, soon."""
        ...


class FakeProgram:
    """What `program.py` would do and answer."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._disk: dict[str, str] = {}  # what was written, by absolute path

    def behaviour(self, launch: Launch) -> Behaviour:
        """How a launch of it goes."""
        words, env = launch.command.argv or shlex.split(launch.command.shell or ""), {**launch.env, **launch.secrets}
        if "program.py" not in words:
            return Behaviour(cannot_start=f"{words[0]}: no such file")
        kind, rest = words[words.index("program.py") + 1], words[words.index("program.py") + 1 :]
        version = env.get("VERSION", "")
        begins = (f"{version} starting",)
        if "CRASH" in env:
            last = ("cannot find my configuration",)
            return Behaviour(output=begins, last_words=last, exits_after_s=0.05, exit=Exit(code=int(env["CRASH"])))
        if kind not in {"serve", "grpc", "worker"}:
            says = (*begins, f"{version} {' '.join(rest)}")
            end = Exit(code=4 if "fail" in words else 0)
            return Behaviour(
                output=says, ready_s=None, exits_after_s=0.1, exit=end, run_exit=end, run_output="\n".join(says)
            )
        return Behaviour(
            output=(*begins, f"{version} works") if kind == "worker" else begins,
            ready_s=0.05 + float(env.get("START_S", "0")),
            exits_after_s=float(env["DIE_AFTER_S"]) if "DIE_AFTER_S" in env else None,
            exit=Exit(code=9),
            stop_s=0.01 + float(env.get("STOP_S", "0")),
            stop_words=("told to stop", "stopped"),
            ignores_signals="DEAF" in env,
        )

    def echo(self, replica: str, data: bytes) -> bytes:
        """On a WebSocket, and to a gRPC call."""
        return self._env(replica).get("VERSION", "").encode() + b":" + data

    def answer(self, replica: str, path: str, body: bytes | None) -> dict[str, Any]:
        """The JSON of an HTTP answer."""
        env = self._env(replica)
        config = self._config(env)
        said: dict[str, Any] = {"version": config.get("version") or env.get("VERSION", "")}
        if body is not None:
            return {**said, "bytes": len(body)}
        at = urlsplit(path)
        does = getattr(self, f"_do_{at.path.rpartition('/')[2]}", None)
        asked = {name: values[0] for name, values in parse_qs(at.query).items()}
        return {**said, **(does(replica, **asked) if does else {})}

    def _launch(self, replica: str) -> Launch:
        return next(launch for launch in self._world.host.launches if launch.id == replica)

    def _env(self, replica: str) -> dict[str, str]:
        launch = self._launch(replica)
        return {**launch.env, **launch.secrets}

    def _config(self, env: Mapping[str, str]) -> dict[str, Any]:
        text = self._world.host.files().get(env.get("CONFIG", ""))
        config: dict[str, Any] = json.loads(text) if text else {}
        return config

    def _do_slow(self, replica: str, s: str = "1") -> dict[str, Any]:
        time.sleep(float(s))
        if not self._world.host.alive(replica):
            raise ConnectionResetError(f"{replica} ended")
        return {}

    def _do_env(self, replica: str, name: str) -> dict[str, Any]:
        return {"value": self._env(replica).get(name)}

    def _do_argv(self, replica: str) -> dict[str, Any]:
        words = self._launch(replica).command.argv
        return {"argv": list(words[words.index("program.py") + 1 :])}

    def _do_config(self, replica: str) -> dict[str, Any]:
        return {"config": self._config(self._env(replica))}

    def _do_call(self, replica: str, name: str, path: str = "/x") -> dict[str, Any]:
        reply = self._world.gateway.over_edge(urlsplit(self._env(replica)[name]).port, path)
        return {"status": reply.status, "body": reply.body if reply.version else reply.body.get("text", "")}

    def _do_dial(self, replica: str, host: str, port: str) -> dict[str, Any]:  # noqa: ARG002
        reply = self._world.gateway.over_edge(int(port), "/x")
        return {"came": f"HTTP/1.1 {reply.status}"}

    def _do_say(self, replica: str, text: str) -> dict[str, Any]:
        self._world.call(lambda: self._world.host.say(replica, text))
        self._world.call(lambda: self._world.host.say(replica, text, "stderr"))
        return {}

    def _path(self, replica: str, path: str) -> str:
        for name, value in self._env(replica).items():
            path = path.replace(f"${name}", value)
        return path

    def _do_read(self, replica: str, path: str) -> dict[str, Any]:
        at = self._path(replica, path)
        return {"text": self._world.host.files().get(at, self._disk.get(at))}

    def _do_write(self, replica: str, path: str, text: str) -> dict[str, Any]:
        at = self._path(replica, path)
        if not any(at.startswith(f"{folder}/") for folder in self._launch(replica).writable):
            return {"why": "read-only"}
        self._disk[at] = text
        return {"why": ""}

    def _do_eat(self, replica: str, mib: str) -> dict[str, Any]:
        limit = self._launch(replica).limits.memory_bytes
        if limit is not None and (_BASE_MIB + int(mib)) * MIB > limit:
            over = Exit(signal=9, oom=True, limit_bytes=limit)
            self._world.call(lambda: self._world.host.kill(replica, exit=over))
            raise ConnectionResetError(f"{replica} ended")
        return {"held": int(mib)}

    def _do_spin(self, replica: str, s: str) -> dict[str, Any]:
        return {"cpu_s": float(s) * (self._launch(replica).limits.cpus or 1.0)}

    def _do_fork(self, replica: str, most: str) -> dict[str, Any]:
        limit = self._launch(replica).limits.pids
        return {"children": int(most) if limit is None else min(int(most), limit - 1)}

    def _do_files(self, replica: str, most: str) -> dict[str, Any]:
        return {"opened": min(int(most), self._launch(replica).limits.open_files or int(most))}


class FakeGateway:
    """Requests by the table that `FakeTraffic` has: routes, weights, and replicas that serve."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self._random = random.Random(1)
        self._inflight: dict[Address, int] = {}
        self._turn = itertools.count()

    def send(self, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        """One request; 404 where nothing is routed, 503 where nobody serves."""
        try:
            with self.chosen(path, headers) as (replica, inner):
                return Reply(200, self._world.program.answer(replica, inner, body))
        except LookupError as exc:
            return Reply(int(exc.args[0]), {"text": str(exc.args[1])})
        except ConnectionResetError as exc:
            return Reply(503, {"text": str(exc)})

    def over_edge(self, port: int | None, path: str) -> Reply:
        """One request to a caller's own listener."""
        entries = self._services().values()
        edge = next((edge for entry in entries for edge in entry.edges if edge.listen.port == port), None)
        entry = self._services().get(edge.callee) if edge else None
        if edge is None or entry is None:
            return Reply(503, {"text": f"{edge.callee if edge else port} does not run"})
        with self._at(self._endpoint(entry, {}, edge.port)) as replica:
            return Reply(200, self._world.program.answer(replica, path, None))

    @contextmanager
    def chosen(self, path: str, headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
        """The replica that gets a request, which is in flight in the block, and the path as it sees it.

        Raises LookupError of a status and a text.
        """
        at = path.partition("?")[0]
        found = [
            (len(route.path), entry, route)
            for entry in self._services().values()
            for route in entry.routes
            if at == route.path or at.startswith(f"{route.path.rstrip('/')}/")
        ]
        if not found:
            raise LookupError(404, f"nothing is routed at {at}")
        _, entry, route = max(found, key=lambda each: each[0])
        while entry.hold:
            time.sleep(_LOOK_S)
            entry = self._services()[entry.service]
        with self._at(self._endpoint(entry, headers, route.port)) as replica:
            yield replica, path.removeprefix(route.path) if route.strip else path

    def _services(self) -> Mapping[str, ServiceTraffic]:
        return self._world.traffic.table.services if self._world.traffic.table else {}

    def _endpoint(self, entry: ServiceTraffic, headers: Mapping[str, str], port: str) -> Endpoint:
        releases, weights = list(entry.weights), list(entry.weights.values())
        if not any(weights):
            raise LookupError(503, f"{entry.service} is down")
        release = self._random.choices(releases, weights)[0]
        name, _, value = entry.header.partition(": ")
        if name and headers.get(name) == value:
            release = entry.header_release
        serving = [
            endpoint
            for upstream in entry.upstreams
            if upstream.release == release and port in {"", upstream.port}
            for endpoint in upstream.endpoints
            if endpoint.state == "serving" and self._world.host.alive(endpoint.replica)
        ]
        if not serving:
            raise LookupError(503, f"{entry.service} has no ready replica")
        return serving[next(self._turn) % len(serving)]

    @contextmanager
    def _at(self, endpoint: Endpoint) -> Iterator[str]:
        self._count(endpoint.address, 1)
        try:
            yield endpoint.replica
        finally:
            self._count(endpoint.address, -1)

    def _count(self, address: Address, by: int) -> None:
        def change() -> None:
            self._inflight[address] = self._inflight.get(address, 0) + by
            self._world.traffic.set_inflight(address, self._inflight[address])

        self._world.later(change)
