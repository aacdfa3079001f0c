"""One environment with the suite's program in it: writes its files, drives it as the command line does, asks it.

    with Lab(platform) as lab:
        lab.service("orders")
        lab.up()
        assert lab.get("/orders/x").version == "v1"

Everything lives below one temporary folder and ends with the block.
"""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar
from unittest import mock

import pytest

from atoll.cli.client import Client
from atoll.cli.drafts import new_key
from atoll.cli.failed import Failed
from atoll.cli.http import Line
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import BuildFailed, Problem
from atoll.model.hosted import LogLine
from atoll.model.state import Artifact, Event
from atoll.model.wire import DeployRequest, Draft, ExecRequest, ExecView, ServiceView, StopRequest, UpRequest
from atoll.model.wire_access import SecretRequest
from atoll.model.wire_jobs import JobRunView, RunRequest
from atoll.model.wire_operations import OperationView
from atoll.testing.engine_suite.platform import WITHIN_S, Platform, Stream
from atoll.testing.ports import ports
from atoll.testing.steady import Reply, Steady

_T = TypeVar("_T")


class Lab:
    """An environment `local` of a workspace of its own, on one engine."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.lacking: dict[str, str] = {}  # capability -> why
        self._gone: set[str] = set()
        self._sends = threading.local()
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self.folder = Path(self._open.enter_context(tempfile.TemporaryDirectory(prefix="atl-")))
        self.folder.chmod(0o755)  # services run under users of their own
        self.root = self.folder / "ws"
        self.root.mkdir()
        run = self.folder / "run"
        run.mkdir(mode=0o700)
        own = {"ATOLL_HOME": str(self.folder / "home"), "ATOLL_RUN": str(run)}
        self._open.enter_context(mock.patch.dict(os.environ, own))
        slot, port = self._open.enter_context(ports())
        self.url = f"http://127.0.0.1:{port}"
        (self.root / "atoll.toml").write_text(
            f'name = "lab"\ngateway = "127.0.0.1:{port}"\nports = [{port + 1}, {port + 499}]\n'
            f"{self.platform.environment(slot)}"
        )
        self._open.callback(self.down)
        self.places = self.platform.hooks.places(self.root, "local")
        line = Line(self.places.socket, self.places.will_answer)
        self.client = Client(line, "local", lambda: None)
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    # --- files

    def service(
        self,
        name: str,
        text: str = "",
        *,
        kind: str = "serve",
        route: str | None = "",
        health: str | None = "tcp",
        env: Mapping[str, str] | None = None,
        run: str | None = None,
    ) -> Path:
        """Write (or rewrite) a service that runs the program as `kind`, and return its folder.

        `route` "" is /NAME, None is no route; `health` None leaves all of it to `text`; `run` is a command of its own.
        """
        assert name not in self._gone, f"{name} has a history: it was in another test"
        folder = self.root / name
        folder.mkdir(exist_ok=True)
        lines = [f'name = "{name}"', *self.platform.furnish(folder)]
        lines.append(f"run = {run or json.dumps([*self.command(kind)])}")
        if health is not None:
            lines.append(f'health = {{ ready = "{health}", stable_for = "300ms", start_budget = "20s" }}')
        if route is not None:
            lines.append(f'route = "{route or f"/{name}"}"')
        if "rollout" not in text:  # the load of a test about something else must not make it a canary
            lines.append('rollout = "blue-green"')
        if "stop" not in text:
            lines.append('stop = { drain = "5s", grace = "5s" }')
        listens = {} if 'port = "none"' in text else {"HOST": "{host}"}
        values = {"VERSION": "v1", **listens, **(env or {})}
        lines += [f"env.{key} = {json.dumps(value)}" for key, value in values.items()]
        (folder / "service.toml").write_text("\n".join([*lines, text, ""]))
        return folder

    def command(self, *words: str) -> list[str]:
        """The program as a command with these arguments."""
        return [self.platform.python, "-S", "program.py", *words]

    def remove(self, *names: str) -> None:
        """Stop services and take them out of the workspace, all of them by default."""
        names = names or tuple(path.parent.name for path in self.root.glob("*/service.toml"))
        known = {view.name for view in self.client.status().services if view.state != "down"} if self.alive else set()
        for name in names:
            if name in known:
                self.client.stop(name, StopRequest(key=new_key()))
            shutil.rmtree(self.root / name)
            self._gone.add(name)

    # --- what a person does

    def load(self) -> WorkspaceSpec:
        """The files."""
        workspace: WorkspaceSpec = self.platform.hooks.load(self.root, "local")
        return workspace

    def check(self) -> Sequence[Problem]:
        """What `atoll check` warns of."""
        workspace = self.load()
        return (*workspace.warnings, *self.platform.hooks.unable(workspace))

    def refuses(self, capability: str) -> bool:
        """Whether the engine lacks it; then what the workspace asks for is refused by `atoll check` and by `up`, and why.

        Nothing that an engine has is refused.
        """
        words = {**self.platform.lacks, **self.platform.lacks_here}.get(capability)
        said = [problem.what for problem in self.check()]
        if words is None:
            assert said == []
            return False
        [reason] = [what for what in said if words in what]
        for name, draft in self._drafts(()).items():
            with pytest.raises(Failed) as refused:
                self.client.deploy(DeployRequest(spec=draft.spec, artifact=draft.artifact, key=new_key()))
            assert reason in f"{refused.value.what} {refused.value.why}", name
        self.lacking[capability] = reason
        return True

    def lacks(self, capability: str) -> bool:
        """Whether the engine does not enforce what no file can ask for; then `atoll check` has a note on it."""
        from atoll.cli.commands.check import notes_on

        notes = notes_on(self.load())
        words = self.platform.lacks.get(capability)
        if words is None:
            return False
        [self.lacking[capability]] = [note for note in notes if words in note]
        return True

    @property
    def alive(self) -> bool:
        """Whether the environment was started."""
        return bool(self.places.keeper_alive())

    def up(self, *names: str) -> list[OperationView]:
        """Start the environment and deploy services, all of them by default; each must be live. Its operations' ends."""
        drafts = self._drafts(names)
        begun = self.client.up(UpRequest(drafts=tuple(drafts.values()), key=new_key()))
        assert not begun.refused, begun.refused
        ended = [self.ended(operation) for operation in begun.operations]
        assert all(view.good for view in ended), ended
        return ended

    def begin(self, name: str) -> OperationView:
        """Begin a deploy. Raises Failed when it is refused."""
        draft = self._drafts([name])[name]
        return self.client.deploy(DeployRequest(spec=draft.spec, artifact=draft.artifact, key=new_key()))

    def deploy(self, name: str) -> OperationView:
        """Deploy to its end, be it good or bad."""
        return self.ended(self.begin(name))

    def ended(self, operation: OperationView) -> OperationView:
        """What became of it."""
        return operation if operation.ended else [*self.client.watch(operation.id)][-1]

    def _drafts(self, names: Sequence[str]) -> dict[str, Draft]:
        workspace = self.load()
        hooks = self.platform.hooks
        hooks.ensure_running(self.places, workspace, lambda _: None)
        chosen = list(names) or sorted(workspace.services)
        built: Mapping[str, Artifact | BuildFailed] = hooks.build(self.places, workspace, chosen, lambda _: None)
        hooks.finish(hurry=False)
        drafts = dict[str, Draft]()
        for name, result in built.items():
            if isinstance(result, BuildFailed):
                raise result
            drafts[name] = Draft(spec=workspace.services[name], artifact=result)
        return drafts

    def exec(self, name: str, *argv: str) -> ExecView:
        """Run a command in a replica's surroundings."""
        return self.client.exec(name, ExecRequest(argv=argv))

    def job(self, name: str, job: str, *args: str) -> JobRunView:
        """Run a job to its end."""
        run = self.client.run(name, RunRequest(job=job, args=args, key=new_key()))
        return [*self.client.watch_run(run.id)][-1]

    def secret(self, name: str, value: str) -> None:
        """Set a secret."""
        if not self.alive:
            self.platform.hooks.ensure_running(self.places, self.load(), lambda _: None)
        self.client.set_secret(name, SecretRequest(value=value, key=new_key()))

    def down(self) -> None:
        """End the environment; nothing of it may be left."""
        self._sends = threading.local()
        self.platform.hooks.stop_all(self.places, lambda _: None)
        left = self.until(lambda: not self.platform.left_behind(self.root) or None, what="nothing is left behind")
        assert left, self.platform.left_behind(self.root)

    def kill_daemon(self) -> None:
        """Kill -9; returns when another one answers."""
        before = self.client.status()
        which = self.platform.daemon(before)
        self.platform.kill_daemon(before)
        self.until(lambda: self.platform.daemon(self.client.status()) != which, what="another daemon answers")

    # --- what a person sees

    def of(self, name: str) -> ServiceView:
        """One service of the status."""
        return next(view for view in self.client.status().services if view.name == name)

    def replicas(self, name: str) -> list[str]:
        """The ids of its ready replicas."""
        return sorted(replica.id for replica in self.of(name).replicas if replica.ready)

    def events(self, name: str) -> list[Event]:
        """A service's ledger, the oldest first."""
        return [event for event, _ in self.client.events(after=0, service=name, follow=False)]

    def logs(self, name: str, replica: str | None = None, tail: int = 1000) -> list[LogLine]:
        """The lines that it has printed."""
        lines = self.client.logs([name], replica=replica, tail=tail, follow=False, since_wall=0.0)
        return [line for line, _ in lines]

    def told(self, name: str) -> str:
        """All that is said of a service and its environment, as the JSON that --json prints."""
        paths = ("/v1/status", f"/v1/services/{name}/releases", f"/v1/why/{name}", "/v1/secrets", "/v1/doctor")
        said = [self.client.raw(path).decode() for path in paths]
        said += [data.decode() for _, data in self.client.events(after=0, service=None, follow=False)]
        return "\n".join(said)

    # --- requests

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """A GET through the gateway."""
        if not hasattr(self._sends, "send"):
            self._sends.send = self.platform.connect(self.url, WITHIN_S)
            self._open.callback(self._sends.send.close)
        reply: Reply = self._sends.send(path, None, headers or {})
        return reply

    def ask(self, at: str, **asked: object) -> dict[str, Any]:
        """What the program says to `at?asked`."""
        from urllib.parse import urlencode

        reply = self.get(f"{at}?{urlencode(asked)}")
        assert reply.status == 200, (at, reply)
        return reply.body

    def steady(self, *paths: str, rate: float = 60.0) -> Steady:
        """Load on the gateway, as a context manager."""
        return Steady(self.url, paths, rate, connect=lambda: self.platform.connect(self.url, 20.0))

    def grpc(self, method: str, request: bytes) -> bytes:
        """A call through the gateway."""
        return self.platform.grpc(self.url, method, request)

    def websocket(self, path: str) -> Stream:
        """An upgraded connection through the gateway."""
        return self.platform.websocket(self.url, path)

    def until(self, what_: Callable[[], _T], within_s: float = WITHIN_S, *, what: str = "") -> _T:
        """Ask until it is true; errors on the way count as not yet."""
        deadline = time.monotonic() + within_s
        last: object = None
        while time.monotonic() < deadline:
            try:
                if found := what_():
                    return found
                last = found
            except (OSError, AssertionError, Failed, KeyError, StopIteration) as exc:
                last = exc
            time.sleep(0.05)
        raise AssertionError(f"never came true within {within_s:g} s: {what}; last: {last!r}\n{self._tail()}")

    def _tail(self) -> str:
        """The ends of the logs of Atoll's own processes, for a failing test's message."""
        logs = [
            log for log in sorted((self.folder / "home").rglob("*.log")) if log.stem in {"daemon", "keeper", "proxy"}
        ]
        return "\n".join(f"--- {log.name}\n" + "\n".join(log.read_text().splitlines()[-30:]) for log in logs)
