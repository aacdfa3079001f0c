"""One shim per supervised process: forked from the keeper, outlives it, ends when the process's whole tree has ended.

It owns the output pipes and the log, the exit status and the journal, and (as subreaper, see tree.py) every process that
its child leaves behind. It takes orders on its own socket, from a keeper only. It decides nothing: no restarts, no policy.
"""

import ctypes
import gc
import json
import os
import select
import selectors
import signal
import socket
import time
import traceback
from contextlib import suppress
from functools import partial
from typing import NoReturn

from atoll.keeper import files, proc, spawn, writable
from atoll.keeper.cgroups import Group
from atoll.keeper.journal import Journal
from atoll.keeper.linelog import LineLog
from atoll.keeper.network import Forwarder, enter, leave
from atoll.keeper.output import Capture, Output
from atoll.keeper.places import Places
from atoll.keeper.tree import LINGER_S, Tree
from atoll.keeper.wire import Message, Wire, is_trusted, listen

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NAME = 15
EXEC_WAIT_S = 15.0  # for exec from a slow file system
HANDLED_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP})
LIBC = ctypes.CDLL(None, use_errno=True)


def be_subreaper(name: str) -> None:
    """Orphans below this process become its children; `name` shows in ps."""
    LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    LIBC.prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


class Shim:
    """The life of one process, in one forked copy of the keeper."""

    def __init__(self, launch: Message, server: socket.socket, keeper: socket.socket, places: Places) -> None:
        self.id: str = launch["id"]
        self.launch = launch
        self.places = places
        self.server = server
        self.selector = selectors.DefaultSelector()
        self.peers = {Wire(keeper)}
        self.output = Output(self.selector)
        self.journal: Journal | None = None
        self.tree = Tree(fixture=launch["kind"] == "fixture", grace_s=float(launch.get("grace_s", 0.0)))
        self.asked_to_stop = False  # by a signal: handled in the loop
        self.asked_to_listen = False
        self.deadline: float | None = None  # monotonic
        self.overran = False
        self.record: Message = {
            "id": self.id,
            "kind": launch["kind"],
            "service": launch.get("service", ""),
            "release": launch.get("release", 0),
            "shim": os.getpid(),
            "shim_start": proc.start_of(os.getpid()),
            "boot": launch["boot"],
            "pid": None,
            "pid_start": 0,
            "started_s": proc.boottime_s(),
            "notice": launch.get("notice", ""),
            "groups": [],
            "exit": None,
        }

    # --- starting ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Record, fork, exec. A failure becomes the exit."""
        try:
            self._start()
        except spawn.NotRunnable as exc:
            self._never_ran(str(exc))
        except OSError as exc:
            self._never_ran(f"cannot start it: {exc.strerror or exc}{f' ({exc.filename})' if exc.filename else ''}")

    def _start(self) -> None:
        launch = self.launch
        if launch["kind"] == "run":
            self.deadline = time.monotonic() + launch["timeout_s"]
        else:
            self.journal = Journal.create(self.places.journals(self.id))
            log = launch.get("log") or self.places.log(launch["service"], self.id)
            with suppress(OSError):
                os.makedirs(os.path.dirname(log), 0o700, exist_ok=True)
            self.output.sink = LineLog(log, for_people="log" in launch)  # only Atoll's own processes name their log
            self._note(self.record)
        todo, isolated = spawn.plan(launch), bool(launch.get("isolated"))
        writable.provide(launch, self.places.data)
        if launch["kind"] == "replica":  # what runs beside it finds its files there
            files.write(launch, todo.uid)
        memory_bytes = launch.get("memory_bytes")
        if launch["kind"] != "fixture":
            name = f"{self.id}.{os.getpid()}"  # an id may come back while its old group is being removed
            self.tree.group = Group.create(self.places.state_dir, name, memory_bytes, launch.get("cpu_weight"))
            self.record["groups"] = self.tree.group.folders
        if launch.get("network"):
            self.tree.forwarder = Forwarder(launch["network"])
            todo = todo._replace(leave=leave)
        elif launch.get("beside"):
            todo = todo._replace(enter=partial(enter, *launch["beside"]))
        denied = self._fork(todo) if todo.uid or not isolated else "it has no user of its own"
        if denied and isolated:
            raise spawn.NotRunnable(f"cannot run {launch['argv'][0]}: {denied}, and no service here runs as root")
        if denied:
            among = "" if launch["kind"] == "fixture" else ", not isolated from other services"
            self.record["notice"] = f"runs as root{among}: {denied}"
            denied = self._fork(todo._replace(uid=None, needs=[]))
        if memory_bytes is not None and not self.tree.group.limits_memory:
            self.tree.watch_memory(memory_bytes)
        launch["env"].clear()  # secrets: nobody needs them here any more
        launch["files"] = {}
        launch["argv"] = []

    def _fork(self, todo: spawn.Plan) -> str:
        """One child. Returns "" when it runs, else why it cannot as its own user. Raises NotRunnable."""
        out_read, out_write = os.pipe()
        err_read, err_write = os.pipe()
        try:
            pid, control = spawn.fork(todo, out_write, err_write)
        except OSError:
            for fd in (out_read, out_write, err_read, err_write):
                os.close(fd)
            raise
        os.close(out_write)
        os.close(err_write)
        self.tree.main = pid
        self.record.update(pid=pid, pid_start=proc.start_of(pid))
        self.tree.group.join(pid)
        with control:
            answer = self._set_off(control)
        if not answer:
            self.output.attach(out_read, err_read)
            return ""
        os.close(out_read)
        os.close(err_read)
        os.waitpid(pid, 0)
        if self.tree.forwarder is not None:
            self.tree.forwarder.end()
        self.tree.main = 0
        self.record.update(pid=None, pid_start=0)
        word: Message = json.loads(answer)
        if "failed" in word:
            raise spawn.NotRunnable(word["failed"])
        return str(word["denied"])

    def _set_off(self, control: socket.socket) -> bytes:
        """Let the child run, joined to the machine's network when it has its own. What it said; b"" when it runs."""
        noted = ["pid", "pid_start", "groups", "notice"]
        if self.tree.forwarder is not None:
            answer = _hear(control)
            if b"apart" not in answer:
                return answer or b'{"failed": "it did not get a network of its own in time"}'
            try:
                self.tree.forwarder.start(self.tree.main)
            except (spawn.NotRunnable, OSError) as exc:
                control.close()  # the child ends
                return json.dumps({"failed": f"cannot run {self.launch['argv'][0]}: {exc}"}).encode()
            self.record["network"] = self.tree.forwarder.record
            noted.append("network")
        self._note({key: self.record[key] for key in noted})
        with suppress(OSError):
            control.send(b"go")
        return _hear(control)

    def _never_ran(self, text: str) -> None:
        self.record.update(pid=None, pid_start=0)
        self.tree.status = {"error": text[:1000]}

    def _note(self, record: Message) -> bool:
        return self.journal is None or self.journal.append(record)

    # --- the loop ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Serve until the tree is gone."""
        wake, wake_write = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(wake_write, False)
        self.selector.register(self.server, selectors.EVENT_READ, "server")
        self.selector.register(wake, selectors.EVENT_READ, "wake")
        for peer in self.peers:
            self.selector.register(peer, selectors.EVENT_READ, peer)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "asked_to_stop", True))
        signal.signal(signal.SIGHUP, lambda *_: setattr(self, "asked_to_listen", True))
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.start()
        if self.tree.status is None:
            self._tell({"event": "state", "replica": self.record})
        while not self.tree.is_over():
            self._tend()
            for key, mask in self.selector.select(self._patience()):
                self._handle(key, mask, wake)
            self._tick()
        self._finish()

    def _handle(self, key: selectors.SelectorKey, mask: int, wake: int) -> None:
        if key.data in {"o", "e"}:
            self.output.read(key.fd, key.data)
        elif key.data == "server":
            self._accept()
        elif key.data == "wake":
            with suppress(BlockingIOError):
                os.read(wake, 4096)
        else:
            peer: Wire = key.data
            if mask & selectors.EVENT_WRITE:
                peer.flush()
            if mask & selectors.EVENT_READ:
                for message in peer.receive():
                    self._order(peer, message)
            self._settle(peer)

    def _patience(self) -> float | None:
        forward_at = self.tree.forwarder.again_at if self.tree.forwarder else None
        times = [at for at in (self.deadline, self.tree.due_at(), forward_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _tick(self) -> None:
        if self.asked_to_stop:
            self.asked_to_stop = False
            self.tree.stop(LINGER_S)
        if self.asked_to_listen:
            self.asked_to_listen = False
            self._listen_again()
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.deadline, self.overran = None, True
            self.tree.kill()
        self.tree.tick()

    def _tend(self) -> None:
        """Have the forwarder started again when it has died; the record has its process."""
        forwarder = self.tree.forwarder
        if forwarder is not None and self.tree.status is None and forwarder.tend(self.tree.main):
            self.record["network"] = forwarder.record
            self._note({"network": self.record["network"]})
            self._tell({"event": "state", "replica": self.record})

    # --- orders --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with suppress(BlockingIOError):
            sock, _ = self.server.accept()
            if not is_trusted(sock):
                sock.close()
                return
            peer = Wire(sock)
            self.peers.add(peer)
            self.selector.register(peer, selectors.EVENT_READ, peer)
            peer.send({"event": "state", "replica": self.record})
            self._settle(peer)

    def _settle(self, peer: Wire) -> None:
        if peer.broken:
            self.selector.unregister(peer)
            self.peers.discard(peer)
            peer.close()
            if self.launch["kind"] == "run" and not self.peers:
                self.tree.kill()  # nobody is left who wants to know
            return
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if peer.pending else 0)
        self.selector.modify(peer, events, peer)

    def _tell(self, message: Message) -> None:
        for peer in list(self.peers):
            peer.send(message)
            self._settle(peer)

    def _order(self, peer: Wire, message: Message) -> None:
        op = message.get("op")
        if op == "signal":
            peer.send({"n": message.get("n"), "ok": True, "sent": self.tree.signal(int(message["signal"]))})
        elif op == "stop":
            self.tree.stop(float(message["grace_s"]))
            peer.send({"n": message.get("n"), "ok": True})
        else:
            peer.send({"n": message.get("n"), "error": f"unknown operation {op!r}"})

    def _listen_again(self) -> None:
        """SIGHUP: somebody removed our socket."""
        with suppress(OSError):
            server = listen(self.places.socket(self.id))
            self.selector.unregister(self.server)
            self.server.close()
            self.server = server
            self.selector.register(server, selectors.EVENT_READ, "server")

    # --- the end --------------------------------------------------------------------------------------

    def _exit(self) -> Message:
        status = dict(self.tree.status or {"error": "ended without a status"})
        if self.overran:
            status["error"] = f"ran longer than {self.launch['timeout_s']:g} s and was killed"
        return {**status, "oom": self.tree.oom, "at_s": proc.boottime_s(), "wall": time.time()}

    def _finish(self) -> None:
        """Write, tell, then clean up: whoever waits for the exit should not wait for the disk.

        The socket goes before the telling: once told, the keeper may start a successor of the same name.
        """
        self.record["exit"] = self._exit()
        self.tree.reap()
        self.output.finish()
        if self.launch["kind"] == "replica":
            files.forget(self.places, self.id)
        news: Message = {"event": "exit", "replica": self.record}
        if isinstance(self.output.sink, Capture):
            news["output"] = self.output.sink.data.decode("utf-8", "replace")
        noted = self._note({"exit": self.record["exit"], "pid": self.record["pid"]})
        with suppress(FileNotFoundError):
            os.unlink(self.places.socket(self.id))
        self._tell(news)
        if self.journal is not None:
            self.journal.sync()
        self.tree.group.remove()
        deadline = time.monotonic() + (1.0 if noted and self.journal else 10.0)
        while time.monotonic() < deadline and any(peer.pending for peer in self.peers):
            for key, mask in self.selector.select(0.05):
                if isinstance(key.data, Wire) and mask & selectors.EVENT_WRITE:
                    key.data.flush()
                    self._settle(key.data)


def _hear(control: socket.socket) -> bytes:
    """What a child says next, or b"" when it runs (or says nothing in time)."""
    readable, _, _ = select.select([control], [], [], EXEC_WAIT_S)
    return control.recv(65536) if readable else b""


def main(launch: Message, server: socket.socket, keeper: socket.socket, places: Places) -> NoReturn:
    """The forked copy's whole life. The caller has closed what it does not need."""
    code = 0
    try:
        gc.disable()  # a collection would touch, and so copy, every page shared with the keeper
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR)
        for fd in (0, 1, 2):  # a keeper in the foreground has a terminal or a pipe there
            os.dup2(null, fd)
        be_subreaper(f"atoll:{launch['id']}")
        Shim(launch, server, keeper, places).run()
    except BaseException:  # noqa: BLE001 - the copy must never return into the keeper's code
        code = 70
        with suppress(OSError), open(f"{places.state_dir}/logs/shim-crash.log", "a", encoding="utf-8") as file:
            file.write(f"{time.time():.3f} {launch['id']}\n{traceback.format_exc()}\n")
    os._exit(code)
