"""The composition root: alone knows the concrete adapters, and imports each only when a command needs it.

`main` is the `atoll` command. `app.hooks` is what the command line asks for, `app.daemon` the daemon's process.
"""

import gc
import sys

_ALLOCATIONS = 100_000  # between two collections; start-up makes less than half of it, nearly all of which stays


def main() -> int:
    """Run the command line; returns the exit code.

    Collecting while modules are imported, and once more at the interpreter's end, finds nothing and would take a sixth of
    a short command's time.
    """
    gc.set_threshold(_ALLOCATIONS)
    try:
        from atoll.app.hooks import AppHooks

        hooks = AppHooks()
        hooks.ahead(sys.argv[1:])
        from atoll.cli.main import run

        return run(hooks)
    except KeyboardInterrupt:  # before `run`, which has its own word for it
        return 130
    finally:
        gc.freeze()
