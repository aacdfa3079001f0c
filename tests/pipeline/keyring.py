"""A workspace whose keys are asked for: by the snapshot, from scratch, and as a run reckons them from its own copies."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from atoll.decide.tasks import graph
from atoll.model.environment import WorkspaceSpec
from atoll.model.errors import UserError
from atoll.pipeline import inputs
from atoll.pipeline.affected import affected
from atoll.pipeline.artifacts import Artifacts
from atoll.pipeline.evident import Passed
from atoll.pipeline.keys import Keyed, Premises, keyed
from atoll.pipeline.order import files_of, folder_of, kit, order, works_of
from atoll.pipeline.provide import Shelf
from atoll.workspace.loader import load

SUMS = 'build = { steps = "cat *.txt > sum" }\n'


class Keyring:
    """A workspace at `root`, with what Atoll keeps of it in `home`."""

    def __init__(self, root: Path, home: Path) -> None:
        self.root, self.home = root, home
        self.env: dict[str, str] = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.loads, self.environment = 0, "local"
        self.ahead_ns = 10 * 10**9  # of the clock: files that were just written count as long settled
        self.green: dict[str, tuple[str, float]] = {}
        self.passed: dict[str, dict[str, str]] = {}  # key -> path -> content
        home.mkdir(exist_ok=True)
        self.write("atoll.toml", "")

    def tick(self) -> None:
        """Let the file system's clock go on, so that what is written next looks different even with equal sizes."""
        mark = self.home / "tick"
        mark.write_text("")
        before = mark.stat().st_mtime_ns
        while mark.stat().st_mtime_ns == before:
            mark.write_text("")

    def write(self, path: str, text: str = "", mode: int | None = None) -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        if mode is not None:
            file.chmod(mode)
        return file

    def service(self, name: str, text: str = "", **files: str) -> None:
        self.write(f"{name}/service.toml", f'run = "true"\nport = "none"\nhealth = "process"\n{text}')
        for path, content in files.items():
            self.write(f"{name}/{path.replace('__', '/').replace('_', '.')}", content)

    def git(self, *argv: str, at: str = ".") -> str:
        """What git printed, with nobody's configuration."""
        given = (
            "git",
            "-c",
            "user.name=a",
            "-c",
            "user.email=a@example.com",
            "-c",
            "protocol.file.allow=always",
            *argv,
        )
        env = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        done = subprocess.run(
            given, cwd=self.root / at, env=env, check=True, capture_output=True, text=True, timeout=60
        )
        return done.stdout

    def premises(self, snapshot: str = "snapshot") -> Premises:
        def read(looked: set[str]) -> WorkspaceSpec:
            self.loads += 1
            return load(self.root, self.environment, looked)

        artifacts, toolchains = self.home / "artifacts", self.home / "toolchains"
        now = time.time_ns() + self.ahead_ns
        known, environment = self.home / snapshot, self.environment
        return Premises(self.root, artifacts, toolchains, known, environment, read, self.env, lambda: now)

    def look(self) -> dict[str, Keyed | UserError]:
        """By the snapshot."""
        return keyed(self.premises())

    def keys(self) -> dict[str, str]:
        """Task -> its key by the snapshot, or what is said in its place."""
        return _texts(self.look())

    def cold(self) -> dict[str, str]:
        """The same, with nothing remembered."""
        for name in ("none", f"none-{self.environment}"):
            (self.home / name).unlink(missing_ok=True)
        return _texts(keyed(self.premises("none")))

    def as_run(self) -> dict[str, str]:
        """The same, as a run reckons them: each from a copy of its inputs."""
        workspace = load(self.root, self.environment)
        place = Artifacts(self.home / "artifacts")
        place.prepare()
        tools = kit(self.root, place, Shelf(self.home / "toolchains").homes, self.env)
        works, needs = works_of(workspace), graph(workspace)
        keys: dict[str, str] = {}

        def reckon(id: str) -> None:
            if id in keys:
                return
            for need in needs[id]:
                reckon(need)
                if " " in keys[need]:
                    keys[id] = f"it needs {need}, which cannot be told"
                    return
            copied = self.home / "copy"
            shutil.rmtree(copied, ignore_errors=True)
            copied.mkdir(parents=True)
            try:
                cut = files_of(works[id], self.root, place.root)
                folder = folder_of(works[id], self.root)
                taken = inputs.copy(folder, cut.entries, copied, threading.Event(), cut.rewritten)
                needed = {need: keys[need] for need in needs[id]}
                keys[id] = order(works[id], taken, copied, needs=needed, kit=tools, fresh=False).key
            except UserError as exc:
                keys[id] = exc.what

        for id in works:
            reckon(id)
        return keys

    def passes(self) -> None:
        """All tasks with a key pass as they are now."""
        for each in self.look().values():
            if isinstance(each, Keyed):
                self.green[each.id] = each.key, 0.0
                self.passed[each.key] = {item.path: item.content for item in each.manifest.inputs}

    def affected(self) -> set[str]:
        """Those that differ from what passed, where nothing else is asked."""
        passed = Passed(
            self.green, lambda keys: {key: contents for key, contents in self.passed.items() if key in keys}
        )
        return {each.id for each in affected(keyed(self.premises(), None, passed), self.green)}

    def agreed(self) -> dict[str, str]:
        """The keys, on which all three ways agree, and so does what is affected, asked before and after."""
        found = [self.affected()]
        warm = self.keys()
        assert warm == self.cold()
        assert warm == self.as_run()
        found.append(self.affected())
        other = {id for id, key in warm.items() if " " in key or self.green.get(id, ("",))[0] != key}
        assert found == [other, other]
        return warm


def _texts(found: Mapping[str, Keyed | UserError]) -> dict[str, str]:
    return {id: each.key if isinstance(each, Keyed) else each.what for id, each in found.items()}


def many(ring: Keyring) -> Path:
    """A workspace of which an edit is a small part; its snapshot."""
    for number in range(40):
        ring.service(f"s{number}", SUMS, a_txt="a")
    ring.keys()
    return ring.home / "snapshot"
