"""The keeper for everybody else: boot one, speak to it, find what runs below it.

Blocking and light (no asyncio), for the CLI; `engines.process` speaks the same wire in its own way. Raises
`KeeperError` with a text for a person.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from atoll import __version__
from atoll.keeper import files, proc, wire
from atoll.keeper.network import INSTALL
from atoll.keeper.places import Places
from atoll.keeper.retain import prune_logs
from atoll.keeper.wire import Message

__all__ = [
    "HOME",
    "INSTALL",
    "KeeperClient",
    "KeeperError",
    "Message",
    "Places",
    "files",
    "is_keeper_up",
    "places_of",
    "proc",
    "prune_logs",
    "start_keeper",
    "try_network",
    "wire",
]

START_S = 10.0
HOME = str(Path(__file__).resolve().parents[2])  # where this Atoll's program lies
# -P: a `signal.py` in the caller's folder must not be imported for the real one
_PROGRAM = [sys.executable, "-P", "-m", "atoll.keeper"]


class KeeperError(Exception):
    """The keeper cannot be started, does not answer, or refuses. `what`, `why`, `fix` are for a person."""

    def __init__(self, what: str, why: str = "", fix: str = "") -> None:
        super().__init__(f"{what}: {why}" if why else what)
        self.what, self.why, self.fix = what, why, fix


def places_of(state_dir: Path, run_dir: Path) -> Places:
    """Both folders made absolute."""
    return Places(str(state_dir.absolute()), str(run_dir.absolute()))


def is_keeper_up(run_dir: Path) -> bool:
    """Whether a keeper listens there."""
    try:
        wire.connect(str(run_dir.absolute() / "keeper.sock")).close()
    except OSError:
        return False
    return True


def start_keeper(state_dir: Path, run_dir: Path, timeout_s: float = START_S) -> None:
    """Have a keeper for this environment: starts one in the background unless one answers already.

    Returns once it answers, within `timeout_s` (seconds). Raises KeeperError.
    """
    deadline = time.monotonic() + timeout_s
    places = places_of(state_dir, run_dir)
    problem = "it did not answer in time"
    while not is_keeper_up(run_dir):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise KeeperError(
                f"the keeper of {places.state_dir} does not start",
                problem,
                f"its log is {places.keeper_log}; end a stuck one by its pid",
            )
        code, text = _boot(places, left_s)
        if code not in {0, 3}:
            raise KeeperError("the keeper does not start", text, "check that both folders may be written")
        problem = text or problem
        if code == 3 and not is_keeper_up(run_dir):
            _wake(places)
            time.sleep(0.05)


def _boot(places: Places, timeout_s: float) -> tuple[int, str]:
    """Run `python -m atoll.keeper` until it is in the background; its exit code and what it complained of."""
    import subprocess

    command, env = [*_PROGRAM, places.state_dir, places.run_dir], {**os.environ, **_variables()}
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return 3, "it did not answer in time"
    except OSError as exc:
        return 4, f"{sys.executable} cannot be run: {exc.strerror}"
    return done.returncode, done.stderr.strip()


def _variables() -> dict[str, str]:
    """So that the keeper's program is the one that is next to this file."""
    search = os.environ.get("PYTHONPATH", "")
    return {"PYTHONPATH": f"{HOME}:{search}" if search else HOME}


def try_network() -> str:
    """Whether a replica may have a network of its own here, found by making one: what stands in the way, or ""."""
    import subprocess

    command = [sys.executable, "-m", "atoll.keeper.network"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30.0, check=False)
    except (OSError, subprocess.TimeoutExpired) as exc:
        return f"it cannot be tried: {exc}"
    return "" if done.returncode == 0 else done.stdout.strip() or done.stderr.strip()[-300:] or "it cannot be tried"


def _wake(places: Places) -> None:
    """A keeper holds the lock but its socket file is gone: ask it to make the file anew."""
    with suppress(OSError, ValueError):
        pid = int(Path(places.lock).read_text(encoding="ascii"))
        stat = proc.read_stat(pid)
        if stat is not None and stat.comm == "atoll:keeper":
            proc.send(pid, stat.start, 1)  # SIGHUP


class KeeperClient:
    """Requests to one keeper, one connection each; safe to keep across its restarts."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir

    def ensure(
        self,
        name: str,
        argv: Sequence[str],
        env: Mapping[str, str],
        log: Path,
        *,
        stamp: str = "",
        handover: Mapping[str, object] | None = None,
        user: Mapping[str, object] | None = None,
    ) -> int | None:
        """Have the fixture `name` run so: started, replaced when anything changed, else left alone.

        `stamp` changes when the program behind the same words did. With `handover` (`retire_s`, and `leaves`: patterns of
        files that remain of a line) a change takes over from what runs, see `fixtures`; then `settle` says how it went.
        `user` (`uid`, `gid`, `confined`, `reads`: paths) is whom it runs as, where this user is root and that one can.
        The definition is kept on disk (mode 0600): `env` is no place for secrets. Returns its pid once it runs, also
        when an old one must end first; None while it waits to be restarted after a crash. Raises KeeperError, also
        when it cannot be executed.
        """
        words = {"argv": list(argv), "env": dict(env), "log": str(log.absolute()), "stamp": stamp}
        optional = {key: dict(given) for key, given in (("handover", handover), ("user", user)) if given}
        answer = self.call("ensure", 45.0, name=name, **words, **optional)
        replica = answer.get("replica") or {}
        error = (replica.get("exit") or {}).get("error")
        if error:
            raise KeeperError(f"the {name} does not start", error)
        pid = replica.get("pid")
        return int(pid) if pid else None

    def settle(self, name: str, *, good: bool) -> None:
        """Whether what `ensure` began beside another took over from it; if not, it goes and the other stays."""
        self.call("settle", 30.0, name=name, good=good)

    def stop(self, name: str, grace_s: float = 10.0) -> None:
        """Stop a fixture (SIGTERM, `grace_s` seconds, SIGKILL) and wait for its end."""
        self.call("stop", grace_s + 15.0, name=name, grace_s=grace_s)

    def restart(self, name: str) -> None:
        """Stop a fixture in order and start it again; returns at once."""
        self.call("restart", 30.0, name=name)

    def status(self, within_s: float = 30.0) -> Message:
        """`pid`, `version`, `home` (of its program), `protocol`, `replicas` (running) and `fixtures`: name -> state, pid, restarts, last_exit,
        up_s, argv, stamp, `settled`, and the pids of those `older` that finish.
        """
        return self.call("status", within_s)

    def renew(self) -> None:
        """Have the keeper become the program of this Atoll: the same process, which goes on with all that it holds.

        Raises KeeperError when it cannot; then it goes on as it was.
        """
        import atoll.keeper.server  # noqa: F401  what cannot be imported here must not replace what runs

        pid = self.status()["pid"]
        try:
            self.call("renew", 30.0, argv=_PROGRAM, env=_variables())
        except KeeperError as exc:
            # It hung up: it may have become another that did not understand what it was handed, and adopted.
            if not isinstance(exc.__cause__, OSError) or not self._is_renewed(pid):
                raise KeeperError("the keeper was not renewed", str(exc), "it goes on as it was") from exc

    def _is_renewed(self, pid: int) -> bool:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with suppress(KeeperError):
                status = self.status(START_S)
                return (status["pid"], status.get("version"), status.get("home")) == (pid, __version__, HOME)
            time.sleep(0.05)
        return False

    def shutdown(self, timeout_s: float = 30.0) -> None:
        """End the daemon, all replicas, the proxy and the keeper; returns when all of it is gone.

        Raises KeeperError when something is left after `timeout_s` seconds. No keeper at all is fine.
        """
        if not is_keeper_up(self.run_dir):
            return
        pid = self.status()["pid"]
        start = proc.start_of(pid)
        left = self.call("shutdown", timeout_s + 15.0, timeout_s=timeout_s).get("left")
        deadline = time.monotonic() + 5.0
        while proc.is_running(pid, start) and time.monotonic() < deadline:
            time.sleep(0.01)
        if left:
            raise KeeperError("not everything ended", f"still there: {', '.join(left)}", "look at them with ps")

    def call(self, op: str, deadline_s: float, **fields: object) -> Message:
        """One request and its reply. Raises KeeperError."""
        path = str(self.run_dir.absolute() / "keeper.sock")
        try:
            with wire.connect(path) as sock:
                sock.settimeout(deadline_s)
                sock.sendall(json.dumps({"n": 1, "op": op, **fields}).encode() + b"\n")
                answer = _read_reply(sock)
        except TimeoutError as exc:
            raise KeeperError("the keeper does not answer", f"no reply to {op} within {deadline_s:g} s") from exc
        except OSError as exc:
            raise KeeperError("no keeper answers", f"{exc.strerror or exc}: {path}", "start the environment") from exc
        if "error" in answer:
            raise KeeperError(f"the keeper refused {op}", str(answer["error"]))
        return answer


def _read_reply(sock: socket.socket) -> Message:
    with sock.makefile("rb") as stream:
        for line in stream:
            message: Message = json.loads(line)
            if message.get("n") == 1:
                return message
    raise ConnectionResetError("it hung up")
