"""Runs a command for at most some seconds, and leaves nothing of it running: `bounded.py --seconds N -- COMMAND …`.

Tests start daemons that leave their parent's process group, so killing a group is not enough. This process becomes the
reaper of all its descendants (Linux, `PR_SET_CHILD_SUBREAPER`): what outlives the command is found, named and ended.
Exits as the command did; 124 when time ran out, as timeout(1) does. Called by scripts/test and .ci/run only.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0


def descendants(root: int) -> dict[int, str]:
    """Every living descendant of `root`, as pid -> command line."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue  # it ended meanwhile
        state, parent = stat.rpartition(")")[2].split()[:2]
        if state != "Z":
            parents[int(entry.name)] = int(parent)
    found: dict[int, str] = {}
    todo = [root]
    while todo:
        above = todo.pop()
        for pid, parent in parents.items():
            if parent == above and pid not in found:
                try:
                    found[pid] = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
                except OSError:
                    continue
                todo.append(pid)
    return found


def end(pids: dict[int, str], with_signal: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, with_signal)
        except ProcessLookupError:
            continue


def reap() -> None:
    """Collect the exit statuses of orphans that became ours."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def end_all() -> None:
    """Ask every descendant to end, then make it."""
    left = descendants(os.getpid())
    for pid, command in left.items():
        print(f"left running, ended now: {pid} {command[:150]}", file=sys.stderr)
    for with_signal, patience_s in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
        deadline = time.monotonic() + patience_s
        end(descendants(os.getpid()), with_signal)
        while descendants(os.getpid()) and time.monotonic() < deadline:
            reap()
            if with_signal is signal.SIGKILL:
                end(descendants(os.getpid()), with_signal)  # a supervisor may have started another one meanwhile
            time.sleep(0.05)
    reap()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    asked = parser.parse_args()
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def interrupted(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, interrupted)
    signal.signal(signal.SIGHUP, interrupted)
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    try:
        return child.wait(timeout=asked.seconds)
    except subprocess.TimeoutExpired:
        print(f"still running after {asked.seconds:g} s, ended: {' '.join(command)}", file=sys.stderr)
        return 124
    except KeyboardInterrupt:
        return 130
    finally:
        end_all()


if __name__ == "__main__":
    sys.exit(main())
