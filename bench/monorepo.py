"""A repository of many small services for `bench.affected`, in the words of Atoll, Turborepo, Nx and moon alike.

Each service has 20 files and uses two of the shared packages; its one task, `build`, joins its sources to one file.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from bench.site import ATOLL, ROOT

SOURCES = 16  # beside package.json, README.md, moon.yml and service.toml (packages: index.js)
FETCH_S, TASKS_S, COMMAND_S = 300, 900, 120
PEERS = ("turbo", "nx", "@moonrepo/cli")
_BUILD = "mkdir -p dist && cat src/*.js > dist/out.js"
_MARK = "ATOLL_BENCH_MONOREPO"  # in the environment of all that is started, so that it can be ended


class Monorepo:
    """The repository in `folder`, committed; `edit` changes one service."""

    def __init__(self, folder: Path, services: int) -> None:
        self.root, self.services = folder / "repo", [f"svc-{number:05}" for number in range(services)]
        self.home = folder / "home"
        self.edited: set[str] = set()
        unset = {"CI", "NX_DAEMON", "PYTHONDONTWRITEBYTECODE"}  # Nx has no daemon in CI; users have bytecode
        self.env = {
            **{name: value for name, value in os.environ.items() if name not in unset},
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
            "ATOLL_HOME": str(self.home),
            "ATOLL_RUN": str(folder / "run"),
            "DO_NOT_TRACK": "1",
            "TURBO_TELEMETRY_DISABLED": "1",
            "NX_NO_CLOUD": "true",
            "NO_COLOR": "1",
            _MARK: str(folder),
        }
        packages = [f"pkg-{number:04}" for number in range(max(1, services // 20))]
        self._settings()
        for name in packages:
            self._project("packages", name, [])
            self._write(f"packages/{name}/index.js", "module.exports = {}\n")
        for number, name in enumerate(self.services):
            used = sorted({packages[number % len(packages)], packages[(number * 7 + 1) % len(packages)]})
            self._project("services", name, used)
            self._write(f"services/{name}/service.toml", _service(name, used))
        self._lock(packages)
        # The peers run a package's script by npm, which takes longer to start than the script: here it is run at once.
        npm = folder / "bin" / "npm"
        npm.parent.mkdir()
        npm.write_text(
            f'#!/bin/sh\ncase "$1" in run) {_BUILD};; *) exec {shutil.which("npm") or "false"} "$@";; esac\n'
        )
        npm.chmod(0o755)
        self.git("init", "-q", "-b", "main")
        self.git("add", "-A")
        self.git("-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit", "-q", "-m", "one")

    def edit(self, number: int) -> None:
        """Change a source of a service, as an editor does that writes in place."""
        name = self.services[number]
        with (self.root / f"services/{name}/src/f3.js").open("a") as file:
            file.write(f"// edited {len(self.edited)}\n")
        self.edited.add(name)

    def git(self, *argv: str) -> None:
        """Raises CalledProcessError."""
        self.run("git", *argv)

    def run(self, *argv: str, timeout_s: float = COMMAND_S) -> str:
        """A command in the repository; its standard output. Raises SubprocessError."""
        done = subprocess.run(
            argv, cwd=self.root, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
            timeout=timeout_s,
        )  # fmt: skip
        return done.stdout

    def _settings(self) -> None:
        self._write("atoll.toml", 'name = "bench"\n')
        self._write(".gitignore", "node_modules\n.turbo\n.nx\n.moon/cache\ndist\n")
        package = {
            "name": "bench",
            "private": True,
            "packageManager": "npm@11.0.0",
            "workspaces": ["services/*", "packages/*"],
        }
        self._write("package.json", json.dumps(package))
        tasks = {"build": {"dependsOn": ["^build"], "inputs": ["src/**", "package.json"], "outputs": ["dist/**"]}}
        self._write("turbo.json", json.dumps({"tasks": tasks}))
        sources = ["{projectRoot}/src/**/*", "{projectRoot}/package.json"]
        target = {
            "dependsOn": ["^build"],
            "cache": True,
            "inputs": [*sources, "^default"],
            "outputs": ["{projectRoot}/dist"],
        }
        named = {"default": sources}
        nx = {
            "targetDefaults": {"build": target},
            "namedInputs": named,
            "neverConnectToCloud": True,
            "analytics": False,
        }
        self._write("nx.json", json.dumps(nx))
        moon = 'projects: ["services/*", "packages/*"]\nvcs: { defaultBranch: "main" }\ntelemetry: false\n'
        self._write(".moon/workspace.yml", moon)

    def _project(self, kind: str, name: str, uses: Sequence[str]) -> None:
        for number in range(SOURCES):
            self._write(f"{kind}/{name}/src/f{number}.js", f"// {name} {number}\nexports.n = {number}\n" * 5)
        package = {"name": name, "version": "1.0.0", "private": True, "scripts": {"build": _BUILD}}
        self._write(
            f"{kind}/{name}/package.json", json.dumps({**package, "dependencies": dict.fromkeys(uses, "1.0.0")})
        )
        self._write(f"{kind}/{name}/README.md", f"# {name}\n")
        task = f'script: "{_BUILD}", inputs: ["src/**/*", "package.json"], outputs: ["dist"], deps: ["^:build"]'
        self._write(f"{kind}/{name}/moon.yml", f"dependsOn: {json.dumps(uses)}\ntasks: {{ build: {{ {task} }} }}\n")

    def _lock(self, packages: Sequence[str]) -> None:
        """What npm would write; nothing is installed."""
        entries: dict[str, object] = {"": {"name": "bench", "workspaces": ["services/*", "packages/*"]}}
        for kind, names in (("packages", packages), ("services", self.services)):
            for name in names:
                entries[f"{kind}/{name}"] = {"version": "1.0.0"}
                entries[f"node_modules/{name}"] = {"resolved": f"{kind}/{name}", "link": True}
        self._write("package-lock.json", json.dumps({"name": "bench", "lockfileVersion": 3, "packages": entries}))

    def _write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def _service(name: str, uses: Sequence[str]) -> str:
    inputs = [f"services/{name}/src/**", f"services/{name}/package.json", *(f"packages/{each}/**" for each in uses)]
    return (
        f'name = "{name}"\nrun = "true"\nport = "none"\n\n[build]\nbuilder = "command"\ncontext = "../.."\n'
        f'inputs = {json.dumps(inputs)}\nsteps = "cat services/{name}/src/*.js > out.js"\noutputs = ["out.js"]\n'
    )


class Tool:
    """How a tool is asked for what is affected, and for all builds; `cold` makes it forget what it knows."""

    def __init__(
        self, repo: Monorepo, affected: Sequence[str], build: Sequence[str], names: Callable[[str], set[str]],
        cold: Callable[[], object], stop: Callable[[], object] = lambda: None,
    ) -> None:  # fmt: skip
        self._repo, self._affected, self._build, self._names = repo, affected, build, names
        self.cold, self.stop = cold, stop

    def affected(self) -> str:
        """Ask; returns what it said."""
        return self._repo.run(*self._affected)

    def right(self, said: str) -> bool:
        """Whether these are the services that were edited."""
        return {name for name in self._names(said) if name.startswith("svc-")} == self._repo.edited

    def build(self) -> None:
        """Run all builds, from its cache where it can. Raises SubprocessError."""
        self._repo.run(*self._build, timeout_s=TASKS_S)


def atoll(repo: Monorepo) -> Tool:
    """Ours."""

    def forget() -> None:
        for file in repo.home.glob("*/snapshot"):
            file.unlink()

    return Tool(repo, (*ATOLL, "affected", "--names"), (*ATOLL, "ci"), lambda said: set(said.split()), forget)


def peers(repo: Monorepo, folder: Path) -> Iterator[tuple[str, Tool]]:
    """Turborepo, Nx and moon from npm. Raises RuntimeError or SubprocessError."""
    if not (npm := shutil.which("npm")):
        raise RuntimeError("npm is not installed")
    argv = [npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder / "peers"), *PEERS]
    subprocess.run(argv, check=True, capture_output=True, timeout=FETCH_S)
    (repo.root / "node_modules").symlink_to(folder / "peers" / "node_modules")
    at = folder / "peers" / "node_modules" / ".bin"
    turbo, nx, moon = str(at / "turbo"), str(at / "nx"), str(at / "moon")

    def forget(*names: str) -> Callable[[], None]:
        def remove() -> None:
            for name in names:
                shutil.rmtree(repo.root / name, ignore_errors=True)

        return remove

    yield "turbo", Tool(
        repo, (turbo, "ls", "--affected"), (turbo, "run", "build", "--output-logs=none"),
        lambda said: {word for word in said.split() if "/" not in word}, forget(".turbo"), _quietly(repo, turbo, "daemon", "stop"),
    )  # fmt: skip
    yield "nx", Tool(
        repo, (nx, "show", "projects", "--affected", "--base=main"), (nx, "run-many", "-t", "build", "--outputStyle=static"),
        lambda said: set(said.split()), _quietly(repo, nx, "reset"), _quietly(repo, nx, "daemon", "--stop"),
    )  # fmt: skip
    yield "moon", Tool(
        repo, (moon, "query", "projects", "--affected"), (moon, "run", ":build", "--quiet"),
        lambda said: {each["id"] for each in json.loads(said)["projects"]}, forget(".moon/cache"),
        _quietly(repo, moon, "daemon", "stop"),
    )  # fmt: skip


def _quietly(repo: Monorepo, *argv: str) -> Callable[[], None]:
    def call() -> None:
        with contextlib.suppress(subprocess.SubprocessError):
            repo.run(*argv)

    return call


def end(env: Mapping[str, str]) -> None:
    """Kill what is left of all that was started with this environment: daemons that did not stop when they were told."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(_MARK) == env[_MARK]:
                process.kill()
