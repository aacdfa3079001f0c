"""The composition root: alone knows the concrete adapters, and imports each only when a command needs it.

`main` is the `atoll` command. `app.hooks` is what the command line asks for, `app.daemon` the daemon's process.
"""

import atexit
import gc
import os
import sys
from contextlib import suppress

from atoll import __version__

_ALLOCATIONS = 100_000  # between two collections; start-up makes less than half of it, nearly all of which stays


def main() -> int:
    """Run the command line; returns the exit code, which the process is to end with.

    Collecting while modules are imported finds nothing and would take a sixth of a short command's time.
    """
    gc.set_threshold(_ALLOCATIONS)
    codes: list[int] = []
    if not atexit._ncallbacks():  # noqa: SLF001 (what was registered before us is called after us: coverage, say)
        atexit.register(_leave, codes)
    try:
        if sys.argv[1:] in (["--version"], ["-V"]):  # scripts ask often, and shall not wait for the imports
            print(f"atoll {__version__}")
            codes.append(0)
            return 0
        from atoll.app.hooks import AppHooks

        hooks = AppHooks()
        hooks.begin(sys.argv[1:])  # before the imports that take longest

        from atoll.cli.main import run

        codes.append(run(hooks))
        return codes[0]
    except KeyboardInterrupt:  # before `run`, which has its own word for it
        return 130


def _leave(codes: list[int]) -> None:
    """End the process. Called last of all: threads have ended, and what else was to be done at the exit is done (ADR 0036).

    What the interpreter would still do is to take itself apart: 10 ms for memory that the kernel has back at once.
    """
    if codes:
        with suppress(OSError, ValueError):  # closed, or a full disk: the interpreter tells of that in its own way
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(codes[0])
