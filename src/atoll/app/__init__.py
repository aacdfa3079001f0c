"""The composition root: alone knows the concrete adapters, and imports each only when a command needs it.

`main` is the `atoll` command. `app.hooks` is what the command line asks for, `app.daemon` the daemon's process.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        from atoll.app.hooks import AppHooks
        from atoll.cli.main import run

        return run(AppHooks())
    except KeyboardInterrupt:  # before `run`, which has its own word for it
        return 130
