"""Python services, built by uv into a virtual environment `.venv` inside the artifact.

What is there decides: uv's lock is followed to the letter (`uv sync --frozen`), then `requirements.txt`, then Poetry's
lock, then a `pyproject.toml` without a lock. Without any of them nothing is built. An interpreter is never downloaded: the venv is
made with one that the machine has.
"""

import posixpath
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from atoll.builders import workspaces
from atoll.builders.python import image
from atoll.builders.python.poetry import CONSTRAINTS, write_constraints
from atoll.builders.python.workspace import tell, uv_of
from atoll.builders.switchers import pins, places
from atoll.builders.workspaces import member_of, table
from atoll.model.building import ImageParts, Pin, Scope, Step, Tool, Toolchain
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

VENV = ".venv"

# Artifacts are read-only and share nothing with uv's cache: copies, never links (sealing a hard link would seal the
# cache, too). Byte code is made now, since the running service cannot write it; checked by nothing, since its source
# never changes, which makes two builds equal.
ENV: Mapping[str, str] = {
    "UV_PROJECT_ENVIRONMENT": VENV,
    "UV_PYTHON_DOWNLOADS": "never",
    "UV_PYTHON_PREFERENCE": "system",
    "UV_LINK_MODE": "copy",
    "UV_COMPILE_BYTECODE": "1",
    "PYC_INVALIDATION_MODE": "UNCHECKED_HASH",
    "UV_NO_PROGRESS": "1",
}

_MARKERS = frozenset({"pyproject.toml", "requirements.txt", "uv.lock", "setup.py"})
_UV = Tool(name="uv", fix="pip install uv", version=("uv", "--version"))
_INTERPRETER = Tool(
    name="python",
    fix="install a Python that fits requires-python and .python-version (Atoll downloads none)",
    version=("uv", "python", "find", "--system", "--no-python-downloads"),
)
_PLAIN = Tool(name="python3", fix="install Python 3", optional=True)

_SYNC = ("uv", "sync", "--no-dev", "--no-editable")
_COMPILE = Step(
    # A file that does not compile (a template, another version's syntax) is no reason to fail: it may never be imported.
    command=Command(  # noqa: S604 (a value, not a call)
        shell=f"{VENV}/bin/python -m compileall -qq --invalidation-mode unchecked-hash -x '/\\.venv/' . || true"
    ),
    label="compile to byte code",
)


class PythonBuilder:
    """Makes `.venv` with what the service depends on, and with the service itself where it is a package."""

    name = "python"
    recipe = 1
    marks = _MARKERS
    relocatable = False  # a virtual environment holds its own path in scripts and byte code
    toolchain: Toolchain | None = Toolchain(
        name="python",
        program="python3*",
        places=(
            "$PYENV_ROOT/versions/*",
            "~/.pyenv/versions/*",
            "$UV_PYTHON_INSTALL_DIR/cpython-*",
            "$XDG_DATA_HOME/uv/python/cpython-*",
            "~/.local/share/uv/python/cpython-*",
            *places("python"),
            "/usr/local/python*",
            "/opt/python*",
        ),
        fix="pyenv install {version}, uv python install {version}, or apt-get install python{version} python{version}-venv",
        chosen_env={"UV_PYTHON": "{program}"},
        at_run=True,
        pins=(
            Pin(file=".python-version", pattern=r"^(\d[\d.]*)\s*$"),
            *pins("python"),
        ),
    )

    def detect(self, files: frozenset[str]) -> bool:
        """A Python project's file, or a Python program beside no other technology's project file."""
        if files & _MARKERS:
            return True
        return "package.json" not in files and any("/" not in path and path.endswith(".py") for path in files)

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """What uv needs: itself and an interpreter; without anything to install, python3 only where it is there."""
        return (_UV, _INTERPRETER) if self.steps(spec, files, folder) else (_PLAIN,)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """The projects of the uv workspace that the service's own reaches by the lock, or by path."""
        return workspaces.scope(spec, member_of(spec, files, "pyproject.toml"), files, folder, tell)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """The commands of uv; none when there is nothing to install. Raises UserError for a broken pyproject.toml."""
        if package := _member(spec, files, folder):
            frozen = ("--frozen",) if "uv.lock" in files else ()
            return (_step(f"install {package}", *_SYNC, *frozen, "--package", package), _COMPILE)
        if at := _alone(spec, files):
            below = frozenset(path[len(at) + 1 :] for path in files if path.startswith(f"{at}/"))
            return tuple(_in_folder(at, step) for step in _steps(spec, below, folder / at))
        return _steps(spec, files, folder)

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """`.venv/bin` on the PATH, where there is one: at the top, or the service's own."""
        own = member_of(spec, files, *_MARKERS)
        scripts = [folder / each / VENV / "bin" for each in dict.fromkeys([own, "."])]
        return {"PATH+": ":".join(there)} if (there := [str(each) for each in scripts if each.is_dir()]) else {}

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """Dependencies before the sources, where the lock or requirements.txt can be followed without them."""
        project = _pyproject(spec, files, folder)
        venvs = [f"{each}/{VENV}/bin" for each in dict.fromkeys([member_of(spec, files, *_MARKERS), "."])]
        if spec.build.steps:
            return image.parts(version, project, venvs, (), (), 0)
        steps = self.steps(spec, files, folder)
        if not steps:
            return image.parts(version, project, (), (), (), 0)
        manifests, early, done = _early(spec, files, folder, steps)
        return image.parts(version, project, venvs, manifests, early, done)


def _early(
    spec: ServiceSpec, files: frozenset[str], folder: Path, steps: Sequence[Step]
) -> tuple[tuple[str, ...], Sequence[Step], int]:
    """What installs dependencies, the files that it needs, and how many of `steps` it is; nothing where sources count, too."""
    pins = sorted({".python-version", "uv.toml"} & files)
    if "uv.lock" in files and "pyproject.toml" in files:
        if image.beside_sources((folder / "uv.lock").read_text(encoding="utf-8", errors="replace")):
            return (), (), 0
        member = _member(spec, files, folder)
        projects = sorted(path for path in files if posixpath.basename(path) == "pyproject.toml")
        argv = (*steps[0].command.argv, "--no-install-workspace" if member else "--no-install-project")
        step = msgspec.structs.replace(steps[0], command=Command(argv=argv), label="install dependencies")
        return (*(projects if member else ["pyproject.toml"]), "uv.lock", *pins), (step,), 0
    if _alone(spec, files):
        return (), (), 0
    if "requirements.txt" in files:
        text = (folder / "requirements.txt").read_text(encoding="utf-8", errors="replace")
        return (("requirements.txt", *pins), steps[:2], 2) if image.only_of_indexes(text) else ((), (), 0)
    if "poetry.lock" in files and "build-system" not in _pyproject(spec, files, folder):
        return ("pyproject.toml", *pins), steps[:-1], len(steps) - 1
    return (), (), 0


def _member(spec: ServiceSpec, files: frozenset[str], folder: Path) -> str:
    """The service's project in the uv workspace at the top; "" when it is in none."""
    own = member_of(spec, files, "pyproject.toml")
    if own == "." or "pyproject.toml" not in files:
        return ""
    workspace = uv_of(_toml(spec, "pyproject.toml", folder)).get("workspace")
    name = table(_toml(spec, f"{own}/pyproject.toml", folder).get("project")).get("name")
    return name if isinstance(name, str) and isinstance(workspace, dict) else ""


def _alone(spec: ServiceSpec, files: frozenset[str]) -> str:
    """Where the service's project is, when the context's top has none; "" when it has."""
    own = member_of(spec, files, *_MARKERS)
    return own if own != "." and not files & _MARKERS else ""


def _in_folder(at: str, step: Step) -> Step:
    """The same in a folder of the context. uv is found by its name, so that it is told where."""
    command = step.command
    if command.shell is not None:
        return msgspec.structs.replace(step, command=Command(shell=f"cd {shlex.quote(at)} && {command.shell}"))  # noqa: S604 (a value, not a call)
    return msgspec.structs.replace(step, command=Command(argv=(command.argv[0], "--directory", at, *command.argv[1:])))


def _steps(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
    project = _pyproject(spec, files, folder)
    packaged = "build-system" in project
    if "uv.lock" in files and "project" in project:
        return (_step("install from uv.lock", *_SYNC, "--frozen"), _COMPILE)
    if "requirements.txt" in files:
        steps = [
            _step("make .venv", "uv", "venv", "--no-project", VENV),
            _step("install requirements.txt", *_pip("-r", "requirements.txt")),
        ]
        if packaged:
            steps.append(_step("install the service", *_pip("--no-deps", ".")))
        return (*steps, _COMPILE)
    if "poetry.lock" in files:
        asked = (".",) if packaged else ("-r", "pyproject.toml")
        return (
            *write_constraints(spec, folder, project),
            _step("make .venv", "uv", "venv", "--no-project", VENV),
            _step("install from poetry.lock", *_pip("--constraint", CONSTRAINTS, *asked)),
            _COMPILE,
        )
    if "project" in project:
        return (_step("install from pyproject.toml", *_SYNC), _COMPILE)
    if packaged or "setup.py" in files:
        return (
            _step("make .venv", "uv", "venv", "--no-project", VENV),
            _step("install the service", *_pip(".")),
            _COMPILE,
        )
    if spec.build.tool is not None:  # nothing to install, but `python3` must be the one that was asked for
        return (_step("make .venv", "uv", "venv", "--no-project", VENV), _COMPILE)
    return ()


def _step(label: str, *argv: str) -> Step:
    return Step(command=Command(argv=argv), env=ENV, label=label)


def _pip(*arguments: str) -> tuple[str, ...]:
    return ("uv", "pip", "install", "--python", VENV, *arguments)


def _pyproject(spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, Any]:
    """The content of pyproject.toml, {} without one."""
    if "pyproject.toml" not in files:
        return {}
    return _toml(spec, "pyproject.toml", folder)


def _toml(spec: ServiceSpec, path: str, folder: Path) -> Mapping[str, Any]:
    import tomllib

    try:
        return tomllib.loads((folder / path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        where = posixpath.normpath(
            f"{spec.folder}/{spec.build.context}/{path}" if spec.inside != "." else f"{spec.folder}/{path}"
        )
        raise UserError(f"{where} cannot be read", str(exc), "correct the file", id="file-not-understood") from exc
