"""`python -m atoll.keeper STATE_DIR RUN_DIR [--foreground]`: one keeper per STATE_DIR, in the background by default.

A keeper that becomes a newer one runs it with `--resume FD` (`renew`).

Exit codes: 0 it runs (or, in the foreground, has ended in order), 2 bad arguments, 3 another keeper has this STATE_DIR,
4 it cannot start (the message says why). In the background it returns once its socket answers.
"""

import fcntl
import os
import sys
from contextlib import suppress

from atoll.keeper import wire
from atoll.keeper.places import Places
from atoll.keeper.renew import listening, read
from atoll.keeper.server import Keeper

OOM_SCORE = -800  # the last that the kernel should take


def _lock(places: Places) -> int:
    """Hold STATE_DIR. A record lock: forked shims do not inherit it. Raises BlockingIOError."""
    fd = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        other = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
        os.close(fd)
        raise BlockingIOError(other) from exc
    with suppress(OSError):  # a full disk costs the number in the message, no more
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


def _detach() -> int:
    """Become a background process in a session of its own; the parent waits for one line on the returned pipe."""
    ready, ready_write = os.pipe()
    if os.fork():
        os.close(ready_write)
        with os.fdopen(ready) as pipe:
            code, _, text = pipe.read().partition(" ")
        if text:
            print(text.strip(), file=sys.stderr)
        sys.stderr.flush()
        os._exit(int(code or 4))
    os.close(ready)
    os.setsid()
    if os.fork():
        os._exit(0)
    return ready_write


def _close_inherited(keep: int) -> None:
    os.closerange(3, keep)
    os.closerange(keep + 1, 65536)
    null = os.open("/dev/null", os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.close(null)


def _open(places: Places) -> tuple[Keeper | None, int, str]:
    """(the keeper, exit code, message)."""
    try:
        places.make()
        lock = _lock(places)
        return Keeper(places, wire.listen(places.keeper_socket), lock), 0, ""
    except BlockingIOError as exc:
        return None, 3, f"a keeper already runs for {places.state_dir} (pid {exc})"
    except OSError as exc:
        return None, 4, f"the keeper cannot start: {exc.strerror}: {exc.filename or places.run_dir}"


def main() -> int:
    """Parse, lock, listen, detach, serve."""
    folders, options = sys.argv[1:3], sys.argv[3:]
    resumes = options[:1] == ["--resume"] and len(options) == 2
    if len(folders) != 2 or not (resumes or options in ([], ["--foreground"])):
        print("usage: python -m atoll.keeper STATE_DIR RUN_DIR [--foreground]", file=sys.stderr)
        return 2
    places = Places(*map(os.path.abspath, folders))
    if resumes and (handed := read(int(options[1]))) is not None:
        lock, server = listening(handed)
        Keeper(places, server, lock).run(handed)
        return 0
    return _started(places, foreground=bool(options))


def _started(places: Places, *, foreground: bool) -> int:
    ready = -1 if foreground else _detach()
    if ready >= 0:
        _close_inherited(ready)
    os.umask(0o077)
    os.chdir("/")
    keeper, code, text = _open(places)
    if ready >= 0:
        os.write(ready, f"{code} {text}".encode())
        os.close(ready)
    elif text:
        print(text, file=sys.stderr)
    if keeper is None:
        return code
    with suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(str(OOM_SCORE))
    if ready < 0:
        keeper.aloud = True
        if not os.isatty(2):  # whose other users would meet it, too
            os.set_blocking(2, False)  # a journal that hangs must not hang the keeper
    keeper.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
