"""The whole of `atoll dev`: bring everything up, then take changed files to the loops of the services that they concern."""

from __future__ import annotations

import os
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from atoll.cli.dev.mover import Edit, Mover, closed
from atoll.cli.dev.told import SLOW_S, DevEvent, Teller, failure
from atoll.cli.dev.watcher import Watcher
from atoll.cli.drafts import build, chosen, new_key
from atoll.cli.failed import Failed, taken_over
from atoll.cli.inbox import awaited
from atoll.cli.progress import follow
from atoll.cli.store_drafts import drafts_of, used_by, without_stores
from atoll.model.errors import BuildFailed, InvalidWorkspace, Problem, UserError
from atoll.model.state import Exit
from atoll.model.wire import Draft, ExecRequest, UpRequest
from atoll.pipeline.collect import Passing
from atoll.pipeline.in_place import in_place
from atoll.pipeline.provenance import Provenance, author
from atoll.pipeline.watched import Watched

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from atoll.cli.client import Client
    from atoll.cli.session import Session
    from atoll.model.environment import WorkspaceSpec
    from atoll.model.wire import StatusView
    from atoll.pipeline.progress import Progress

LOG_LINES = 1000  # since an edit, of the candidate that came of it
LOGS_AGAIN_S = 2.0
RELOAD_S = 60.0
LEFT_BUILDS = 10  # of edits that are history: each may hold all that its service depends on


class Dev:
    """One call. `named` are the services to watch; none is all of them, those of tomorrow too."""

    def __init__(self, session: Session, named: Sequence[str], *, logs: bool) -> None:
        self._session, self._named = session, named
        self._workspace: WorkspaceSpec = session.load()
        self._teller = Teller(session, sorted(self._workspace.services), logs=logs)
        self._logs: set[str] | None = set() if logs else None
        self._inbox: queue.SimpleQueue[DevEvent | Callable[[], None] | Exception] = queue.SimpleQueue()
        self._movers: dict[str, Mover] = {}
        self._slots = threading.BoundedSemaphore(os.cpu_count() or 1)
        self._passing = Passing(session.places.artifacts)
        self._mistakes: tuple[Problem, ...] = ()
        self._names = chosen(self._workspace, named)
        self._watched = self._watch()

    # --- the main thread ------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Until Ctrl-C. Raises what stands in the way of beginning."""
        session = self._session
        session.hooks.ensure_running(session.places, self._workspace, session.say)
        self._watcher = Watcher(self._folders, self._changed, self._inbox.put, Path(self._workspace.root, ".git"))
        try:
            for name in self._names:
                self._movers[name] = Mover(name, self)
            for name in self._begin():
                self._movers[name].edit(self._untouched(name))
            for name in self._named:
                self._stream(name)
            self._say_watching(status := self.client.status())
            threading.Thread(target=self._follow_crashes, args=(status.last_event,), daemon=True).start()
            while True:
                news = awaited(self._inbox)
                if isinstance(news, Exception):
                    raise news
                if isinstance(news, DevEvent):
                    self._teller.tell(news)
                else:
                    news()
        finally:
            closed(tuple(self._movers.values()))

    def _begin(self) -> Collection[str]:
        """As `up` does: build all, start what does not run. Returns those that run something else than their files say."""
        drafts = build(
            self._session, self._workspace, [name for name in self._names if name not in self._workspace.dev]
        )
        for name in set(self._names) & set(self._workspace.dev):
            drafts.ready[name] = self._in_place(self._untouched(name))
        stores = drafts_of(self._session, self._workspace, used_by(self._workspace, self._names))
        drafts = without_stores(self._workspace, drafts, stores)
        for name, failed in drafts.failures.items():
            if name in self._movers:
                self._movers[name].broken(self._untouched(name), failed)
            else:
                self._session.warn(f"{failed.what}: {failed.why} ({failed.fix})")
        request = UpRequest(drafts=tuple(drafts.ready.values()), author=author(self._session.root), key=new_key())
        begun = self.client.up(request)
        for name, error in begun.refused.items():
            if name in self._movers:
                self._movers[name].broken(self._untouched(name), Failed.told(error))
        for view in follow(self._session, begun.operations):
            if view.service in self._movers:
                self._movers[view.service].ended(self._untouched(view.service), view)
            elif not view.good:
                self._session.warn(f"the store {view.service} did not start: {view.text}")
        self._drain()
        return [name for name in begun.edited if name in self._movers]

    def _untouched(self, name: str) -> Edit:
        return Edit(self._workspace.services[name], (), time.monotonic(), self._workspace.dev.get(name))

    def _drain(self) -> None:
        """Tell what came so far; files that were edited meanwhile come next."""
        later: list[Any] = []
        while not self._inbox.empty():
            news = self._inbox.get()
            if isinstance(news, DevEvent):
                self._teller.tell(news)
            else:
                later.append(news)
        for each in later:
            self._inbox.put(each)

    def _say_watching(self, status: StatusView) -> None:
        for one in status.services:
            if one.name in self._movers and one.state != "down":
                self._movers[one.name].serves(self._untouched(one.name), one.release)
        count = f"{len(self._names)} service{'' if len(self._names) == 1 else 's'}"
        where = f"{self._workspace.name} · {self._session.environment} at {status.gateway}"
        text = f"{where}: watching {count}; Ctrl-C ends this, the services go on"
        self._teller.tell(self._event("watching", text=text, services=tuple(self._names)))

    # --- what was edited ------------------------------------------------------------------------------------------

    def _changed(self, paths: frozenset[str], at_s: float) -> None:
        """From the watcher's thread."""
        self._inbox.put(lambda: self._edited(paths, at_s))

    def _edited(self, paths: frozenset[str], at_s: float) -> None:
        files = {name: set(found) for name, found in self._watched.concerned(paths).items()}
        differing: set[str] = set()
        declaring = [path for path in paths if path.endswith("/") or self._watched.declares(path)]
        if declaring:
            differing = self._read_again()
            for name in differing:
                files.setdefault(name, set()).update(self._called(name, declaring))
            for name, found in self._watched.concerned(paths).items():  # by the rules of now, too
                files.setdefault(name, set()).update(found)
        for name in self._with_those_that_need(files):
            self._stream(name)
            edited, same = tuple(sorted(files.get(name, ()))), name not in differing
            own = f"{Path(self._workspace.root).resolve() / self._workspace.services[name].folder}/"
            beside = same and not any(path.startswith(own) for path in paths)
            self._movers[name].edit(
                self._untouched(name)._replace(files=edited, at_s=at_s, sources=same, beside=beside)
            )

    def _called(self, name: str, paths: Iterable[str]) -> set[str]:
        """Those of the files that say what services are which are its own; else those of everybody."""
        folder = Path(self._workspace.root).resolve() / self._workspace.services[name].folder
        paths = [path for path in paths if not path.endswith("/")]
        own = {path.removeprefix(f"{folder}/") for path in paths if path.startswith(f"{folder}/")}
        return own or {path.rpartition("/")[2] for path in paths}

    def _with_those_that_need(self, names: Collection[str]) -> list[str]:
        """With services whose builds need theirs."""
        found = set(names) & set(self._movers)
        while more := {
            name
            for name in self._names
            if name not in found
            and any(
                need.partition(".")[0] in found for need in self._workspace.services[name].build.needs if "." in need
            )
        }:
            found |= more
        return sorted(found)

    def _read_again(self) -> set[str]:
        """Take over what the workspace's files say now; services that are not as they were. With mistakes: none."""
        try:
            workspace = self._session.load()
        except (UserError, Failed) as exc:
            self._mistaken(exc)
            return set()
        if self._mistakes:
            self._mistakes = ()
            self._teller.tell(self._event("mended"))
        before, self._workspace = self._workspace, workspace
        self._names = [name for name in self._named if name in workspace.services] or (
            [] if self._named else sorted(workspace.services)
        )
        self._watched = self._watch()
        self._watcher.look_again()
        if workspace.environment != before.environment:
            self._session.hooks.ensure_running(self._session.places, workspace, self._session.say)
        for name in sorted(set(self._movers) - set(self._names)):
            closed((self._movers.pop(name),))
            self._teller.tell(self._event("removed", service=name))
        for name in self._names:
            if name not in self._movers:
                self._movers[name] = Mover(name, self)
                self._teller.tell(self._event("added", service=name))
        return {
            name
            for name in self._names
            if workspace.services[name] != before.services.get(name) or workspace.dev.get(name) != before.dev.get(name)
        }

    def _mistaken(self, exc: Exception) -> None:
        problems = exc.problems if isinstance(exc, InvalidWorkspace) else ()
        if not problems:
            failed = taken_over(exc)
            assert failed is not None
            what = f"{failed.what}: {failed.why}" if failed.why else failed.what
            problems = (Problem(file="atoll.toml", id=failed.id, what=what, fix=failed.fix),)
        problems = tuple(one for one in problems if one.level == "error")
        if problems != self._mistakes:
            self._mistakes = problems
            self._teller.tell(self._event("mistakes", problems=problems))

    def _watch(self) -> Watched:
        return Watched(self._workspace, self._names, self._session.places.artifacts)

    def _folders(self) -> frozenset[str]:
        return self._watched.folders(everywhere=not self._named)

    # --- for movers, in their threads ----------------------------------------------------------------------------

    @property
    def client(self) -> Client:
        """See `mover.Shop`."""
        return self._session.client

    def draft(self, edit: Edit, stop: threading.Event) -> Draft | None:
        """See `mover.Shop`. As many builds at a time as there are CPUs."""
        if edit.dev is not None:
            return self._in_place(edit)
        doing = "waiting for other builds"

        made = False

        def tell(progress: Progress) -> None:
            nonlocal doing, made
            made = made or progress.phase == "done"
            busy = progress.phase in {"fetching", "building"}
            doing = (
                progress.label if busy else "another process builds the same" if progress.phase == "waiting" else doing
            )

        slow = threading.Timer(SLOW_S, lambda: self.tell("building", edit, text=doing))
        slow.daemon = True
        slow.start()
        try:
            draft = self._built(edit, tell, stop)
        finally:
            slow.cancel()
        if draft is not None:
            self._passing.note(draft.artifact.key, made=made)
        return draft

    def tidy(self) -> None:
        """See `mover.Shop`. What no release keeps is asked of all services: two may have the same artifact."""
        if len(self._passing) < LEFT_BUILDS:
            return
        try:
            names = [one.name for one in self.client.status().services]
            keep = {release.artifact for name in names for release in self.client.releases(name)}
        except Failed:
            return  # the next edit asks again
        self._passing.drop(keep)

    def _built(self, edit: Edit, tell: Callable[[Progress], None], stop: threading.Event) -> Draft | None:
        spec = edit.spec
        while not self._slots.acquire(timeout=0.05):
            if stop.is_set():
                return None
        try:
            workspace = replace(self._workspace, services={**self._workspace.services, spec.name: spec})
            results = self._session.hooks.build(self._session.places, workspace, [spec.name], tell, stop)
        finally:
            self._slots.release()
        if (result := results.get(spec.name)) is None:
            return None
        if isinstance(result, BuildFailed):
            raise result
        return Draft(spec=spec, artifact=result, author=Provenance(self._session.root).of(spec))

    def _in_place(self, edit: Edit) -> Draft:
        assert edit.dev is not None
        draft = in_place(edit.spec, edit.dev, Path(self._workspace.root), os.environ)
        return replace(draft, author=Provenance(self._session.root).of(edit.spec))

    def reload(self, edit: Edit) -> str:
        """See `mover.Shop`."""
        assert edit.dev is not None
        if (command := edit.dev.reload) is None:
            return ""
        services = self.client.status().services
        view = next((one for one in services if one.name == edit.spec.name), None)
        for replica in view.replicas if view else ():
            if not replica.ready:
                continue
            own = ("/bin/sh", "-c", command.shell) if command.shell is not None else command.argv
            argv = ("/usr/bin/env", f"PID={replica.pid}", *own)
            done = self.client.exec(edit.spec.name, ExecRequest(argv=argv, replica=replica.id, timeout_s=RELOAD_S))
            if done.exit.code != 0:
                raise Failed(
                    f"the command of `dev.reload` failed: {done.exit.text}", done.output,
                    f"try it: `atoll exec {edit.spec.name} -- {command.text}`", id="reload-failed", kind="ReloadFailed",
                )  # fmt: skip
        return view.release if view else ""

    def serving(self, service: str) -> str:
        """See `mover.Shop`."""
        try:
            services = self.client.status().services
        except Failed:
            return ""
        return next((one.release for one in services if one.name == service and one.state != "down"), "")

    def tell(self, event: str, edit: Edit, **fields: Any) -> None:
        """See `mover.Shop`."""
        self._inbox.put(self._event(event, service=edit.spec.name, files=edit.files, beside=edit.beside, **fields))

    def fail(self, edit: Edit, failed: Failed, output: str) -> None:
        """See `mover.Shop`."""
        fields = failure(failed, edit.spec, Path(self._workspace.root), output)
        self.tell("failed", edit, release=self.serving(edit.spec.name), **fields)

    def _event(self, event: Any, **fields: Any) -> DevEvent:
        return DevEvent(event=event, wall=time.time(), **fields)

    def _follow_crashes(self, after: int) -> None:
        while True:
            try:
                for event, _ in self.client.events(after=after, service=None, follow=True):
                    after = event.seq
                    mover = self._movers.get(event.service)
                    if mover is not None and event.kind == "replica.crashed":
                        how = msgspec.convert(event.data["exit"], Exit)
                        mover.crashed(f"r{event.release}", event.data["replica"], how)
            except Failed:
                pass  # the environment is away: whoever asks for something says so
            time.sleep(LOGS_AGAIN_S)

    # --- logs -----------------------------------------------------------------------------------------------------

    def _stream(self, name: str) -> None:
        """Show what a service prints from now on."""
        if self._logs is None or name in self._logs:
            return
        self._logs.add(name)
        threading.Thread(target=self._follow_logs, args=(name, time.time()), daemon=True).start()

    def _follow_logs(self, name: str, since_wall: float) -> None:
        while True:
            try:
                lines = self.client.logs([name], replica=None, tail=LOG_LINES, follow=True, since_wall=since_wall)
                for line, _ in lines:
                    since_wall = max(since_wall, line.wall + 1e-6)  # none twice after an environment that was away
                    self._inbox.put(self._event("log", service=name, line=line))
            except Failed:
                pass  # the environment is away, or never knew the service: whoever deploys says so
            time.sleep(LOGS_AGAIN_S)
