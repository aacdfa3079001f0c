"""The way out: the same services without Atoll, as a compose file and as systemd units, with nginx for the routing.

`atoll eject` calls `files` and writes what it gets. Everything here makes text of a workspace; it reads, builds and
starts nothing. What cannot be carried over is listed, never dropped.
"""

from collections.abc import Mapping

from atoll.eject.compose import compose_file, compose_nginx, example_env
from atoll.eject.layout import Layout, Recipe
from atoll.eject.left import left_of, read_me
from atoll.eject.units import build_script, rendered_files, secret_files, unit_nginx, units
from atoll.model.environment import WorkspaceSpec

__all__ = ["Recipe", "files", "left"]


def files(workspace: WorkspaceSpec, recipes: Mapping[str, Recipe], folder: str) -> dict[str, str]:
    """Every file to write, by its path relative to `folder`, which is absolute.

    `recipes` says how each service is built; one that is missing is run from its sources as they are, and listed.
    Raises UserError when the environment's ports are too few.
    """
    layout = Layout(workspace, recipes, folder)
    made = {
        "README.md": read_me(layout),
        "compose.yaml": compose_file(layout),
        ".env.example": example_env(layout),
        "build.sh": build_script(layout),
        **units(layout),
        **secret_files(layout),
        **rendered_files(layout),
    }
    if layout.routed:
        made["nginx.compose.conf"] = compose_nginx(layout)
    if layout.needs_nginx:
        made["systemd/nginx.conf"] = unit_nginx(layout)
    return made


def left(workspace: WorkspaceSpec, recipes: Mapping[str, Recipe] | None = None) -> dict[str, list[str]]:
    """What is not carried over, service by service, in sentences."""
    layout = Layout(workspace, recipes or {}, "/")
    told = {spec.name: list(dict.fromkeys(left_of(layout, spec))) for spec in layout.services}
    return {name: sentences for name, sentences in told.items() if sentences}
