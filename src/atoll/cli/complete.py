"""Shell completion of service names, from the workspace's files: it works without a daemon, and never complains."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import click


def services_to_complete(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """Services that begin with what was typed and were not yet named. Nothing when the files cannot be read."""
    session = ctx.find_root().obj
    named = set(ctx.params.get("services") or ())
    try:
        names = sorted(session.load().services)
    except Exception:  # noqa: BLE001  a shell that completes is no place for errors: `atoll check` shows them
        return []
    return [name for name in names if name.startswith(incomplete) and name not in named]
