"""What the command line asks of the composition root. `app` implements it and passes it to `cli.main.run`.

Only the standard library may be imported here, and `places` must be cheap: every command calls it. Every method is
synchronous and raises the errors of `atoll.model.errors`. `say` takes one line of progress for a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Mapping, Sequence
    from pathlib import Path

    from atoll.backup.restoring import Wish
    from atoll.cli.http import Line
    from atoll.model.cache import CacheChecked, CacheSwept, CacheView
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
    from atoll.pipeline.keys import Keyed, Premises
    from atoll.pipeline.progress import Progress
    from atoll.pipeline.records import Records
    from atoll.ports import Archivist
    from atoll.workspace.names import Names

    Say = Callable[[str], None]


class Places(Protocol):
    """Where one environment of one workspace keeps its things."""

    @property
    def environment(self) -> str:
        """Its name."""
        ...

    @property
    def socket(self) -> Path:
        """The daemon's unix socket, whether it exists now or not."""
        ...

    @property
    def line(self) -> Line:
        """The way to the daemon, begun."""
        ...

    @property
    def artifacts(self) -> Path:
        """Where builds lie."""
        ...

    def keeper_alive(self) -> bool:
        """Whether the environment runs: here in milliseconds. Raises `failed.Failed` when another machine cannot be asked."""
        ...

    @property
    def machine(self) -> str:
        """Where it runs, for people, such as `deploy@vm1`; "" when that is here."""
        ...

    def will_answer(self, met: bool = False) -> bool:
        """Whether a daemon that does not answer will come back; `met`: this command has had answers.

        May take long: a lost connection to another machine is brought back. Raises `http.Silent` or `failed.Failed` with
        the reason when it never will.
        """
        ...

    def answers_now(self, met: bool = False) -> bool:
        """The same for who asks again and again, and waits for nothing."""
        ...


_Places = TypeVar("_Places", bound=Places)


class Hooks(Protocol[_Places]):
    """The parts behind the command line; they get back the places that they gave."""

    def places(self, root: Path, environment: str, host: str = "") -> _Places:
        """The places of an environment of the workspace at `root`; `host` is a URL instead of what atoll.toml says.

        Reads nothing but names, imports nothing heavy. Raises UserError for a host that is none.
        """
        ...

    def load(self, root: Path, environment: str) -> WorkspaceSpec:
        """The workspace's files, resolved for an environment. Raises InvalidWorkspace, UserError (no such environment)."""
        ...

    def names(self, root: Path) -> Names:
        """The names in the workspace's files, for completion: fast, and raises nothing."""
        ...

    def build(
        self,
        places: _Places,
        workspace: WorkspaceSpec,
        services: Sequence[str],
        tell: Callable[[Progress], None],
        stop: threading.Event | None = None,
        say: Say = lambda _: None,
    ) -> Mapping[str, Artifact | BuildFailed]:
        """Build what changed of these services, side by side; one that fails does not stop the others.

        When `stop` is set meanwhile, all that was started is ended, and nothing is returned. May run in any thread.
        """
        ...

    def stores(
        self, places: _Places, workspace: WorkspaceSpec, stores: Collection[str]
    ) -> Mapping[str, Draft | AtollError]:
        """What would be run for these stores of `workspace.servers`; an error for one that cannot be had here."""
        ...

    def ci_plan(self, places: _Places, asked: Asked, say: Say) -> CiPlan:
        """What `ci` would do. Raises NotFound, UserError, InvalidWorkspace."""
        ...

    def ci(self, places: _Places, asked: Asked, tell: Callable[[Progress], None], say: Say) -> CiResult:
        """Run tasks that are affected and not green; a failure is in the result. Raises like `ci_plan`."""
        ...

    def premises(self, places: _Places, root: Path) -> Premises:
        """What the keys of all tasks are reckoned from (`pipeline.keys`). Imports nothing heavy."""
        ...

    def keyed(self, places: _Places, root: Path, passed: Passed | None = None) -> Mapping[str, Keyed | UserError]:
        """The key of each task as the files are now, or why it has none. With `passed` see `pipeline.keys.keyed`.

        Raises InvalidWorkspace, NotFound.
        """
        ...

    def records(self, places: _Places) -> Records:
        """The workspace's records of tasks; a context manager."""
        ...

    def ensure_running(self, places: _Places, workspace: WorkspaceSpec, say: Say) -> None:
        """Start what does not run of keeper, daemon and proxy, and wait until the API answers. Raises Unreachable."""
        ...

    def stop_all(self, places: _Places, say: Say) -> None:
        """Drain and stop every replica, then proxy, daemon and keeper. Nothing is running: nothing happens."""
        ...

    def install(self, ask: Installing, *, plan: bool) -> InstallView:
        """Have this machine serve an environment. Raises UserError, Permanent (the service manager says no)."""
        ...

    def uninstall(self, ask: Installing, *, purge: bool, plan: bool) -> InstallView:
        """Have it serve it no more. Raises UserError, Permanent."""
        ...

    def unable(self, workspace: WorkspaceSpec) -> Sequence[Problem]:
        """What the workspace asks for and this machine cannot give, as warnings: the same files may run elsewhere."""
        ...

    def local_checks(self, places: _Places | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
        """What only the adapters can check without a daemon (Envoy starts, cgroups, ports in use)."""
        ...

    def toolchains(self, places: _Places, workspace: WorkspaceSpec) -> Sequence[ToolchainView]:
        """Every language's toolchains: what is there, what the workspace's services ask for."""
        ...

    def install_toolchain(self, places: _Places, root: Path, tool: str, say: Say, *, plan: bool) -> ToolchainHome:
        """Fetch `go@1.24` for the workspace, unless one that fits is there; a plan without `home` would fetch it.

        Raises UserError, BuildFailed.
        """
        ...

    def remove_toolchains(
        self, places: _Places, workspace: WorkspaceSpec, tool: str | None, *, force: bool, plan: bool
    ) -> Sequence[ToolchainHome]:
        """Remove fetched ones that fit; with None, those that nobody asks for. Raises UserError, Conflict (in use)."""
        ...

    def cache(self, places: _Places, workspace: WorkspaceSpec, namespace: str) -> CacheView:
        """What is in the cache. `namespace` by hand; "" is the run's own. Raises UserError."""
        ...

    def collect_cache(self, places: _Places, workspace: WorkspaceSpec, *, plan: bool) -> CacheSwept:
        """Remove what is too old, and the least recently used of what is too much. Raises UserError, Conflict."""
        ...

    def verify_cache(self, places: _Places, *, plan: bool) -> CacheChecked:
        """Read all of it, and drop what is damaged. Raises UserError, Conflict."""
        ...

    def served(self, workspace: str, environment: str) -> _Places:
        """The places of an environment that this machine serves, by the workspace's name: it needs no files."""
        ...

    def served_here(self) -> Mapping[tuple[str, str], _Places]:
        """All that this machine serves, by the names of workspace and environment."""
        ...

    def archivist(self, places: _Places) -> Archivist:
        """Backups of an environment that does not run. Raises UserError when it never ran."""
        ...

    def restore(
        self, places: _Places, file: Path, key: bytes | None, wish: Wish, say: Say, *, other: bool
    ) -> RestoreView:
        """Make the environment of a backup. `other`: also of another workspace's or environment's.

        Raises UserError, Refused, Conflict.
        """
        ...

    def finish(self, *, hurry: bool) -> None:
        """The end of the command: wait, within limits, for what goes on behind it. `hurry`: it was told to end."""
        ...
