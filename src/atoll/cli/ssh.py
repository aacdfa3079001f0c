"""One connection to another machine by the system's own ssh, shared by all commands that go there, and what went wrong with it.

`app.remote` asks for it when a socket does not answer; a command that finds the connection there never comes here. It is
ssh's affair who is let in: keys, agents, jump hosts, known hosts are as ssh's configuration says. Errors are those of
`failed.Failed`; `Down` is the one that may pass.

The connection is ssh's multiplexing master. It belongs to no command, ends `PERSIST_S` after the last one, and leads a local
socket to the socket of the daemon. The folder must be private: whoever can open these sockets is that user over there.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from atoll.cli.failed import UNREACHABLE, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from atoll.model.host import Host

PERSIST_S = 600  # as long as somebody thinks about what a command said
CONNECT_S = 10  # a machine that is there answers within; ssh itself would wait for minutes
PROMPT_S = 120.0  # for a person who looks for a passphrase, or compares a host's key
_BEAT_S, _BEATS = 5, 3  # a dead line is noticed after so many seconds, so often
_LOCAL_S = 10.0  # for what ssh does on this machine alone
_LOOK_S = 0.02

_DENIED = re.compile(r"Permission denied|Too many authentication failures|No more authentication methods")
_STRANGE = re.compile(r"Host key verification failed|REMOTE HOST IDENTIFICATION HAS CHANGED")
_REFUSED = "open failed"
_SEEN = "atoll-sees:"  # before what that user's shell sees: many a shell greets first


class Down(Failed):
    """The machine cannot be reached now."""


def connecting(ssh: Sequence[str], host: Host, control: Path, log: Path, *, ask: bool) -> list[str]:
    """The command that logs in, and returns once it has; the connection stays in the background. `ask`: there is a terminal."""
    options = {
        "ControlMaster": "yes",
        "ControlPersist": PERSIST_S,
        "ClearAllForwardings": "yes",  # the configuration's own would clash with those of a person's other sessions
        "StreamLocalBindUnlink": "yes",
        "LogLevel": "INFO",  # what `refused` reads; a person's ERROR or QUIET would keep it away
        "ServerAliveInterval": _BEAT_S,
        "ServerAliveCountMax": _BEATS,
        "ConnectTimeout": CONNECT_S,
        **({} if ask else {"BatchMode": "yes"}),
    }
    settings = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
    user = ["-l", host.user] if host.user else []
    port = ["-p", str(host.port)] if host.port else []
    return [
        *ssh,
        "-f",
        "-N",
        "-n",
        "-a",
        "-x",
        "-E",
        str(log),
        "-S",
        _plain(control),
        *settings,
        *user,
        *port,
        host.machine,
    ]


def over(ssh: Sequence[str], control: Path, *words: str) -> list[str]:
    """A command to the connection that is there; ssh's configuration has had its say when it was made."""
    return [*ssh, "-F", "none", "-S", _plain(control), *words]


def _plain(path: Path) -> str:
    return str(path).replace("%", "%%")


class Ssh:
    """The way to one socket of one machine. `local` is where it begins."""

    def __init__(self, host: Host, far: str, folder: Path, local: Path) -> None:
        self._host, self._far, self._folder, self._local = host, far, folder, local
        self._control, self._log = folder / "c", folder / "log"
        self._ssh = shlex.split(os.environ.get("ATOLL_SSH", "")) or ["ssh"]
        self._read = 0  # of the log, by `refused`
        self.logged_in = False  # by this command: the groups of that user are those of now

    def listens(self) -> bool:
        """Whether the way is open as far as the connection; what is at its end is another matter."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            try:
                line.connect(str(self._local))
            except OSError:
                return False
        return True

    def open(self, *, ask: bool, within_s: float = CONNECT_S * 3) -> None:
        """Open the way, unless it is. `ask`: ssh may ask on the terminal. Raises Down, and Failed for what does not pass."""
        terminal = ask and sys.stdin.isatty() and sys.stderr.isatty()
        within_s = PROMPT_S if terminal else within_s
        with self._alone(within_s):
            if self.listens():
                return
            if not self._connected():
                self._connect(terminal=terminal, within_s=within_s)
            self._lead()

    def log_in_anew(self, *, ask: bool) -> None:
        """Another connection in place of the one that is there, on which what others follow goes on. Raises as `open`."""
        with self._alone(CONNECT_S):
            _code(over(self._ssh, self._control, "-O", "stop", "x"))
            self._local.unlink(missing_ok=True)
        self.open(ask=ask)

    def refused(self) -> bool:
        """Whether somebody was not led to the socket since the last look."""
        try:
            with self._log.open("rb") as file:
                file.seek(self._read)
                said = file.read().decode(errors="replace")
                self._read = file.tell()
        except OSError:
            return False
        return _REFUSED in said

    def closed(self) -> Failed:
        """Why nobody was led to the socket. sshd says the same of every reason; that user's shell, if there is one, can look."""
        what, fix = f"no daemon answers on {self._host.place}", "`systemctl status 'atoll-*'` there shows what runs"
        match self._looked():
            case "listening":
                return Failed(
                    f"{self._host.place} forwards to no sockets",
                    f"{self._far} is served there, and its sshd does not lead to it",
                    "there: `AllowStreamLocalForwarding yes` in sshd_config; a key with `restrict` before it needs `port-forwarding`, too",
                    id="forwarding-refused",
                    kind="Unreachable",
                    exit_code=UNREACHABLE,
                )
            case "absent":
                why = f"there is no socket {self._far}"
                fix += f"; another socket is named so: {self._host._replace(path='/PATH')}"
            case "closed":
                why = f"the user may not use {self._far}"
                fix = "put the user into a group that may; `ls -l` there shows which"
            case "left":
                why = f"{self._far} is there, but nobody listens: the environment does not run"
                fix += "; `journalctl -u 'atoll-*'` says why"
            case _:
                why = f"nobody answers at {self._far}, the user may not use it, or sshd does not lead there"
        return Failed(what, why, fix, id="no-daemon-there", kind="Unreachable", exit_code=UNREACHABLE)

    def _looked(self) -> str:
        """What that user's shell sees; "" without one. Sockets that somebody holds stand in a table of the kernel's."""
        path = shlex.quote(self._far)
        script = (
            f"if test -S {path}; then if test -w {path}; then "
            f"if grep -qF {shlex.quote(' ' + self._far)} /proc/net/unix; then s=listening; else s=left; fi; "
            f"else s=closed; fi; else s=absent; fi; echo {_SEEN}$s"
        )
        # The login shell may be of any kind (fish, csh): it is given one word in quotes, without anything that it could expand.
        said = _output(over(self._ssh, self._control, "-T", "-n", "x", f"exec sh -c {shlex.quote(script)}"))
        return said.rpartition(_SEEN)[2].strip() if _SEEN in said else ""

    # --- ssh's own life

    def _connected(self) -> bool:
        return _code(over(self._ssh, self._control, "-O", "check", "x")) == 0

    def _connect(self, *, terminal: bool, within_s: float) -> None:
        for left in (self._control, self._log):  # of a connection that was killed; ssh would do without the socket then
            left.unlink(missing_ok=True)
        self._read = 0
        command = connecting(self._ssh, self._host, self._control, self._log, ask=terminal)
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,  # ssh asks at /dev/tty
                stdout=subprocess.DEVNULL,
                stderr=None
                if terminal
                else subprocess.DEVNULL,  # "touch your key", banners; what is wrong is in the log
                timeout=within_s,
                check=False,
            )
        except FileNotFoundError as exc:
            fix = "install OpenSSH's client, or name another in ATOLL_SSH"
            raise Failed(
                f"there is no {self._ssh[0]}",
                "environments on other machines are reached by it",
                fix,
                id="tool-missing",
            ) from exc
        except subprocess.TimeoutExpired as exc:
            raise self._down("it did not let us in in time") from exc
        if done.returncode != 0:
            raise self._refused()
        self.logged_in = True

    def _lead(self) -> None:
        """Have the connection listen at the local socket. A listener of an earlier connection left its file."""
        self._local.unlink(missing_ok=True)
        done = subprocess.run(
            over(self._ssh, self._control, "-O", "forward", "-L", f"{self._local}:{self._far}", "x"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_LOCAL_S,
            check=False,
        )
        if done.returncode != 0:
            raise self._down(f"ssh does not lead to {self._far}: {done.stderr.strip()}")

    def _refused(self) -> Failed:
        """Why ssh did not get through, from what it wrote."""
        try:
            lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip("@ \n")]
        except OSError:
            lines = []
        text = "\n".join(lines)
        place, last = self._host.place, lines[-1] if lines else "ssh said nothing"
        if _DENIED.search(text):
            fix = f"`ssh {self._words()}` must let you in without a password; the key may be missing there, or in your agent"
            return Failed(
                f"{place} does not let you in", last, fix, id="ssh-denied", kind="Unreachable", exit_code=UNREACHABLE
            )
        if _STRANGE.search(text):
            changed = "CHANGED" in text
            why = "its key is another one than it was" if changed else "its key is not known to this machine"
            fix = (
                f"`ssh {self._words()}` once, on a terminal, shows the key to compare"
                if not changed
                else ("find out why (a new machine, or somebody between), then `ssh-keygen -R` the old one")
            )
            return Failed(
                f"{place} may not be the machine that you mean", why, fix,
                id="ssh-host-key", kind="Unreachable", exit_code=UNREACHABLE,
            )  # fmt: skip
        return self._down(last)

    def _down(self, why: str) -> Down:
        fix = f"`ssh {self._words()}` must get there; then try again"
        return Down(
            f"{self._host.place} cannot be reached",
            why,
            fix,
            id="ssh-unreachable",
            kind="Unreachable",
            exit_code=UNREACHABLE,
        )

    def _words(self) -> str:
        """What a person would type after `ssh`."""
        user = f"{self._host.user}@" if self._host.user else ""
        return (f"-p {self._host.port} " if self._host.port else "") + user + self._host.machine

    @contextmanager
    def _alone(self, within_s: float) -> Iterator[None]:
        """One command at a time connects; the others find what it made."""
        with (self._folder / "lock").open("w") as lock:
            deadline = time.monotonic() + within_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise self._down("another `atoll` is still connecting") from None
                    time.sleep(_LOOK_S)
            yield


def _code(command: Sequence[str]) -> int:
    """How it ended; 255, as ssh says it, when it could not be run or did not end."""
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_LOCAL_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return 255
    return done.returncode


def _output(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_LOCAL_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
