"""The entry point: parse, run one command, turn whatever happens into lines on stderr and an exit code.

`app.main` calls `run`. Exit codes of errors are those of their classes (`atoll.model.errors`); `help_parts.EXIT_CODES`
documents them.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import click
from click.exceptions import NoArgsIsHelpError

from atoll import __version__
from atoll.cli.failed import USER, Failed, taken_over
from atoll.cli.group import LazyGroup, ReaderGone
from atoll.cli.output import colored, told, width
from atoll.cli.session import Session, common_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.cli.hooks import Hooks

COMPLETING = "_ATOLL_COMPLETE"  # set by the scripts of `atoll completion`
INTERRUPTED = 130
TERMINATED = 128 + signal.SIGTERM
BROKEN_PIPE = 128 + signal.SIGPIPE  # what a shell reports of a program that a closed pipe ended


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "-V", "--version", message="atoll %(version)s")
@common_options
def cli() -> None:
    """Build, deploy, scale, protect and observe each service on its own.

    Example:
      atoll up                  start everything in this workspace
      atoll deploy orders       move orders to what its files say now
      atoll status              see how it goes
    """


def run(hooks: Hooks[Any], argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. `argv` without the program's name; None is the process's own."""
    args = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an arrow must not end a deploy on a Latin-1 terminal
    signal.signal(signal.SIGTERM, _told_to_end)
    code = TERMINATED
    try:
        code = _run(Session(hooks), args)
        return code
    finally:
        with contextlib.suppress(KeyboardInterrupt):
            hooks.finish(hurry=code >= INTERRUPTED)


def _run(session: Session, args: Sequence[str]) -> int:
    try:
        if COMPLETING in os.environ:
            return _complete(session)
        options: dict[str, Any] = {
            "obj": session,
            "terminal_width": max(38, min(width(), 100) - 2),
            "color": colored(sys.stdout),
        }
        code = cli.main(args, prog_name="atoll", standalone_mode=False, **options)
        sys.stdout.flush()
        return int(code or 0)
    except (BrokenPipeError, ReaderGone):  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor may the interpreter's last flush complain
        return BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except NoArgsIsHelpError as exc:  # a group without a command: click puts its whole help into the message
        click.echo(exc.format_message(), err=True)
        return USER
    except click.UsageError as exc:
        return report(_usage(exc), args)
    except click.ClickException as exc:
        return report(Failed(exc.format_message(), exit_code=USER, id="usage"), args)
    except Exception as exc:  # noqa: BLE001  the one place where errors become exit codes
        if (failed := _nowhere(exc) or taken_over(exc)) is None:
            sys.excepthook(type(exc), exc, exc.__traceback__)
            fix = "please report it with the traceback above"
            failed = Failed(
                "atoll made a mistake", f"{type(exc).__name__}: {exc}", fix, kind="Bug", exit_code=1, id="bug"
            )
        failed.fix = session.here(failed.fix)
        return report(failed, args)


def _nowhere(exc: Exception) -> Failed | None:
    """Whether it is for the folder that the shell stands in, which somebody has removed meanwhile."""
    if not isinstance(exc, FileNotFoundError):
        return None
    try:
        os.getcwd()  # noqa: PTH109  pathlib takes its time to import
    except FileNotFoundError:
        return Failed(
            "the folder that this command was started in is gone",
            "it was removed or made anew after your shell had gone there",
            'go to a folder that is there; to the new one of the same name by `cd "$PWD"`',
            id="no-workspace",
        )
    return None


def _told_to_end(*_: object) -> None:
    """SIGTERM unwinds like Ctrl-C does: a terminal gets its cursor and its screen back."""
    raise SystemExit(TERMINATED)


def _complete(session: Session) -> int:
    """Answer a shell that completes; nothing, when anything is wrong: a prompt is no place for errors."""
    from click.shell_completion import add_completion_class, shell_complete

    from atoll.cli.complete import SHELLS

    for shell in SHELLS:
        add_completion_class(shell)
    with contextlib.suppress(Exception):
        return shell_complete(cli, {"obj": session}, "atoll", COMPLETING, os.environ[COMPLETING])
    return 0


def report(failed: Failed, args: Sequence[str]) -> int:
    """Three lines on stderr (what with its id, why, the fix), with --json also an ErrorView on stdout; the exit code."""
    bold, plain = ("\x1b[1;31m", "\x1b[0m") if colored(sys.stderr) else ("", "")
    print(f"{bold}error[{told(failed.id)}]:{plain} {told(failed.what)}", file=sys.stderr)
    for label, text in (("  why:", failed.why), ("  fix:", failed.fix)):
        if text:
            print(label, told(text.strip()).replace("\n", "\n       "), file=sys.stderr)
    own = args[: args.index("--")] if "--" in args else args
    if "--json" in own:
        import msgspec

        print(msgspec.json.encode(failed.view()).decode(), flush=True)  # one line: it may follow a stream's
    return failed.exit_code


def _usage(exc: click.UsageError) -> Failed:
    ctx = exc.ctx
    if ctx is None:
        return Failed(exc.format_message(), "", "see `atoll --help`", kind="UsageError", id="usage")
    what = " ".join(exc.format_message().split())  # click sets choices in lines of their own
    usage = " ".join(ctx.get_usage().split()).removeprefix("Usage: ")
    return Failed(what, f"it is used so: {usage}", f"see `{ctx.command_path} --help`", kind="UsageError", id="usage")
