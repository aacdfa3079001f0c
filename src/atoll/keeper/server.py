"""The keeper's loop: clients' requests on one side, shims on the other. One thread, never blocked by any of them.

Started by `__main__`. Holds no policy for replicas; it starts, signals, lists and forgets them.
"""

import gc
import os
import selectors
import signal
import socket
import time
import traceback
from contextlib import suppress

from atoll import __version__
from atoll.keeper import cgroups, files, proc, renew, shim, wire
from atoll.keeper.adopt import adopt
from atoll.keeper.fixtures import GRACE_S, OOM_SCORE, Fixture, Fixtures, Run
from atoll.keeper.held import Held, Waiter
from atoll.keeper.journal import add, replay
from atoll.keeper.linelog import LineLog
from atoll.keeper.orphans import Orphans, lost_exit
from atoll.keeper.places import Places
from atoll.keeper.requests import Requests
from atoll.keeper.retain import prune_logs
from atoll.keeper.shutdown import Shutdown
from atoll.keeper.wire import Message, Wire

TICK_S = 0.02  # while something is being waited for that sends no event


class Keeper:
    """All that one keeper holds. `server` is its listening socket, `lock` the descriptor that keeps others out."""

    def __init__(self, places: Places, server: socket.socket, lock: int) -> None:
        self.places = places
        self.server = server
        self.lock = lock
        self.selector = selectors.DefaultSelector()
        self.held: dict[str, Held] = {}
        self.orphans = Orphans()
        self.fixtures = Fixtures(places.fixtures, self._start_fixture, self._stop_fixture)
        self.shutdown: Shutdown | None = None
        self.leaving = False
        self.listen_again = False
        self.group_bases: set[str] = set()  # folders of control groups that were ever in use here
        self.boot = proc.boot_id()
        self.log = LineLog(places.keeper_log, 1024 * 1024, for_people=True)
        self.aloud = False
        self.serial = 0
        self.requests = Requests(self)

    def say(self, text: str) -> None:
        """One line in the keeper's own log; in the foreground its service manager gets it, too."""
        self.log.write("o", text.encode() + b"\n")
        if self.aloud:
            with suppress(OSError):
                os.write(2, text.encode() + b"\n")

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self, handed: Message | None = None) -> None:
        """Go on with what a predecessor `handed` over, else adopt; then serve until told to leave or shut down."""
        shim.be_subreaper("atoll:keeper")
        wake, wake_write = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_write, False)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "leaving", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "listen_again", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.selector.register(self.server, selectors.EVENT_READ, "server")
        self.selector.register(wake, selectors.EVENT_READ, "wake")
        signal.pthread_sigmask(signal.SIG_UNBLOCK, shim.HANDLED_SIGNALS)
        if handed is None:
            self.say(f"keeper {__version__} started, pid {os.getpid()}")
            adopt(self)
        else:
            renew.resume(self, handed)
            self._reap()
        gc.collect()
        gc.freeze()  # what is there now stays shared with every shim
        while not (self.shutdown.done if self.shutdown else self.leaving):
            for key, mask in self.selector.select(self._patience()):
                try:
                    self._handle(key, mask)
                except Exception:  # noqa: BLE001 - one bad message must not end the keeper of all
                    self.say(traceback.format_exc())
            try:
                self._tick()
            except Exception:  # noqa: BLE001 - nor may a failing tick
                self.say(traceback.format_exc())
        self.say("keeper ends" + (", everything stopped" if self.shutdown else "; what it kept goes on"))

    def _patience(self) -> float | None:
        if self.shutdown:
            return TICK_S
        times = [at for at in (self.fixtures.next_at(), self.orphans.next_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _handle(self, key: selectors.SelectorKey, mask: int) -> None:
        if key.data == "server":
            self.requests.accept()
        elif key.data == "wake":
            with suppress(BlockingIOError):
                os.read(key.fd, 4096)
        elif isinstance(key.data, Held):
            self._hear_shim(key.data, mask)
        else:
            self.requests.hear(key.data, mask)

    def _tick(self) -> None:
        if self.listen_again:
            self.listen_again = False
            self._renew_socket()
        self._reap()
        for held_id in self.orphans.sweep({held.record["shim"] for held in self.held.values()}):
            if (held := self.held.get(held_id)) is not None:
                self.ended(held)
        for fixture in self.fixtures.due(time.monotonic()):
            self.fixtures.begin(fixture)
        for held_id in self.fixtures.overdue(time.monotonic()):
            self._stop_fixture(held_id, GRACE_S)
        if self.shutdown:
            self.shutdown.step()

    def _reap(self) -> None:
        """Reap shims, and orphans that fell to the keeper when their shim was killed."""
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass

    def _renew_socket(self) -> None:
        """SIGHUP: somebody removed our socket."""
        server = wire.listen(self.places.keeper_socket)
        self.selector.unregister(self.server)
        self.server.close()
        self.server = server
        self.selector.register(server, selectors.EVENT_READ, "server")

    def sweep_files(self) -> None:
        """Remove the rendered files of replicas that are gone."""
        files.sweep(self.places, {held.id for held in self.held.values() if held.running})

    def sweep_groups(self) -> None:
        """Remove the control groups that nothing runs in any more."""
        groups = [group for held in self.held.values() if held.running for group in held.record["groups"]]
        cgroups.sweep(self.places.state_dir, self.group_bases, {os.path.basename(group) for group in groups})

    # --- shims ---------------------------------------------------------------------------------------------------

    def spawn(self, launch: Message) -> Held:
        """Fork a shim that starts `launch`. Raises OSError when there is no room for a process."""
        launch["boot"] = self.boot
        server = wire.listen(self.places.socket(launch["id"]))
        ours, theirs = socket.socketpair()
        signal.pthread_sigmask(signal.SIG_BLOCK, shim.HANDLED_SIGNALS)  # no handler of ours runs in the copy
        try:
            pid = os.fork()
            if pid == 0:
                ours.close()
                self._abandon()
                shim.main(launch, server, theirs, self.places)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, [])
        server.close()
        theirs.close()
        record = {key: launch.get(key) for key in ("id", "kind", "service", "release")}
        record.update(shim=pid, shim_start=proc.start_of(pid), pid=None, started_s=0.0, notice="", groups=[], exit=None)
        return self.hold(Held(record, Wire(ours)))

    def _abandon(self) -> None:
        """In the forked copy: let go of every descriptor of the keeper. Nothing is unregistered: epoll is shared."""
        self.selector.close()
        self.server.close()
        for peer in (*self.requests.clients, *(held.link for held in self.held.values() if held.link)):
            peer.close()

    def hold(self, held: Held) -> Held:
        self.held[held.id] = held
        self.group_bases.update(map(os.path.dirname, held.record["groups"]))
        if held.link is not None:
            self.selector.register(held.link, selectors.EVENT_READ, held)
        return held

    def _hear_shim(self, held: Held, mask: int) -> None:
        link = held.link
        if link is None:
            return
        if mask & selectors.EVENT_WRITE:
            link.flush()
        if mask & selectors.EVENT_READ:
            for message in link.receive():
                self._shim_says(held, message)
        if link.broken and held.link is not None:
            self._unlink_shim(held)
            if held.running:
                self.lost(held)
        elif held.link is not None:
            self.selector.modify(link, selectors.EVENT_READ | (selectors.EVENT_WRITE if link.pending else 0), held)

    def _shim_says(self, held: Held, message: Message) -> None:
        if "replica" in message:
            held.record = message["replica"]
            self.group_bases.update(map(os.path.dirname, held.record["groups"]))
            held.output = message.get("output", "")
            if message["event"] == "exit":
                self._unlink_shim(held)
                self.ended(held)
            elif not held.ready:
                held.ready = True
                if held.kind == "fixture" and held.record["notice"]:
                    self.say(f"{held.id} {held.record['notice']}")
                self._answer(held)
        elif (waiter := held.asked.pop(message.get("n", 0), None)) is not None:
            self.requests.reply(waiter, {key: value for key, value in message.items() if key != "n"})

    def _unlink_shim(self, held: Held) -> None:
        if held.link is not None:
            self.selector.unregister(held.link)
            held.link.close()
            held.link = None
        for waiter in held.asked.values():
            self.requests.reply(waiter, {"ok": True, "sent": False})
        held.asked.clear()

    def ask_shim(self, held: Held, message: Message, waiter: Waiter | None = None) -> None:
        if held.link is None:
            return
        self.serial += 1
        if waiter is not None:
            held.asked[self.serial] = waiter
        held.link.send({**message, "n": self.serial})
        if held.link.pending:
            self.selector.modify(held.link, selectors.EVENT_READ | selectors.EVENT_WRITE, held)

    def lost(self, held: Held) -> None:
        """Its shim is gone without a word: read what it wrote last, and end what it left behind."""
        record = next((found for path in self.places.journals(held.id) if (found := replay(path))), None)
        if record is not None and record.get("shim") == held.record["shim"]:
            held.record = record
        if held.running:
            self.say(f"the shim of {held.id} was killed; ending what it left")
            self.orphans.add(held.record)
        else:
            self.ended(held)

    def ended(self, held: Held) -> None:
        """The tree is gone. Tell everybody; fixtures come back."""
        if held.running:
            held.record = {**held.record, "exit": lost_exit()}
            for path in self.places.journals(held.id):
                add(path, {"exit": held.record["exit"]})
            files.forget(self.places, held.id)
        with suppress(OSError):
            os.unlink(self.places.socket(held.id))
        held.ready = True
        self._answer(held)
        if held.kind == "run":
            del self.held[held.id]
        elif held.kind == "fixture":
            ended = held.record["exit"]
            how = ended.get("error") or (
                f"signal {ended['signal']}" if ended.get("signal") else f"exit code {ended['code']}"
            )
            self.say(f"{held.id} ended: {how}")
            for waiter in held.forget_after:
                self.requests.reply(waiter, {"ok": True})
            self.fixtures.ended(run := Run.of(held.id), held.record["exit"])
            if run.at:  # its name does not come again
                self.erase(held)
        elif held.dropped:
            self.drop(held)
        else:
            self.requests.publish({"event": "exit", "replica": held.record})

    def erase(self, held: Held) -> None:
        """Know nothing of it any more."""
        self.held.pop(held.id, None)
        for path in self.places.journals(held.id):
            with suppress(OSError):
                os.unlink(path)

    def drop(self, held: Held) -> None:
        self.erase(held)
        prune_logs(self.places, str(held.record["service"]), {each.id for each in self.held.values()})
        for waiter in held.forget_after:
            self.requests.reply(waiter, {"ok": True})

    def _answer(self, held: Held) -> None:
        for waiter in held.waiters if held.kind != "run" or not held.running else ():
            self.requests.reply(waiter, {"ok": True, "replica": held.record, "output": held.output})
        if held.kind != "run" or not held.running:
            held.waiters.clear()

    # --- fixtures ------------------------------------------------------------------------------------------------

    def _start_fixture(self, fixture: Fixture) -> None:
        definition, run = fixture.definition, fixture.run
        try:
            held = self.spawn(
                {
                    "id": run.id,
                    "kind": "fixture",
                    "argv": [run.filled(word) for word in definition["argv"]] if run.at else list(definition["argv"]),
                    "env": dict(definition["env"]),
                    "folder": definition.get("folder", "/"),
                    "log": definition["log"],
                    "oom_score": OOM_SCORE if os.geteuid() == 0 else None,
                    **definition.get("user", {}),
                }
            )
        except OSError as exc:
            self.fixtures.ended(run, lost_exit(f"cannot start it: {exc.strerror}"))
        else:
            held.waiters += fixture.waiters
            fixture.waiters.clear()

    def _stop_fixture(self, held_id: str, grace_s: float) -> bool:
        held = self.held.get(held_id)
        if held is None or not held.running:
            return False
        self.ask_shim(held, {"op": "stop", "grace_s": grace_s})
        return True
