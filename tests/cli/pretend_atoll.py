"""The real command line over hooks of pretend; the tests run it as a program of its own.

ATOLL_PRETEND_SOCKET is the daemon's socket, ATOLL_PRETEND_ALIVE=1 pretends that a keeper runs. `atoll.toml` lists the
services; one named `broken` does not build, one named `refused` is refused, one named `failing` is undone.
ATOLL_PRETEND_VERSION is the version that the program has.
"""

from __future__ import annotations

import os
import sys
import tomllib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import atoll

atoll.__version__ = os.environ.get("ATOLL_PRETEND_VERSION", atoll.__version__)

from atoll.cli.main import run  # noqa: E402  it takes the version over

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Collection, Mapping, Sequence

    from atoll.backup.restoring import Wish
    from atoll.cli.hooks import Hooks
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


class Places:
    def __init__(self, environment: str) -> None:
        self.environment = environment
        self.socket = Path(os.environ["ATOLL_PRETEND_SOCKET"])

        self.machine = os.environ.get("ATOLL_PRETEND_MACHINE", "")

    @cached_property
    def line(self) -> Line:
        from atoll.cli.http import Line

        return Line(self.socket, self.will_answer)

    def keeper_alive(self) -> bool:
        return os.environ.get("ATOLL_PRETEND_ALIVE") == "1"

    def will_answer(self, met: bool = False) -> bool:
        return self.keeper_alive()

    answers_now = will_answer


class PretendHooks:
    def places(self, root: Path, environment: str, host: str = "") -> Places:
        return Places(environment)

    def load(self, root: Path, environment: str) -> WorkspaceSpec:
        from atoll.model.environment import EnvironmentSpec, WorkspaceSpec
        from atoll.model.errors import InvalidWorkspace, Problem
        from atoll.model.spec import Command, Server, ServiceSpec, Store

        raw = tomllib.loads((root / "atoll.toml").read_text())
        if wrong := raw.get("wrong"):
            raise InvalidWorkspace(
                [Problem(file=f"{name}/service.toml", id="missing-field", what="no `run`", line=2) for name in wrong]
            )
        words = {"refused": "refuse", "failing": "fail"}
        services = {
            name: ServiceSpec(name=name, run=Command(shell="./run"), description=words.get(name, ""))
            for name in raw["services"]
        }
        spec = EnvironmentSpec(name=environment, require=tuple(raw.get("require", ())))
        stores = {name: Store(name=name, type="postgres", server=Server()) for name in raw.get("stores", ())}
        return WorkspaceSpec(
            name=raw["name"], root=str(root), environment=spec, services=services, stores=stores, servers=stores
        )

    def stores(
        self, places: Places, workspace: WorkspaceSpec, stores: Collection[str]
    ) -> Mapping[str, Draft | AtollError]:
        from atoll.model.spec import Command, ServiceSpec
        from atoll.model.state import Artifact
        from atoll.model.wire import Draft

        artifact = Artifact(key="store", digest="d", builder="store", platform="linux", path="/")
        return {
            name: Draft(
                spec=ServiceSpec(name=name, store="postgres", run=Command(argv=("postgres",))), artifact=artifact
            )
            for name in stores
        }

    def served_here(self) -> Mapping[tuple[str, str], Places]:
        names = os.environ.get("ATOLL_PRETEND_SERVED", "").split(",")
        return {
            (name, environment): Places(environment)
            for name, _, environment in (each.rpartition(" ") for each in names)
            if name
        }

    def served(self, workspace: str, environment: str) -> Places:
        return Places(environment)

    def archivist(self, places: Places) -> Archivist:
        from atoll.model.errors import UserError

        raise UserError("there is nothing to back up", "", "`atoll up`", id="environment-not-running")

    def restore(
        self, places: Places, file: Path, key: bytes | None, wish: Wish, say: Callable[[str], None], *, other: bool
    ) -> RestoreView:
        from atoll.model.wire_backup import RestoreView

        return RestoreView(
            id="b", workspace="shop", environment="local", made_wall=2.0, version="0.1.0", signed=False, restored=True
        )

    def unable(self, workspace: WorkspaceSpec) -> Sequence[Problem]:
        return ()

    def names(self, root: Path) -> Names:
        from atoll.workspace.names import Names

        raw = tomllib.loads((root / "atoll.toml").read_text())
        return Names(tuple(sorted(raw["services"])), ("local", "production"), ("orders-db",))

    def build(
        self,
        places: Places,
        workspace: WorkspaceSpec,
        services: Sequence[str],
        tell: Callable[[Progress], None],
        stop: threading.Event | None = None,
        say: Callable[[str], None] = print,
    ) -> Mapping[str, Artifact | BuildFailed]:
        from atoll.model.errors import BuildFailed
        from atoll.model.state import Artifact
        from atoll.pipeline.progress import Progress

        built: dict[str, Artifact | BuildFailed] = {}
        for name in services:
            tell(Progress(service=name, phase="building", step=1, steps=1, label="make"))
            if name == "broken":
                built[name] = BuildFailed(
                    name, "step 1 ended with 1", "no such file: main.go", "look at [build]", id="build-step-failed"
                )
            else:
                built[name] = Artifact(key=f"key-{name}", digest="d", builder="command", platform="linux", path="/x")
        return built

    def premises(self, places: Places, root: Path) -> Premises:
        from atoll.pipeline.keys import Premises

        home = places.socket.parent
        read = self.load(root, "local")
        return Premises(root, home / "artifacts", home / "toolchains", home / "snapshot", "local", lambda _: read)

    def keyed(self, places: Places, root: Path, passed: Passed | None = None) -> Mapping[str, Keyed | UserError]:
        from atoll.pipeline.keys import keyed

        return keyed(self.premises(places, root), None, passed)

    def ci_plan(self, places: Places, asked: Asked, say: Callable[[str], None]) -> CiPlan:
        from atoll.model.records import CiPlan, PlannedTask

        tasks = (
            PlannedTask(
                task="orders.build",
                runs=True,
                why="main.go changed",
                key=os.environ.get("PRETEND_BUILD_KEY", "key-orders"),
                expected_s=3.0,
            ),
            PlannedTask(task="orders.test", runs=True, why="orders.build changed", key="k2", needs=("orders.build",)),
            PlannedTask(task="orders.lint", runs=False, key="k3", expected_s=2.5),
            *(PlannedTask(task=f"{name}.test", runs=True, why="no go") for name in asked.named if name == "catalog"),
        )
        return CiPlan(tasks=tasks, unaffected=3)

    def ci(
        self, places: Places, asked: Asked, tell: Callable[[Progress], None], say: Callable[[str], None]
    ) -> CiResult:
        from atoll.model.records import TaskResult, ci_result
        from atoll.pipeline.progress import Progress

        bad = "broken" in asked.named
        tell(Progress(service="orders", task="test", phase="building", step=1, steps=1, label="npm test"))
        tell(
            Progress(service="orders", task="test", phase="building", step=1, steps=1, label="npm test", line="[1] ok")
        )
        if "slow" in asked.named:
            import time

            time.sleep(60)
        end = "failed" if bad else "done"
        tell(
            Progress(
                service="orders", task="test", phase=end, label="step 1 failed" if bad else "a changed", took_s=2.0
            )
        )
        test = TaskResult(task="orders.test", outcome="passed", why="a changed", key="k", seconds=2.0)
        if bad:
            test = TaskResult(
                task="orders.test",
                outcome="failed",
                why="a changed",
                key="k",
                seconds=2.0,
                reason="step 1 of 1 (npm test) ended with exit code 1",
                fix="the whole output is in /logs/x",
                id="build-step-failed",
                output="$ npm test\nexpected 1 [bold]to be 2",
                log="/logs/x",
            )
        skipped = (TaskResult(task="cart.e2e", outcome="skipped", why="orders.test did not pass", attempts=0),) * bad
        tell(Progress(service="cart", task="test", phase="done", label="its first run", took_s=1.0, attempts=3))
        flaky = TaskResult(task="cart.test", outcome="flaky", why="its first run", key="k", attempts=3)
        cached = TaskResult(task="cart.build", outcome="passed", cached=True, key="k", seconds=90.0)
        tasks = (cached, flaky, *skipped, test)
        return ci_result(tasks, seconds=4.0, saved_s=90.0, unaffected=40)

    def records(self, places: Places) -> Records:
        """With one record, in a real file."""
        from atoll.model.records import TaskRecord
        from atoll.model.state import Author
        from atoll.pipeline.records import Records

        found = Records(places.socket.with_name("records.db"))
        author = Author(actor="ada@ci", commit="c0ffee1234567890", commit_wall=1.0)
        found.add(
            TaskRecord(task="orders.test", key="k2", outcome="passed", seconds=2.0, wall=1000.5, author=author), None
        )
        return found

    def ensure_running(self, places: Places, workspace: WorkspaceSpec, say: Callable[[str], None]) -> None:
        say("the environment runs")

    def refuse(self, places: Places, workspace: WorkspaceSpec) -> None: ...

    def stop_all(self, places: Places, say: Callable[[str], None]) -> None:
        say("stopped all of pretend")

    def install(self, ask: Installing, *, plan: bool) -> InstallView:
        from atoll.model.install import InstallView

        return InstallView(
            unit=f"atoll-{ask.workspace}-{ask.environment}.service",
            plan=plan,
            running=not plan and ask.start,
            socket=f"/run/atoll/{ask.workspace}.{ask.environment}.sock",
            state="/var/lib/atoll/served",
            written=(f"{ask.root}etc/systemd/system/x.service",),
            commands=("systemctl daemon-reload",),
            notes=(f"roles: {ask.access}",),
        )

    def uninstall(self, ask: Installing, *, purge: bool, plan: bool) -> InstallView:
        return self.install(ask, plan=plan)

    def local_checks(self, places: Places | None, workspace: WorkspaceSpec | None) -> Sequence[DoctorView]:
        from atoll.model.wire_doctor import DoctorView

        return [DoctorView(check="envoy", ok=True, text="1.2.3")]

    def toolchains(self, places: Places, workspace: WorkspaceSpec) -> Sequence[ToolchainView]:
        from atoll.model.wire_doctor import ToolchainHome, ToolchainView, ToolchainWish

        there = ToolchainHome(language="go", version="1.24.1", home="/usr/local/go")
        asked = tuple(
            ToolchainWish(service=name, version=version, by="go.mod", met=met)
            for name, version, met in (("orders", "1.24", True), ("payments", "1.99 or newer", False))
        )
        return [
            ToolchainView(language="go", there=(there,), asked=asked, fix="install Go"),
            ToolchainView(language="rust"),
        ]

    def install_toolchain(
        self, places: Places, root: Path, tool: str, say: Callable[[str], None], *, plan: bool
    ) -> ToolchainHome:
        from atoll.model.wire_doctor import ToolchainHome

        if plan:
            return ToolchainHome(language="go", version="1.24", home="")
        say(f"fetching {tool}")
        return ToolchainHome(language="go", version="1.24.1", home="/toolchains/go", fetched=True)

    def remove_toolchains(
        self, places: Places, workspace: WorkspaceSpec, tool: str | None, *, force: bool, plan: bool
    ) -> Sequence[ToolchainHome]:
        from atoll.model.wire_doctor import ToolchainHome

        home = ToolchainHome(language="go", version="1.24.1", home="/toolchains/go", fetched=True)
        return [] if tool is None else [home]

    def cache(self, places: Places, workspace: WorkspaceSpec, namespace: str) -> CacheView:
        from atoll.model.cache import CacheView

        return CacheView(
            folder="/cache", namespace=namespace or "trusted", remote="s3://builds/shop", results=3,
            by_namespace={"pr-7": 1, "trusted": 2}, contents=40, stored_bytes=5 << 20, size_bytes=20 << 20,
            max_bytes=10 << 30, max_age_s=30 * 86_400.0, oldest_use=0.0, hits=3, remote_hits=1, misses=1, saved_s=90.0,
        )  # fmt: skip

    def collect_cache(self, places: Places, workspace: WorkspaceSpec, *, plan: bool) -> CacheSwept:
        from atoll.model.cache import CacheSwept

        return CacheSwept(plan=plan, removed=2, freed_bytes=3 << 20, results=1, stored_bytes=2 << 20)

    def verify_cache(self, places: Places, *, plan: bool) -> CacheChecked:
        from atoll.model.cache import CacheChecked

        return CacheChecked(plan=plan, results=1, contents=9, damaged=("/cache/ab: a content has changed",))

    def finish(self, *, hurry: bool) -> None:
        pass


if __name__ == "__main__":
    hooks: Hooks[Places] = PretendHooks()
    sys.exit(run(hooks))
