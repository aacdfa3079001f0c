"""What the command line asks for: places, files, builds, and the life of an environment's processes.

Implements `cli.hooks.Hooks`. Everything heavy is imported where it is used, since `atoll --help` comes through here.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Mapping, Sequence

    from atoll.backup.restoring import Wish
    from atoll.cli.http import Line
    from atoll.model.cache import CacheChecked, CacheSpec, CacheSwept, CacheView
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.errors import AtollError, BuildFailed, Problem, UserError
    from atoll.model.install import Installing, InstallView
    from atoll.model.records import CiPlan, CiResult
    from atoll.model.state import Artifact
    from atoll.model.wire import Draft
    from atoll.model.wire_backup import RestoreView
    from atoll.model.wire_doctor import DoctorView, ToolchainHome, ToolchainView
    from atoll.pipeline.ci import Asked
    from atoll.pipeline.evident import Passed
    from atoll.pipeline.kept import Kept
    from atoll.pipeline.keys import Keyed, Look, Premises
    from atoll.pipeline.progress import Progress
    from atoll.pipeline.records import Records
    from atoll.pipeline.work import Site
    from atoll.ports import Archivist
    from atoll.workspace.names import Names
    from atoll.workspace.places import Places

    Say = Callable[[str], None]

_STOPPED_WITHIN_S = 0.05  # a build of `dev` that a newer edit supersedes


class EnvironmentPlaces:
    """Where one environment of this machine keeps its things, and whether somebody is there."""

    machine = ""
    elsewhere = False  # whether that machine has other files, and another dockerd

    def __init__(self, places: Places, socket: Path | None = None) -> None:
        self.at = places
        self.environment = places.environment
        self.socket = socket or places.daemon_socket
        self.artifacts = places.artifacts

    @cached_property
    def line(self) -> Line:
        """The way to its daemon, begun."""
        from atoll.cli.http import Line

        begun = Line(self.socket, self.will_answer, renew=self.log_in_anew)
        begun.prepare()
        return begun

    def log_in_anew(self) -> bool:
        """Whether who was refused may have another answer now; see `remote`."""
        return False

    def keeper_alive(self) -> bool:
        """Whether a keeper answers."""
        from atoll.keeper.client import is_keeper_up

        return is_keeper_up(self.at.run)

    def will_answer(self, met: bool = False) -> bool:  # noqa: ARG002  it is the same whether it answered before
        """Whether a daemon that does not answer will: a keeper restarts it. Raises Silent when that cannot help."""
        from atoll.app.checks import daemon_trouble
        from atoll.cli.http import Silent

        if (trouble := daemon_trouble(self.at)) is not None and trouble.gives_up:
            raise Silent(trouble.text)
        return self.keeper_alive()

    def answers_now(self, met: bool = False) -> bool:  # noqa: ARG002  as above
        """Whether there is a keeper."""
        return self.keeper_alive()


class AppHooks:
    """See the module."""

    def __init__(self) -> None:
        self._ahead: tuple[tuple[Path, str, str], EnvironmentPlaces] | None = None
        self._open: list[Kept] = []
        self._built: tuple[Places, CacheSpec] | None = None  # where something was built, or was there
        self._begun: Look | None = None

    def places(self, root: Path, environment: str, host: str = "") -> EnvironmentPlaces:
        """Reads nothing but names, and those only where the environment may be another machine's."""
        if self._ahead is not None and self._ahead[0] == (root, environment, host):
            return self._ahead[1]
        from atoll.workspace.places import Places

        at = Places(root, environment)
        if environment == "local" and not host:
            return EnvironmentPlaces(at)
        from atoll.app.remote import remote_places

        return remote_places(at, host) or EnvironmentPlaces(at)

    def _set_out(self, argv: Sequence[str]) -> None:
        """For another machine, before the command line is even imported, which takes as long as a round trip.

        A guess from the arguments: when it is wrong, or anything is, nothing was lost.
        """
        from atoll.app.ahead import guess

        with suppress(Exception):
            if (guessed := guess(argv, os.environ)) is not None:
                found = self.places(*guessed)
                if found.machine:
                    _ = found.line
                    self._ahead = guessed, found

    def load(self, root: Path, environment: str) -> WorkspaceSpec:
        """The workspace's files."""
        from atoll.workspace.loader import load

        return load(root, environment)

    def names(self, root: Path) -> Names:
        """Services, environments and secrets of the files."""
        from atoll.workspace.names import names

        return names(root)

    def build(
        self,
        places: EnvironmentPlaces,
        workspace: WorkspaceSpec,
        services: Sequence[str],
        tell: Callable[[Progress], None],
        stop: threading.Event | None = None,
        say: Say = lambda _: None,
    ) -> Mapping[str, Artifact | BuildFailed]:
        """Build what changed, side by side, unless `stop` is set meanwhile."""
        import asyncio

        from msgspec import structs

        from atoll.pipeline.build import build_all
        from atoll.pipeline.namespace import namespace

        specs = [workspace.services[name] for name in services]
        own = namespace(os.environ)
        # Somebody who edits makes a result each second that nobody will ask for again: neither the cache nor a registry gets it.
        site, kept = _site(places, workspace), None
        if stop is None:
            kept = self._kept(places, workspace, own, say)
        else:
            site = structs.replace(site, docker=structs.replace(site.docker, registry=""))

        async def building() -> Mapping[str, Artifact | BuildFailed]:
            work = asyncio.create_task(
                build_all(specs, site, workspace=workspace, namespace=own, on_progress=tell, kept=kept)
            )
            while stop is not None and not work.done():
                await asyncio.wait([work], timeout=_STOPPED_WITHIN_S)
                if stop.is_set():
                    work.cancel()
                    await asyncio.wait([work])
                    if work.cancelled():
                        return {}
            return await work

        return asyncio.run(building())

    def stores(
        self,
        places: EnvironmentPlaces,  # noqa: ARG002  a store comes from the machine, not from the workspace's folder
        workspace: WorkspaceSpec,
        stores: Collection[str],
    ) -> Mapping[str, Draft | AtollError]:
        """What would be run for them."""
        from atoll.app.stores import drafts

        return drafts(workspace.environment, [workspace.servers[name] for name in stores])

    def ci_plan(self, places: EnvironmentPlaces, asked: Asked, say: Say) -> CiPlan:
        """What `ci` would do."""
        import asyncio

        from atoll.pipeline import ci
        from atoll.workspace.loader import load

        workspace = load(places.at.root, places.environment)
        kept = self._kept(places, workspace, ci.own(asked), say, builds=False)
        keys = self.keyed(places, places.at.root)
        return asyncio.run(ci.plan(lambda: workspace, _site(places, workspace), asked, say, kept, keys))

    def ci(self, places: EnvironmentPlaces, asked: Asked, tell: Callable[[Progress], None], say: Say) -> CiResult:
        """Run what is affected and not green."""
        import asyncio

        from atoll.pipeline import ci
        from atoll.workspace.loader import load

        workspace = load(places.at.root, places.environment)
        kept = self._kept(places, workspace, ci.own(asked), say)
        keys = self.keyed(places, places.at.root)
        return asyncio.run(ci.perform(lambda: workspace, _site(places, workspace), asked, tell, say, kept, keys))

    def premises(self, places: EnvironmentPlaces, root: Path) -> Premises:
        """Files are read when something changed."""
        from atoll.pipeline.keys import Premises

        def read(looked: set[str]) -> WorkspaceSpec:
            from atoll.workspace.loader import load

            return load(root, places.environment, looked)

        at = places.at
        return Premises(root, at.artifacts.resolve(), at.toolchains, at.snapshot, places.environment, read)

    def begin(self, argv: Sequence[str]) -> None:
        """Set out for another machine, and let others look at the work tree where the command will ask for the keys.

        While the command line is still being imported, that is.

        Guesses which workspace is meant as it is without options. `keyed` joins them when that was right; `finish` ends them.
        """
        self._set_out(argv)
        if argv[:1] not in (["affected"], ["ci"]):
            return
        from atoll.pipeline.keys import Look
        from atoll.workspace.places import workspace_above

        with suppress(Exception):  # whatever is wrong is said by who needs it
            if (root := workspace_above(Path(os.environ.get("ATOLL_WORKSPACE") or ".").resolve())) is not None:
                places = self.places(root, os.environ.get("ATOLL_ENV") or "local")
                self._begun = Look(self.premises(places, root))

    def keyed(
        self, places: EnvironmentPlaces, root: Path, passed: Passed | None = None
    ) -> Mapping[str, Keyed | UserError]:
        """By the look that has begun, if that is one at this."""
        from atoll.pipeline.keys import keyed

        premises = self.premises(places, root)
        begun, self._begun = self._begun, None
        return keyed(premises, begun, passed)

    def records(self, places: EnvironmentPlaces) -> Records:
        """What ran in this workspace on this machine."""
        from atoll.pipeline.records import Records

        return Records(places.at.records)

    def _kept(
        self, places: EnvironmentPlaces, workspace: WorkspaceSpec, namespace: str, say: Say, *, builds: bool = True
    ) -> Kept:
        """The cache of one call of builds; `finish` closes it, so that uploads go on while a deploy does."""
        from atoll.pipeline.kept import Kept

        at = places.at
        kept = Kept(at.cache, workspace.cache, workspace=at.root, namespace=namespace, tell=say)
        self._open.append(kept)
        if builds:  # a plan removes nothing
            self._built = at, workspace.cache
        return kept

    def finish(self, *, hurry: bool) -> None:
        """What is still being kept and sent."""
        if self._begun is not None:
            self._begun.end()
        while self._open:
            self._open.pop().close(hurry=hurry)
        if self._built is not None and not hurry:
            from atoll.app.artifacts import tidy_artifacts

            tidy_artifacts(*self._built)
        self._built = None

    def ensure_running(self, places: EnvironmentPlaces, workspace: WorkspaceSpec, say: Say) -> None:
        """Keeper, then daemon and proxy; waits for the API."""
        from atoll.app.life import ensure_running

        ensure_running(places, workspace, say)

    def stop_all(self, places: EnvironmentPlaces, say: Say) -> None:
        """Every service drained and stopped, then the rest. While dockerd is away, only the rest: it raises UserError then."""
        from atoll.app.life import stop_all

        stop_all(places, say)

    def install(self, ask: Installing, *, plan: bool) -> InstallView:
        """Its unit, its group, who has which role."""
        from atoll.app.install import install

        return install(ask, plan=plan)

    def uninstall(self, ask: Installing, *, purge: bool, plan: bool) -> InstallView:
        """What `install` wrote, and with `purge` what the environment keeps."""
        from atoll.app.install import uninstall

        return uninstall(ask, purge=purge, plan=plan)

    def served(self, workspace: str, environment: str) -> EnvironmentPlaces:
        """Reads nothing but names."""
        from atoll.workspace.places import Places

        return EnvironmentPlaces(Places.served(workspace, environment))

    def served_here(self) -> Mapping[tuple[str, str], EnvironmentPlaces]:
        """By their folders, and the units."""
        from atoll.app.served import served_here

        return served_here()

    def archivist(self, places: EnvironmentPlaces) -> Archivist:
        """Of an environment that does not run."""
        from atoll.app.backups import archivist

        return archivist(places.at)

    def restore(
        self, places: EnvironmentPlaces, file: Path, key: bytes | None, wish: Wish, say: Say, *, other: bool
    ) -> RestoreView:
        """Nobody starts or stops it meanwhile."""
        from atoll.app.backups import restore
        from atoll.app.life import alone, readable

        places.at.create()
        with alone(places, say), readable():
            return restore(places.at, file, key, wish, other=other, alive=places.keeper_alive)

    def unable(self, workspace: WorkspaceSpec) -> Sequence[Problem]:
        """What services ask for and will not get: of this machine, or of the files that they are built of."""
        found: list[Problem] = []
        if any(spec.folder != spec.root for spec in workspace.services.values()):  # something lies above it
            from atoll.pipeline.neighbours import without_members

            found += without_members(workspace)
        if workspace.environment.host is not None:
            return found  # what this machine can give says nothing of that one
        if workspace.servers:
            from atoll.app.stores import unable as stores_unable

            found += stores_unable(workspace)
        if workspace.environment.engine == "docker":
            from atoll.app.containers import troubles
            from atoll.decide.environment import WORKSPACE_FILE

            found += troubles(workspace.environment, WORKSPACE_FILE)
        elif any(spec.own_network or spec.limits.of_containers for spec in workspace.services.values()):
            from atoll.app.checks import unable

            found += unable(workspace)
        return found

    def local_checks(self, places: EnvironmentPlaces | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
        """What needs no daemon."""
        from atoll.app.checks import local_checks

        return local_checks(places.at if places else None, workspace)

    def toolchains(self, places: EnvironmentPlaces, workspace: WorkspaceSpec) -> Sequence[ToolchainView]:
        """What is there, and what services ask for."""
        from atoll.pipeline.provide import Shelf
        from atoll.pipeline.survey import survey

        return survey(Shelf(places.at.toolchains), workspace)

    def install_toolchain(
        self, places: EnvironmentPlaces, root: Path, tool: str, say: Say, *, plan: bool
    ) -> ToolchainHome:
        """Fetched, unless one that fits is there."""
        from atoll.pipeline.by_hand import install

        if not plan:
            places.at.create()
        return install(places.at.toolchains, root, tool, say, plan=plan)

    def remove_toolchains(
        self, places: EnvironmentPlaces, workspace: WorkspaceSpec, tool: str | None, *, force: bool, plan: bool
    ) -> Sequence[ToolchainHome]:
        """Those that fit, or with None those that nobody asks for."""
        from atoll.pipeline.by_hand import remove

        return remove(places.at.toolchains, places.at.artifacts, workspace, tool, force=force, plan=plan)

    def cache(self, places: EnvironmentPlaces, workspace: WorkspaceSpec, namespace: str) -> CacheView:
        """What is in it."""
        from msgspec.structs import replace

        from atoll.pipeline import namespace as namespaces
        from atoll.pipeline.cache.cache import remote_of
        from atoll.pipeline.cache.upkeep import stats

        places.at.create()
        spec = replace(workspace.cache, remote=remote_of(workspace.cache, os.environ))
        return stats(places.at.cache, spec, namespaces.namespace(os.environ, namespace))

    def collect_cache(self, places: EnvironmentPlaces, workspace: WorkspaceSpec, *, plan: bool) -> CacheSwept:
        """What is too old or too much."""
        from msgspec.structs import replace

        from atoll.app.artifacts import collect_artifacts
        from atoll.pipeline.cache.upkeep import collect

        places.at.create()
        gone = collect_artifacts(places.at, workspace.cache, plan=plan)
        swept = collect(places.at.cache, workspace.cache, plan=plan)
        return replace(swept, artifacts=len(gone.removed), artifacts_freed_bytes=gone.freed_bytes)

    def verify_cache(self, places: EnvironmentPlaces, *, plan: bool) -> CacheChecked:
        """Every content and every result."""
        from atoll.pipeline.cache.upkeep import verify

        places.at.create()
        return verify(places.at.cache, plan=plan)


def _site(places: EnvironmentPlaces, workspace: WorkspaceSpec) -> Site:
    from msgspec import structs

    from atoll.app.containers import settled
    from atoll.pipeline.work import Site

    at = places.at
    if places.elsewhere:  # its socket is that machine's; images are made by whichever dockerd `docker` speaks to here
        docker = structs.replace(workspace.environment.docker, socket="")
    else:
        docker = settled(workspace.environment).docker
    return Site(root=at.root, artifacts=at.artifacts, toolchains=at.toolchains, records=at.records, docker=docker)
