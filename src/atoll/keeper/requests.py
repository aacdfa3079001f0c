"""What clients ask of the keeper: one method per operation. Called by `server` when a client's socket has something.

An operation that must wait for a shim keeps (client, n) and answers later; nothing here blocks.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from atoll import __version__
from atoll.keeper import files, wire
from atoll.keeper.held import Waiter
from atoll.keeper.places import is_name
from atoll.keeper.renew import become
from atoll.keeper.shutdown import Shutdown
from atoll.keeper.wire import Message, Wire

if TYPE_CHECKING:
    from atoll.keeper.server import Keeper

PROTOCOL = 1
_HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
LAUNCH_FIELDS = frozenset({
    "id", "service", "release", "argv", "folder", "env", "uid", "memory_bytes", "cpu_weight", "open_files", "grace_s",
    "writable", "notice", "files", "files_folder", "network", "isolated",
})  # fmt: skip


class Requests:
    """The keeper's clients and their requests."""

    def __init__(self, keeper: "Keeper") -> None:
        self.keeper = keeper
        self.clients: set[Wire] = set()
        self.watchers: set[Wire] = set()
        self.runs = 0  # so many were ever started in this process; names them
        self.operations: dict[str, Callable[[Waiter, Message], None]] = {
            "start": self._start,
            "run": self._run,
            "signal": self._signal,
            "forget": self._forget,
            "list": self._list,
            "watch": self._watch,
            "status": self._status,
            "ensure": self._ensure,
            "settle": self._settle_fixture,
            "restart": self._restart,
            "stop": self._stop,
            "renew": self._renew,
            "shutdown": self._shutdown,
        }

    def accept(self) -> None:
        with suppress(BlockingIOError):
            sock, _ = self.keeper.server.accept()
            if not wire.is_trusted(sock):
                sock.close()
                return
            self.welcome(Wire(sock))

    def welcome(self, client: Wire) -> None:
        """Hear a client, and send what it has not got yet."""
        self.clients.add(client)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.pending else 0)
        self.keeper.selector.register(client, events, client)

    def hear(self, client: Wire, mask: int) -> None:
        if mask & selectors.EVENT_WRITE:
            client.flush()
        if mask & selectors.EVENT_READ:
            for message in client.receive():
                self._request(client, message)
        self._settle(client)

    def _request(self, client: Wire, message: Message) -> None:
        operation = self.operations.get(str(message.get("op")))
        try:
            if operation is None:
                raise ValueError(f"unknown operation {message.get('op')!r}")
            if self.keeper.shutdown and message["op"] in {"start", "run", "ensure", "restart"}:
                raise ValueError("the keeper is shutting down")
            operation((client, message.get("n")), message)
        except (ValueError, KeyError, TypeError, OSError) as exc:
            text = f"missing field {exc}" if isinstance(exc, KeyError) else str(exc)
            self.reply((client, message.get("n")), {"error": text})

    def _settle(self, client: Wire) -> None:
        if client not in self.clients:
            return
        if client.broken:
            self.keeper.selector.unregister(client)
            self.clients.discard(client)
            self.watchers.discard(client)
            client.close()
            for held in self.keeper.held.values():
                if held.kind == "run" and any(waiter[0] is client for waiter in held.waiters):
                    self.keeper.ask_shim(held, {"op": "stop", "grace_s": 0})
            return
        self.keeper.selector.modify(
            client, selectors.EVENT_READ | (selectors.EVENT_WRITE if client.pending else 0), client
        )

    def send(self, client: Wire, message: Message) -> None:
        if client in self.clients:
            client.send(message)
            if client.pending:
                self.keeper.selector.modify(client, selectors.EVENT_READ | selectors.EVENT_WRITE, client)

    def reply(self, waiter: Waiter, message: Message) -> None:
        self.send(waiter[0], {"n": waiter[1], **message})

    def publish(self, message: Message) -> None:
        """To everybody who watches."""
        for client in list(self.watchers):
            self.send(client, message)

    # --- replicas ------------------------------------------------------------------------------------------------

    def _launch(self, message: Message) -> Message:
        given: Message = message["launch"]
        launch = {key: value for key, value in given.items() if key in LAUNCH_FIELDS}
        if not is_name(launch["service"]):
            raise ValueError(f"not a service name: {launch['service']!r}")
        if not isinstance(launch["argv"], list) or not isinstance(launch["env"], dict):
            raise TypeError("argv is a list and env an object")
        return launch

    def _start(self, waiter: Waiter, message: Message) -> None:
        launch = self._launch(message)
        if not is_name(launch["id"]):
            raise ValueError(f"not a replica id: {launch['id']!r}")
        files.check(launch, self.keeper.places)
        held = self.keeper.held.get(launch["id"])
        if held is None or held.kind != "replica":
            held = self.keeper.spawn({**launch, "kind": "replica"})
        if held.ready:
            self.reply(waiter, {"ok": True, "replica": held.record})
        else:
            held.waiters.append(waiter)

    def _run(self, waiter: Waiter, message: Message) -> None:
        self.runs += 1
        name = f"run@{os.getpid()}-{self.runs}"
        given = self._launch(message)
        launch = {**given, "id": name, "kind": "run", "timeout_s": float(message["timeout_s"])}
        if launch.pop("network", None):
            replica = self.keeper.held.get(given["id"])
            if replica is None or not replica.running or not replica.record.get("pid"):
                raise ValueError(f"{given['id']} does not run, and what runs beside it needs its network")
            launch["beside"] = [replica.record["pid"], replica.record["pid_start"]]
        self.keeper.spawn(launch).waiters.append(waiter)

    def _signal(self, waiter: Waiter, message: Message) -> None:
        held = self.keeper.held.get(message["id"])
        signum = signal.Signals[message["signal"]]
        if held is None or held.link is None or not held.running:
            self.reply(waiter, {"ok": True, "sent": False})
        else:
            self.keeper.ask_shim(held, {"op": "signal", "signal": int(signum)}, waiter)

    def _forget(self, waiter: Waiter, message: Message) -> None:
        held = self.keeper.held.get(message["id"])
        if held is None or held.kind != "replica":
            self.reply(waiter, {"ok": True})
            return
        held.forget_after.append(waiter)
        if not held.running:
            self.keeper.drop(held)
            return
        held.dropped = True
        self.keeper.ask_shim(held, {"op": "stop", "grace_s": 0})

    def _replicas(self) -> list[Message]:
        return [held.record for held in self.keeper.held.values() if held.kind == "replica" and not held.dropped]

    def _list(self, waiter: Waiter, _message: Message) -> None:
        self.reply(waiter, {"ok": True, "replicas": self._replicas()})

    def _watch(self, waiter: Waiter, _message: Message) -> None:
        self.watchers.add(waiter[0])
        self.reply(waiter, {"ok": True, "replicas": self._replicas()})

    # --- fixtures and the whole ----------------------------------------------------------------------------------

    def _status(self, waiter: Waiter, _message: Message) -> None:
        now = time.monotonic()
        fixtures = {}
        for fixture in self.keeper.fixtures.all.values():
            held = self.keeper.held.get(fixture.run.id)
            running = held is not None and held.running
            older = [self.keeper.held.get(each) for each in fixture.ids[1:]]
            state = "running" if running else "backoff" if fixture.wanted else "stopped"
            fixtures[fixture.name] = {
                "state": state if fixture.wanted or not running else "stopping",
                "pid": held.record["pid"] if held is not None and running else None,
                "restarts": fixture.restarts,
                "last_exit": fixture.last_exit,
                "up_s": round(now - fixture.since, 3) if running else 0.0,
                "argv": fixture.definition["argv"],
                "stamp": fixture.definition.get("stamp", ""),
                "settled": fixture.before is None,
                "older": [each.record["pid"] for each in older if each is not None and each.running],
            }
        running_count = sum(1 for held in self.keeper.held.values() if held.kind == "replica" and held.running)
        self.reply(waiter, {**self.about(), "replicas": running_count, "fixtures": fixtures})

    def about(self) -> Message:
        """The keeper itself."""
        return {"ok": True, "pid": os.getpid(), "version": __version__, "home": _HOME, "protocol": PROTOCOL}

    def _renew(self, waiter: Waiter, message: Message) -> None:
        if self.keeper.shutdown:
            raise ValueError("the keeper is shutting down")
        env = os.environ | {name: str(value) for name, value in message["env"].items()}
        argv = [*map(str, message["argv"]), self.keeper.places.state_dir, self.keeper.places.run_dir]
        become(self.keeper, argv, env, waiter)

    def _ensure(self, waiter: Waiter, message: Message) -> None:
        name = message["name"]
        if not is_name(name):
            raise ValueError(f"not a name for a fixture: {name!r}")
        definition: Message = {
            "argv": list(message["argv"]),
            "env": dict(message["env"]),
            "log": str(message["log"]),
            "stamp": str(message.get("stamp", "")),
        }
        for optional in ("handover", "user"):
            if message.get(optional):
                definition[optional] = dict(message[optional])
        fixture = self.keeper.fixtures.all.get(name)
        old = self.keeper.held.get(fixture.run.id) if fixture is not None else None
        changed = fixture is not None and fixture.definition != definition
        self.keeper.fixtures.ensure(name, definition, old is not None and old.running)
        fixture = self.keeper.fixtures.all[name]
        if fixture.definition != definition:
            raise ValueError(f"the new {name} cannot be started; the one that runs goes on")
        held = self.keeper.held.get(fixture.run.id)
        if changed and held is not None and held is old and held.running:
            fixture.waiters.append(waiter)  # the old one must end first
            return
        if held is None or held.ready:
            self.reply(waiter, {"ok": True, "replica": held.record if held else None})
        else:
            held.waiters.append(waiter)

    def _known(self, message: Message) -> str:
        name = str(message["name"])
        if name not in self.keeper.fixtures.all:
            raise ValueError(f"no fixture is called {name!r}")
        return name

    def _settle_fixture(self, waiter: Waiter, message: Message) -> None:
        self.keeper.fixtures.settle(self._known(message), good=bool(message["good"]))
        self.reply(waiter, {"ok": True})

    def _restart(self, waiter: Waiter, message: Message) -> None:
        self.keeper.fixtures.restart(self._known(message))
        self.reply(waiter, {"ok": True})

    def _stop(self, waiter: Waiter, message: Message) -> None:
        name = self._known(message)
        self.keeper.fixtures.stop(name, float(message.get("grace_s", 10.0)))
        held = self.keeper.held.get(self.keeper.fixtures.all[name].run.id)
        if held is None or not held.running:
            self.reply(waiter, {"ok": True})
        else:
            held.forget_after.append(waiter)

    def _shutdown(self, waiter: Waiter, message: Message) -> None:
        if self.keeper.shutdown is None:
            self.keeper.shutdown = Shutdown(self.keeper, float(message["timeout_s"]))
        self.keeper.shutdown.waiters.append(waiter)
