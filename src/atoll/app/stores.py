"""What the stores that Atoll runs come to on this machine: drafts for the daemon, and what `atoll check` says of them."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from typing import TYPE_CHECKING

from atoll.model.errors import AtollError, Problem, UserError
from atoll.model.spec import service_file
from atoll.model.state import Image
from atoll.model.wire import ErrorView
from atoll.model.wire_artifacts import StoresView
from atoll.pipeline.docker import Docker
from atoll.servers import draft, image_name, image_user, programs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
    from atoll.model.spec import Store
    from atoll.model.wire import Draft
    from atoll.model.wire_artifacts import StoresRequest


def drafts(environment: EnvironmentSpec, stores: Iterable[Store]) -> Mapping[str, Draft | AtollError]:
    """A draft for each, by its name, or why there is none. Pulls images that are not here. Blocking."""
    found: dict[str, Draft | AtollError] = {}
    docker = Docker(environment.docker) if environment.engine == "docker" else None
    for store in stores:
        try:
            made = programs(store, _search()) if docker is None else _image(docker, store, environment)
            found[store.name] = draft(store, made)
        except AtollError as exc:
            found[store.name] = exc
    return found


class ServersHere:
    """The same for whoever deploys from another machine. Implements `ports.Servers`."""

    def __init__(self, environment: EnvironmentSpec) -> None:
        self._environment = environment

    async def drafts(self, request: StoresRequest) -> StoresView:
        """In a thread: programs are asked for their version, images pulled."""
        made = await asyncio.to_thread(drafts, self._environment, request.stores)
        return StoresView(
            drafts={name: each for name, each in made.items() if not isinstance(each, AtollError)},
            refused={name: ErrorView.of(each) for name, each in made.items() if isinstance(each, AtollError)},
        )


def _image(docker: Docker, store: Store, environment: EnvironmentSpec) -> Image:
    """Of this machine's dockerd; by its digest where a registry gave it one, so that it can be had again."""
    name = image_name(store, environment.docker.bases)
    if not docker.present(name) and (why := docker.pull(name, threading.Event())):
        raise UserError(
            f"the image {name} of the store {store.name} cannot be had",
            f"it is not on this machine, and no registry gives it: {why}",
            f"see what `docker pull {name}` says; another one is `image` of the store, or `docker.bases` of the environment",
            id="image-unavailable",
        )
    said = docker.inspect(name, "{{json .RepoDigests}}\t{{.Config.User}}\t{{.Id}}").strip("\n")
    digests, user, id = said.split("\t")
    return Image(id=next(iter(json.loads(digests) or ()), id), user=image_user(store, user))


def unable(workspace: WorkspaceSpec) -> Sequence[Problem]:
    """Stores that this machine cannot run, as warnings: the same files may run elsewhere. Of images nothing is asked."""
    found: list[Problem] = []
    for store in workspace.servers.values() if workspace.environment.engine == "process" else ():
        try:
            programs(store, _search())
        except UserError as exc:
            field = f"stores.{store.name}"
            what = f"{exc.what}: {exc.why}"
            problem = Problem(
                file=_file(workspace, store), field=field, what=what, fix=exc.fix, id=exc.id, level="warning"
            )
            found.append(problem)
    return found


def _search() -> list[str]:
    return os.environ.get("PATH", os.defpath).split(":")


def _file(workspace: WorkspaceSpec, store: Store) -> str:
    """Where it is declared."""
    if store.name in workspace.stores:
        return "atoll.toml"
    return next(
        service_file(spec) for spec in workspace.services.values() if any(one.name == store.name for one in spec.stores)
    )
