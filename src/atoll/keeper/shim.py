"""One shim per supervised process: forked from the keeper, outlives it, ends when the process's whole tree has ended.

It owns the output pipes and the log, the exit status and the journal, and (as subreaper) every process that its child
leaves behind. It takes orders on its own socket, from a keeper only. It decides nothing: no restarts, no policy.

How it stays safe from reused process ids: the main process is not reaped before its tree is gone, so its pid, which is
also its group's id, cannot name anything else; all others are signalled as direct children that were not reaped yet.
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
from atoll.keeper.wire import Message, Wire, is_trusted, listen

PR_SET_CHILD_SUBREAPER = 36
PR_SET_NAME = 15
EXEC_WAIT_S = 15.0  # for exec from a slow file system
LINGER_S = 10.0  # what is left of a tree after a requested stop; the caller's SIGKILL comes earlier
MEMORY_WATCH_S = 0.5
HANDLED_SIGNALS = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP})
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})  # SIGHUP asks to reload, mostly
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
        self.group = Group([])
        self.main = 0
        self.status: Message | None = None  # of the main process, once it ended
        self.stop_requested = False
        self.we_killed = False
        self.asked: set[int] = set()  # orphans that were sent SIGTERM
        self.oom = False
        self.asked_to_stop = False  # by a signal: handled in the loop
        self.asked_to_listen = False
        self.kill_at: float | None = None  # monotonic
        self.deadline: float | None = None
        self.overran = False
        self.watch_memory_at: float | None = None
        self.forwarder: Forwarder | None = None  # of a replica with a network of its own
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
            self.group = Group.create(self.places.state_dir, name, memory_bytes, launch.get("cpu_weight"))
            self.record["groups"] = self.group.folders
        if launch.get("network"):
            self.forwarder = Forwarder(launch["network"])
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
        if memory_bytes is not None and not self.group.limits_memory:
            self.watch_memory_at = time.monotonic() + MEMORY_WATCH_S
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
        self.main = pid
        self.record.update(pid=pid, pid_start=proc.start_of(pid))
        self.group.join(pid)
        with control:
            answer = self._set_off(control)
        if not answer:
            self.output.attach(out_read, err_read)
            return ""
        os.close(out_read)
        os.close(err_read)
        os.waitpid(pid, 0)
        if self.forwarder is not None:
            self.forwarder.end()
        self.main = 0
        self.record.update(pid=None, pid_start=0)
        word: Message = json.loads(answer)
        if "failed" in word:
            raise spawn.NotRunnable(word["failed"])
        return str(word["denied"])

    def _set_off(self, control: socket.socket) -> bytes:
        """Let the child run, joined to the machine's network when it has its own. What it said; b"" when it runs."""
        noted = ["pid", "pid_start", "groups", "notice"]
        if self.forwarder is not None:
            answer = _hear(control)
            if b"apart" not in answer:
                return answer or b'{"failed": "it did not get a network of its own in time"}'
            try:
                self.forwarder.start(self.main)
            except (spawn.NotRunnable, OSError) as exc:
                control.close()  # the child ends
                return json.dumps({"failed": f"cannot run {self.launch['argv'][0]}: {exc}"}).encode()
            self.record["network"] = self.forwarder.record
            noted.append("network")
        self._note({key: self.record[key] for key in noted})
        with suppress(OSError):
            control.send(b"go")
        return _hear(control)

    def _never_ran(self, text: str) -> None:
        self.record.update(pid=None, pid_start=0)
        self.status = {"error": text[:1000]}

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
        if self.status is None:
            self._tell({"event": "state", "replica": self.record})
        while not self._is_over():
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
        forward_at = self.forwarder.again_at if self.forwarder else None
        times = [at for at in (self.kill_at, self.deadline, self.watch_memory_at, forward_at) if at is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _tick(self) -> None:
        if self.asked_to_stop:
            self.asked_to_stop = False
            self.stop(LINGER_S)
        if self.asked_to_listen:
            self.asked_to_listen = False
            self._listen_again()
        now = time.monotonic()
        if self.deadline is not None and now >= self.deadline:
            self.deadline, self.overran = None, True
            self.kill()
        if self.kill_at is not None and now >= self.kill_at:
            self.kill()
        if self.watch_memory_at is not None and now >= self.watch_memory_at:
            self.watch_memory_at = now + MEMORY_WATCH_S
            limit = self.launch["memory_bytes"]
            if proc.tree_bytes(os.getpid(), limit) > limit:
                self.oom = True
                self.kill()

    def _is_over(self) -> bool:
        """Reap, and see whether main process and tree have ended. Ends what the main process left behind."""
        if not self.main:
            return True
        if self.status is None and not self._main_ended():
            if self.forwarder is not None and self.forwarder.tend(self.main):
                self.record["network"] = self.forwarder.record
                self._note({"network": self.record["network"]})
                self._tell({"event": "state", "replica": self.record})
            self._reap_others()
            return False
        left = self._reap_others()  # after the main process: its orphans are ours from its end on
        if left and not self.we_killed:
            if self.stop_requested:  # it was asked to end: let its children end, too
                self._ask_strays(left)
            else:
                self.kill()
                left = self._reap_others()
        return not left

    def _main_ended(self) -> bool:
        info = os.waitid(os.P_PID, self.main, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if info is None:
            return False
        by_signal = info.si_code != os.CLD_EXITED
        self.status = {"signal": info.si_status & 0x7F} if by_signal else {"code": info.si_status}
        killed = info.si_status == (signal.SIGKILL if by_signal else 128 + signal.SIGKILL)
        if killed and not self.we_killed and not self.stop_requested:
            self.oom = self.group.oom_kills() > 0
        self.watch_memory_at = None
        if self.stop_requested:
            # Of a shell the signal leaves the program alone, which has all of the grace.
            linger_s = max(LINGER_S, float(self.launch.get("grace_s", 0.0)))
            self.kill_at = min(self.kill_at or float("inf"), time.monotonic() + linger_s)
        return True

    def _ask_strays(self, pids: list[int]) -> None:
        """SIGTERM, once, to orphans outside the group: they did not hear the one that ended the main process."""
        for pid in pids:
            with suppress(ProcessLookupError):
                if pid not in self.asked and os.getpgid(pid) != self.main:
                    os.kill(pid, signal.SIGTERM)
        self.asked.update(pids)

    def _reap_others(self) -> list[int]:
        """Reap whatever ended but the main process; returns the pids of its orphans that live."""
        alive = []
        for pid in proc.children(os.getpid()):
            if pid == self.main or (self.forwarder and pid == self.forwarder.pid):
                continue
            with suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == 0:
                    alive.append(pid)
        return [pid for pid in self._children() if pid in alive]

    def _children(self) -> list[int]:
        """Its direct children, but for keepers and shims: a daemon revives a killed keeper, which then lies below the
        daemon's shim, and whose shims fall to it when that keeper is killed, too. None of them ends with the daemon.
        """
        pids = proc.children(os.getpid())
        if self.forwarder is not None:  # it goes last, so that what the replica still answers gets out
            pids = [pid for pid in pids if pid != self.forwarder.pid]
        if self.launch["kind"] != "fixture":  # a service's name is no proof
            return pids
        return [pid for pid in pids if not ((stat := proc.read_stat(pid)) and stat.comm.startswith("atoll:"))]

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
                self.kill()  # nobody is left who wants to know
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
            peer.send({"n": message.get("n"), "ok": True, "sent": self.signal(int(message["signal"]))})
        elif op == "stop":
            self.stop(float(message["grace_s"]))
            peer.send({"n": message.get("n"), "ok": True})
        else:
            peer.send({"n": message.get("n"), "error": f"unknown operation {op!r}"})

    def signal(self, signum: int) -> bool:
        """To the whole group, which it wakes where it was stopped; SIGKILL to the whole tree, also what left the group.

        False when nothing is left.
        """
        if not self.main:
            return False
        if signum == signal.SIGKILL:
            self.kill()
            return True
        if signum in STOP_SIGNALS:
            self.stop_requested = True
        try:
            os.killpg(self.main, signum)
            if signum != signal.SIGSTOP:
                os.killpg(self.main, signal.SIGCONT)
        except (ProcessLookupError, PermissionError):
            return False
        return self.status is None or bool(self._reap_others())

    def stop(self, grace_s: float) -> None:
        """SIGTERM now, SIGKILL after the grace."""
        if grace_s > 0:
            self.signal(signal.SIGTERM)
            self.kill_at = min(self.kill_at or float("inf"), time.monotonic() + grace_s)
        else:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to everything below. Repeated by the loop until nothing is left: killing makes new orphans."""
        if not self.main:
            return
        self.we_killed = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.main, signal.SIGKILL)
        for pid in self._children():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # a child of ours that nobody reaped: the pid is its own
        self.group.kill()
        self.kill_at = time.monotonic() + 0.02

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
        status = dict(self.status or {"error": "ended without a status"})
        if self.overran:
            status["error"] = f"ran longer than {self.launch['timeout_s']:g} s and was killed"
        return {**status, "oom": self.oom, "at_s": proc.boottime_s(), "wall": time.time()}

    def _reap_all(self) -> None:
        """The main process, and whatever /proc did not show: its list of children may skip one while another ends."""
        deadline = time.monotonic() + LINGER_S
        with suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    left = self._children()
                    if not left and proc.children(os.getpid()):
                        break  # only what stays
                    for pid in left:
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                    time.sleep(0.005)

    def _finish(self) -> None:
        """Write, tell, then clean up: whoever waits for the exit should not wait for the disk.

        The socket goes before the telling: once told, the keeper may start a successor of the same name.
        """
        self.record["exit"] = self._exit()
        if self.forwarder is not None:
            self.forwarder.end()
        self._reap_all()
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
        self.group.remove()
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
