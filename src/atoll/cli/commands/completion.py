"""`atoll completion`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from atoll.cli.failed import Failed
from atoll.cli.main import COMPLETING
from atoll.cli.session import Session, common_options, takes_session

SHELLS = ("bash", "zsh", "fish")


@click.command
@click.argument("shell", type=click.Choice(SHELLS), required=False, metavar="[bash|zsh|fish]")
@click.option("--install", is_flag=True, help="Write it where the shell looks for it, instead of printing it.")
@common_options
@takes_session
def command(session: Session, shell: str | None, install: bool) -> None:
    """Print or install the completion script of a shell.

    Without a name: of your login shell ($SHELL). Commands, options, services, releases, replicas, secrets and
    environments complete. --install writes one file of its own and changes none of yours; it says what is left to do.

    Example:
      atoll completion --install
      eval "$(atoll completion bash)"
    """
    name = shell or _login_shell()
    if not install:
        click.echo(_script(name))
        return
    file, left = _place(name)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(_script(name) + "\n")
    except OSError as exc:
        raise Failed(
            f"{file} cannot be written", exc.strerror or str(exc), f"atoll completion {name} > FILE", id="cannot-write"
        ) from exc
    session.say(f"wrote {file}\n{left}")


def _login_shell() -> str:
    name = Path(os.environ.get("SHELL", "")).name
    if name in SHELLS:
        return name
    raise Failed(
        f"'{name}' is no shell that completes", "$SHELL names it", f"say which: {', '.join(SHELLS)}", id="usage"
    )


def _script(shell: str) -> str:
    from click.shell_completion import get_completion_class

    made = get_completion_class(shell)
    assert made is not None
    return made(click.get_current_context().find_root().command, {}, "atoll", COMPLETING).source().strip()


def _place(shell: str) -> tuple[Path, str]:
    """Where that shell looks for a person's own scripts, and what that person has to do."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    if shell == "fish":
        return config / "fish/completions/atoll.fish", "it works in every new fish"
    if shell == "zsh":
        folder = data / "zsh/site-functions"
        return folder / "_atoll", f"in ~/.zshrc, before `compinit`: fpath=({folder} $fpath)"
    own = os.environ.get("BASH_COMPLETION_USER_DIR")
    file = (Path(own) if own else data / "bash-completion") / "completions/atoll"
    return file, f"it works in every new bash that has bash-completion; otherwise add to ~/.bashrc: . {file}"
