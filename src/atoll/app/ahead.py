"""Which environment a command will ask, guessed from its arguments before click reads them: the way there may be long.

`AppHooks.ahead` alone calls it. It must be right when it says something, and may say nothing: then it costs what it saves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def guess(args: Sequence[str], environ: Mapping[str, str]) -> tuple[Path, str, str] | None:
    """Root, environment and host as `Session` would have them; None for `local`, and where a workspace is named."""
    own = list(args[: args.index("--")] if "--" in args else args)
    if environ.get("ATOLL_WORKSPACE") or any(each.startswith(("-w", "--workspace")) for each in own):
        return None
    environment = _option(own, "--env", "-e") or environ.get("ATOLL_ENV") or "local"
    if environment == "local":
        return None
    here = Path.cwd()
    root = next((folder for folder in (here, *here.parents) if (folder / "atoll.toml").is_file()), None)
    return None if root is None else (root, environment, _option(own, "--host", "") or environ.get("ATOLL_HOST", ""))


def _option(args: Sequence[str], long: str, short: str) -> str:
    """The last value of an option; "" without one."""
    value = ""
    for index, each in enumerate(args):
        if each in {long, short} and index + 1 < len(args):
            value = args[index + 1]
        elif each.startswith(f"{long}="):
            value = each.removeprefix(f"{long}=")
    return value
