"""The composition root: alone knows the concrete adapters, and imports each only when a command needs it.

`main` is the `atoll` command. `app.hooks` is what the command line asks for, `app.daemon` the daemon's process.
"""


def main() -> int:
    """Run the command line; returns the exit code."""
    from atoll.app.hooks import AppHooks  # noqa: PLC0415 - `--help` must not pay for what it does not use
    from atoll.cli.main import run  # noqa: PLC0415

    return run(AppHooks())
